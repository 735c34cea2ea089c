/// Outputs whose parts workers of the runtime make, whole: what reads, changes and writes rows runs in threads, processes or on a
/// cluster's nodes, as the runtime's engine says, and no row comes to the program that started.
///
///     Dataset cleaned(std::string in) { return map<Line>(Dataset::read(in), clean); }
///
///     Runtime rt(argc, argv);                                              // --isolation process, --engine ray://...
///     WriteOptions write{.resume = true, .part_rows = 100000};
///     write_in_workers<&cleaned>(rt, "s3://texts/out/", "parquet", write, {}, {.num_workers = 8}, std::string("s3://texts/in/"));
///
/// The parts are those of WriteOptions::resume, the same files with the same rows whoever makes them, so that a run may be
/// stopped and go on with other workers, or none. The program counts the rows once, hands out the parts, notes those that are
/// whole, and holds the limit on bad rows over all of them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "mobula/core/runtime.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// Which workers make the parts of an output.
struct PartWorkersOptions {
  int num_workers = 1;
  /// Resources and isolation of each; it reads, computes and writes in so many threads as it has cpus, and has a memory of
  /// RunOptions::memory of its own. One that dies is made anew, here or on another node, and its part begun again: a part that
  /// costs its worker max_task_retries + 1 times ends the run.
  ActorOptions actor{.cpus = 1, .max_restarts = -1, .max_task_retries = 3};

  /// Throws Error(invalid_argument) naming what is out of range.
  void validate() const;
};

/// What a worker tells of a part.
struct PartReport {
  std::string json;   ///< of a part that was made, and of the bad rows of one that was not
  std::string error;  ///< why it was not made, as encode_error() writes it; empty: it was
};

/// Makes parts, one after the other, in one dataset. What workers are made of.
class PartMaker {
 public:
  /// `make` makes the dataset, when the first part is asked for. `job` is what write_parts_in_workers() gives.
  PartMaker(std::function<Dataset()> make, std::string job);
  PartMaker(const PartMaker&) = delete;
  PartMaker& operator=(const PartMaker&) = delete;
  ~PartMaker();
  /// Makes a part, as write_parts_in_workers() asks for it.
  PartReport make(const std::string& part);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The actor: makes parts of the dataset that Make(arguments...) returns.
template <auto Make, class... A>
class PartActor {
 public:
  explicit PartActor(std::string job, A... arguments)
      : maker_([arguments...] { return Make(arguments...); }, std::move(job)) {}
  /// Returns once the actor is there.
  void start() {}
  PartReport make(const std::string& part) { return maker_.make(part); }

 private:
  PartMaker maker_;
};

/// A worker, as the program that hands out the parts sees it. Calls wait for their end; end() may be called meanwhile.
struct PartWorker {
  std::function<void()> start;
  std::function<PartReport(const std::string& part)> make;
  std::function<void()> end;
};

/// Writes what `dataset` gives, part by part, through workers that `make_worker` makes out of a job. `dataset` itself is not run.
RunResult write_parts_in_workers(const Dataset& dataset, const std::string& folder, const std::string& format,
                                 const WriteOptions& write, const RunOptions& options,
                                 const PartWorkersOptions& workers,
                                 const std::function<PartWorker(const std::string& job)>& make_worker);

/// Returns the options with what the workers' libraries should know of their processors, and no more workers than this machine
/// has processors and GPUs for; on a cluster, where there may come to be more, those beyond wait.
PartWorkersOptions fitting_workers(const Runtime& runtime, PartWorkersOptions workers);

/// Writes the dataset that Make(arguments...) returns into a folder, part by part, through workers of `runtime`. Make is called
/// once here and once in every worker, and must give the same dataset each time, out of files that lie at the same path on
/// every node, or in a store. Its steps must not need other rows than those of a part: Throws Error(unsupported) naming the step
/// or source that does, Error(invalid_argument) for options, Error naming file and node where a worker finds other files or
/// columns, and whatever ends a run in this process.
template <auto Make, class... A>
RunResult write_in_workers(Runtime& runtime, const std::string& folder, const std::string& format,
                           const WriteOptions& write, const RunOptions& options, const PartWorkersOptions& workers,
                           A... arguments) {
  const PartWorkersOptions fitting = fitting_workers(runtime, workers);
  return write_parts_in_workers(
      Make(arguments...), folder, format, write, options, fitting, [&](const std::string& job) {
        const auto handle = runtime.with(fitting.actor).template actor<PartActor<Make, A...>>(job, arguments...);
        return PartWorker{
            [&runtime, handle] { runtime.get(handle.template call<&PartActor<Make, A...>::start>()); },
            [&runtime, handle](const std::string& part) {
              return runtime.get(handle.template call<&PartActor<Make, A...>::make>(part));
            },
            // On one machine those that still start have room to, and are there in a moment.
            runtime.options().engine == "local" ? std::function<void()>([] {})
                                                : [&runtime, handle] { runtime.kill(handle); },
        };
      });
}

}  // namespace mobula::data

#include "mobula/data/engine/executor.hpp"

#include <arrow/array/array_nested.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/byte_size.h>
#include <arrow/util/thread_pool.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/processors.hpp"
#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {
namespace {

using Clock = std::chrono::steady_clock;

std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

std::int64_t since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

/// Returns a function that counts the items of the list in a row; none where the column holds no lists.
std::function<std::int64_t(std::int64_t)> token_counter(const arrow::RecordBatch& batch, const std::string& column) {
  const auto lists = column.empty() ? nullptr : batch.GetColumnByName(column);
  switch (lists == nullptr ? arrow::Type::NA : lists->type_id()) {
    case arrow::Type::LIST:
      return [lists](std::int64_t row) { return static_cast<const arrow::ListArray&>(*lists).value_length(row); };
    case arrow::Type::LARGE_LIST:
      return [lists](std::int64_t row) { return static_cast<const arrow::LargeListArray&>(*lists).value_length(row); };
    case arrow::Type::FIXED_SIZE_LIST:
      return [lists](std::int64_t row) {
        return lists->IsNull(row) ? 0 : static_cast<const arrow::FixedSizeListArray&>(*lists).value_length();
      };
    default:
      return nullptr;
  }
}

class Execution {
 public:
  Execution(Source& source, const std::vector<std::unique_ptr<BlockOperator>>& operators, Sink& sink,
            StretchStatistics& statistics, const ExecuteOptions& options, std::uint64_t window)
      : source_(source),
        operators_(operators),
        sink_(sink),
        statistics_(statistics),
        options_(options),
        window_(window) {}

  void run(int num_threads) {
    std::vector<std::thread> threads;
    for (int i = 1; i < num_threads; ++i) threads.emplace_back([this] { work(); });
    work();
    for (std::thread& thread : threads) thread.join();
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

 private:
  using Finished = std::vector<std::unique_ptr<Prepared>>;

  void work() {
    std::unique_lock lock(mutex_);
    while (true) {
      const bool going = error_ == nullptr && !sink_satisfied_;
      const auto head = options_.ordered ? ready_.find(delivered_) : ready_.begin();
      if (going && !delivering_ && head != ready_.end()) {
        delivering_ = true;
        Finished finished = std::move(head->second);
        ready_.erase(head);
        lock.unlock();
        deliver(std::move(finished));
        lock.lock();
        delivering_ = false;
        ++delivered_;
        changed_.notify_all();
        continue;
      }
      if (going && !source_ended_ && !pulling_ && started_ < delivered_ + window_) {
        pulling_ = true;
        const std::uint64_t sequence = started_;
        lock.unlock();
        std::unique_ptr<Piece> piece = pull(sequence);
        lock.lock();
        pulling_ = false;
        if (piece == nullptr) {
          source_ended_ = true;
          changed_.notify_all();
          continue;
        }
        ++started_;
        changed_.notify_one();
        lock.unlock();
        Finished finished = process(*piece, sequence);
        piece.reset();
        lock.lock();
        ready_.emplace(sequence, std::move(finished));
        changed_.notify_one();
        continue;
      }
      if (!going || (source_ended_ && delivered_ == started_)) {
        changed_.notify_all();
        return;
      }
      const bool window_full = !source_ended_ && started_ >= delivered_ + window_;
      const auto start = Clock::now();
      changed_.wait(lock);
      (window_full ? statistics_.waited_for_sink_ns : statistics_.waited_for_source_ns) += since(start);
    }
  }

  std::unique_ptr<Piece> pull(std::uint64_t sequence) {
    try {
      const auto start = Clock::now();
      auto piece = source_.next();
      statistics_.operators.front()->busy_ns += since(start);
      return piece;
    } catch (...) {
      fail(sequence);
      return nullptr;
    }
  }

  Finished process(Piece& piece, std::uint64_t sequence) {
    Finished finished;
    std::uint64_t num_blocks = 0;
    try {
      while (sequence < error_sequence_.load(std::memory_order_relaxed)) {
        auto start = Clock::now();
        Block block = piece.read();
        const auto step = [&](std::size_t index) {
          OperatorStatistics& figures = *statistics_.operators[index];
          figures.busy_ns += since(start);
          start = Clock::now();
          if (block.batch != nullptr) {
            figures.rows += block.batch->num_rows();
            figures.bytes += batch_bytes(*block.batch);
          }
        };
        step(0);
        if (block.batch == nullptr) break;
        block.number = sequence << 20 | num_blocks++;
        for (std::size_t i = 0; i < operators_.size(); ++i) {
          operators_[i]->change(block);
          step(i + 1);
        }
        const std::int64_t rows = block.batch->num_rows();
        if (rows == 0) continue;
        count_files(block);
        auto prepared = sink_.prepare(std::move(block));
        prepared->rows = rows;
        statistics_.operators.back()->busy_ns += since(start);
        finished.push_back(std::move(prepared));
      }
    } catch (...) {
      fail(sequence);
    }
    return finished;
  }

  void count_files(const Block& block) {
    const bool mixed = block.file == nullptr && block.origin != nullptr && block.origin->mixes_files();
    if (block.file == nullptr && !mixed) {
      if (block.origin == nullptr) statistics_.lost_rows = true;
      return;
    }
    const auto tokens_of = token_counter(*block.batch, options_.token_column);
    const std::int64_t num_rows = block.batch->num_rows();
    std::map<const std::string*, FileRows> files;
    for (std::int64_t row = 0; row < num_rows && (mixed || tokens_of); ++row) {
      const std::string* file = mixed ? block.origin->file(block.number_of(row)) : block.file.get();
      if (file == nullptr) continue;
      FileRows& sum = files[file];
      ++sum.rows;
      if (tokens_of) sum.tokens += tokens_of(row);
    }
    if (!mixed) files[block.file.get()].rows = num_rows;
    const std::lock_guard lock(statistics_.files_mutex);
    for (const auto& [file, rows] : files) {
      FileRows& sum = statistics_.files[*file];
      sum.rows += rows.rows;
      sum.tokens += rows.tokens;
    }
  }

  void deliver(Finished finished) {
    const auto start = Clock::now();
    try {
      for (auto& prepared : finished) {
        statistics_.operators.back()->rows += prepared->rows;
        if (!sink_.consume(std::move(prepared))) {
          const std::lock_guard lock(mutex_);
          sink_satisfied_ = true;
          break;
        }
      }
    } catch (...) {
      fail(0);
    }
    statistics_.operators.back()->busy_ns += since(start);
  }

  /// Keeps the error of the earliest piece; what a sink throws comes before all.
  void fail(std::uint64_t sequence) {
    const std::lock_guard lock(mutex_);
    if (error_ == nullptr || sequence < error_sequence_) {
      error_ = std::current_exception();
      error_sequence_ = sequence;
    }
    changed_.notify_all();
  }

  Source& source_;
  const std::vector<std::unique_ptr<BlockOperator>>& operators_;
  Sink& sink_;
  StretchStatistics& statistics_;
  const ExecuteOptions& options_;
  const std::uint64_t window_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t started_ = 0;    ///< pieces taken from the source
  std::uint64_t delivered_ = 0;  ///< pieces the sink has taken
  std::map<std::uint64_t, Finished> ready_;
  bool source_ended_ = false;
  bool pulling_ = false;
  bool delivering_ = false;
  bool sink_satisfied_ = false;
  std::exception_ptr error_;
  std::atomic<std::uint64_t> error_sequence_{std::numeric_limits<std::uint64_t>::max()};
};

}  // namespace

std::unique_ptr<Prepared> Sink::prepare(Block block) {
  auto prepared = std::make_unique<PreparedBlock>();
  prepared->block = std::move(block);
  return prepared;
}

std::int64_t batch_bytes(const arrow::RecordBatch& batch) {
  const auto bytes = arrow::util::ReferencedBufferSize(batch);
  return bytes.ok() ? *bytes : arrow::util::TotalBufferSize(batch);
}

StretchStatistics& RunStatistics::add() {
  const std::lock_guard lock(mutex_);
  stretches_.push_back(std::make_unique<StretchStatistics>());
  return *stretches_.back();
}

void RunStatistics::note(StretchStatistics& stretch, const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (!text.empty()) stretch.operators.front()->name += fmt::format(", {}", text);
}

Json RunStatistics::to_json() const {
  const std::lock_guard lock(mutex_);
  Json list = Json::array();
  const auto seconds = [](std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-9; };
  for (const auto& stretch : stretches_) {
    if (!stretch->running) continue;
    Json operators = Json::array();
    for (const auto& op : stretch->operators) {
      operators.push_back({{"name", op->name},
                           {"rows", op->rows.load()},
                           {"bytes", op->bytes.load()},
                           {"busy_s", seconds(op->busy_ns)}});
    }
    const std::int64_t ended = stretch->ended_ns;
    list.push_back({{"operators", std::move(operators)},
                    {"threads", stretch->num_threads.load()},
                    {"seconds", seconds((ended == 0 ? now() : ended) - stretch->started_ns)},
                    {"done", ended != 0},
                    {"blocked",
                     {{{"on", stretch->operators.front()->name}, {"seconds", seconds(stretch->waited_for_source_ns)}},
                      {{"on", stretch->operators.back()->name}, {"seconds", seconds(stretch->waited_for_sink_ns)}}}}});
  }
  return list;
}

void SourceRows::add(const Block& block) {
  const std::lock_guard lock(mutex_);
  rows_ += block.batch->num_rows();
  if (block.file != nullptr) files_[*block.file] += block.batch->num_rows();
}

Json SourceRows::to_json() const {
  const std::lock_guard lock(mutex_);
  return {{"source", name_}, {"rows", rows_}, {"files", files_}};
}

std::shared_ptr<SourceRows> RunStatistics::add_source(std::string name) {
  const std::lock_guard lock(mutex_);
  sources_.push_back(std::make_shared<SourceRows>(std::move(name)));
  return sources_.back();
}

Json RunStatistics::manifest() const {
  const std::lock_guard lock(mutex_);
  Json sources = Json::array();
  for (const auto& source : sources_) sources.push_back(source->to_json());
  // Stretches stand in the order of the rows' way: what one hands on, the next counts anew.
  Json left = Json::object();
  for (const auto& stretch : stretches_) {
    if (!stretch->running) continue;
    if (stretch->lost_rows && !stretch->handed_on_by.empty()) continue;
    for (const StretchStatistics* handed : stretch->handed_on_by) {
      const std::lock_guard before(handed->files_mutex);
      for (const auto& [name, rows] : handed->files) left[name] = {0, 0};
    }
    const std::lock_guard files(stretch->files_mutex);
    for (const auto& [name, rows] : stretch->files) left[name] = {rows.rows, rows.tokens};
  }
  return {{"sources", std::move(sources)}, {"left", std::move(left)}};
}

void execute(Source& source, const std::vector<std::unique_ptr<BlockOperator>>& operators, Sink& sink,
             const ExecuteOptions& options, StretchStatistics& statistics) {
  initialize_arrow();
  const auto add = [&statistics](std::string name) {
    statistics.operators.push_back(std::make_unique<OperatorStatistics>());
    statistics.operators.back()->name = std::move(name);
  };
  auto schema = source.schema();
  add(source.describe());
  for (const auto& op : operators) {
    schema = op->bind(schema);
    add(op->describe());
  }
  add(sink.describe());
  sink.open(schema);
  const int num_threads = options.num_threads > 0 ? options.num_threads : num_processors();
  const int window = options.window > 0 ? options.window : num_threads + 2;
  statistics.num_threads = num_threads;
  statistics.handed_on_by = source.handed_on_by();
  statistics.started_ns = now();
  statistics.running = true;
  try {
    Execution(source, operators, sink, statistics, options, static_cast<std::uint64_t>(window)).run(num_threads);
    sink.finish();
  } catch (...) {
    statistics.ended_ns = now();
    throw;
  }
  statistics.ended_ns = now();
}

}  // namespace mobula::data

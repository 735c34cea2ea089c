#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <utility>

#include "bench/train/contestant.hpp"
#include "mobula/base/error.hpp"
#include "mobula/base/subprocess.hpp"

namespace mobula::bench {
namespace {

// A named pipe that we write commands to.
class CommandPipe {
 public:
  explicit CommandPipe(std::filesystem::path path) : path_(std::move(path)) {
    if (::mkfifo(path_.c_str(), 0600) != 0) throw_io(fmt::format("can't make the pipe {}", path_.string()), errno);
    // For reading too, so that opening doesn't wait for a peer that may never come.
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    if (descriptor_ < 0) throw_io(fmt::format("can't open the pipe {}", path_.string()), errno);
  }
  CommandPipe(const CommandPipe&) = delete;
  CommandPipe& operator=(const CommandPipe&) = delete;
  ~CommandPipe() { ::close(descriptor_); }

  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& line) {
    if (::write(descriptor_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
      throw_io(fmt::format("can't write to the pipe {}", path_.string()), errno);
    }
  }

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

class Torch final : public Contestant {
 public:
  Torch(const TrainingInput& input, const std::string& mode)
      : name_("torch-" + mode),
        commands_(input.checkpoint.parent_path() / fmt::format("commands-{}-{}", mode, nn::to_string(input.precision))),
        process_({MOBULA_BENCH_PYTHON,
                  MOBULA_BENCH_TRAIN_PEER,
                  "--model",
                  input.checkpoint.string(),
                  "--tokens",
                  input.tokens.string(),
                  "--commands",
                  commands_.path().string(),
                  "--batch",
                  std::to_string(input.shape.batch),
                  "--context",
                  std::to_string(input.shape.context),
                  "--lr",
                  fmt::format("{}", input.shape.lr),
                  "--threads",
                  std::to_string(input.threads),
                  "--precision",
                  std::string(nn::to_string(input.precision)),
                  "--mode",
                  mode},
                 {.capture_stdout = true}) {
    answer();
  }

  const std::string& name() const override { return name_; }

  StepRecord run(int count) override {
    commands_.write(fmt::format("{}\n", count));
    const Json record = answer();
    StepRecord steps;
    for (const Json& loss : record.at("losses")) steps.losses.push_back(loss.is_null() ? NAN : loss.get<double>());
    for (const Json& seconds : record.at("seconds")) steps.seconds.push_back(seconds.get<double>());
    return steps;
  }

 private:
  Json answer() {
    const auto line = process_.read_line();
    if (!line) {
      throw Error(ErrorCode::unavailable, fmt::format("the peer {} ended without an answer", name_),
                  "its last lines above say why; ./dev setup --all installs what it needs");
    }
    return parse_json(*line, name_);
  }

  std::string name_;
  CommandPipe commands_;
  Subprocess process_;
};

}  // namespace

std::unique_ptr<Contestant> make_torch(const TrainingInput& input, const std::string& mode) {
  return std::make_unique<Torch>(input, mode);
}

}  // namespace mobula::bench

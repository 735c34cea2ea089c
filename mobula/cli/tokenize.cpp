#include "mobula/cli/tokenize.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/processors.hpp"
#include "mobula/cli/commands.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {
namespace {

using text::TokenId;

/// What is read: a file or standard input, block by block.
class Input {
 public:
  explicit Input(const std::string& path) : name_(path == "-" ? "standard input" : path) {
    if (path == "-") return;
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0 && errno == ENOENT) throw Error(ErrorCode::not_found, fmt::format("{}: no such file", path));
    if (descriptor_ < 0) throw_io(path, errno);
  }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;
  ~Input() {
    if (descriptor_ != STDIN_FILENO) ::close(descriptor_);
  }

  /// Appends up to `bytes` bytes; returns how many came, 0 at the end.
  std::size_t read(std::string& out, std::size_t bytes) {
    const std::size_t before = out.size();
    out.resize(before + bytes);
    ssize_t count = 0;
    do count = ::read(descriptor_, out.data() + before, bytes);
    while (count < 0 && errno == EINTR);
    out.resize(before + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    if (count < 0) throw_io(name_, errno);
    return static_cast<std::size_t>(count);
  }

 private:
  std::string name_;
  int descriptor_ = STDIN_FILENO;
};

// Appends ids, with a separator before the first unless it begins the line.
void append_ids(std::string& out, const std::vector<TokenId>& ids, bool json, bool begins) {
  char digits[16];
  for (const TokenId id : ids) {
    if (!begins) out += json ? ',' : ' ';
    begins = false;
    out.append(digits, std::to_chars(digits, digits + sizeof digits, id).ptr);
  }
}

// Reads [1, 2, 3] (or 1 2 3) of line `number`, counted from 1.
std::vector<TokenId> parse_ids(std::string_view line, std::size_t number) {
  const auto fail = [&]() -> std::vector<TokenId> {
    throw_invalid(fmt::format("line {}: expected an array of token ids such as [1,2,3]", number));
  };
  std::vector<TokenId> ids;
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
  const bool array = line.starts_with('[');
  if (array != line.ends_with(']')) return fail();
  if (array) line = line.substr(1, line.size() - 2);
  bool expected = false;  // an id, behind a comma
  for (std::size_t at = 0; at < line.size();) {
    if (line[at] == ' ') {
      ++at;
      continue;
    }
    if (line[at] == ',') {
      if (ids.empty() || expected) return fail();
      expected = true;
      ++at;
      continue;
    }
    TokenId id = 0;
    const auto [end, error] = std::from_chars(line.data() + at, line.data() + line.size(), id);
    if (error != std::errc{}) return fail();
    ids.push_back(id);
    expected = false;
    at = static_cast<std::size_t>(end - line.data());
    if (at < line.size() && line[at] != ' ' && line[at] != ',') return fail();
  }
  return expected ? fail() : ids;
}

/// Works through the lines of the input in blocks, several at once, and writes the results in order. A line that is longer
/// than a block is encoded as it is read.
class LineWork {
 public:
  LineWork(Input& input, const TokenizeOptions& options, bool json, std::shared_ptr<const text::Tokenizer> tokenizer)
      : input_(input), options_(options), json_(json), tokenizer_(std::move(tokenizer)) {}

  void run(int threads) {
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back([this] { work(); });
    work();
    for (std::thread& each : others) each.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  static constexpr std::size_t kFirstBytes = std::size_t{1} << 14;
  static constexpr std::size_t kMostBytes = std::size_t{1} << 20;

  struct Block {
    std::string text;
    std::size_t index = 0;
    std::size_t first_line = 0;
    bool begins_long_line = false;  ///< no line ends in it
  };

  // Takes the next lines; the first blocks are small, so that output begins at once. Needs reading_.
  bool take(Block& block) {
    if (stopped_) return false;
    const std::size_t size = std::min(kFirstBytes << std::min<std::size_t>(num_taken_, 6), kMostBytes);
    std::size_t end = rest_.rfind('\n');
    bool at_end = false;
    while (end == std::string::npos || rest_.size() < size) {
      // A pipe that gives less than was asked for has no more at the moment: what is there is worked on first.
      const std::size_t asked = std::max(size, kFirstBytes);
      const std::size_t before = rest_.size();
      const std::size_t count = input_.read(rest_, asked);
      at_end = count == 0;
      if (const std::size_t found = rest_.rfind('\n'); found != std::string::npos && found >= before) end = found;
      if (at_end || (count < asked && end != std::string::npos)) break;
      if (end == std::string::npos && rest_.size() >= kMostBytes && !options_.decode) break;
    }
    if (rest_.empty()) return false;
    block.begins_long_line = end == std::string::npos && !at_end;
    const std::size_t length = end == std::string::npos || at_end ? rest_.size() : end + 1;
    block.text = rest_.substr(0, length);
    rest_.erase(0, length);
    block.index = num_taken_++;
    block.first_line = line_ + 1;
    if (options_.decode) line_ += static_cast<std::size_t>(std::count(block.text.begin(), block.text.end(), '\n'));
    return true;
  }

  void work() {
    Block block;
    try {
      while (true) {
        std::unique_lock reading(reading_);
        if (!take(block)) return;
        if (block.begins_long_line) {
          convert_long_line(block);  // nobody reads meanwhile
          continue;
        }
        reading.unlock();
        std::string out;
        std::size_t number = block.first_line;
        for (std::string_view lines = block.text; !lines.empty(); ++number) {
          const std::size_t end = std::min(lines.find('\n'), lines.size());
          convert(lines.substr(0, end), number, out);
          lines.remove_prefix(std::min(end + 1, lines.size()));
        }
        if (await_turn(block.index)) write(out, true);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      // Of several failures the first line's counts; what stands before it is still written.
      if (!failure_ || block.index < failed_block_) {
        failure_ = std::current_exception();
        failed_block_ = block.index;
      }
      stopped_ = true;
      written_.notify_all();
    }
  }

  void convert(std::string_view line, std::size_t number, std::string& out) const {
    if (!options_.decode) {
      begin_ids(out);
      append_ids(out, tokenizer_->encode(line), json_, true);
      return end_ids(out);
    }
    const std::vector<TokenId> ids = parse_ids(line, number);
    try {
      out += to_line(Json(tokenizer_->decode(ids, !options_.keep_special)));
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("line {}: {}", number, error.message()), error.hint());
    }
    out += '\n';
  }

  void convert_long_line(Block& block) {
    if (!await_turn(block.index)) return;
    text::StreamEncoder encoder(tokenizer_);
    std::vector<TokenId> ids;
    std::string out;
    begin_ids(out);
    bool first = true;
    const auto give = [&] {
      append_ids(out, ids, json_, first);
      first = first && ids.empty();
      ids.clear();
      write(out, false);
      out.clear();
    };
    while (true) {
      const std::size_t end = block.text.find('\n');
      encoder.push(std::string_view(block.text).substr(0, end), ids);
      give();
      if (end != std::string::npos) {
        rest_ = block.text.substr(end + 1);
        break;
      }
      block.text.clear();
      if (input_.read(block.text, kMostBytes) == 0) break;
    }
    encoder.finish(ids);
    give();
    end_ids(out);
    write(out, true);
  }

  void begin_ids(std::string& out) const {
    if (json_) out += '[';
  }
  void end_ids(std::string& out) const { out += json_ ? "]\n" : "\n"; }

  // Waits until everything before block `index` is written; returns false where that won't happen.
  bool await_turn(std::size_t index) {
    std::unique_lock lock(mutex_);
    written_.wait(lock, [&] { return num_written_ == index || (failure_ && failed_block_ < index); });
    return num_written_ == index;
  }
  // Only the thread whose turn it is writes.
  void write(const std::string& out, bool ends_block) {
    if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size() || std::fflush(stdout) != 0) {
      throw_io("standard output", errno);
    }
    if (!ends_block) return;
    const std::lock_guard lock(mutex_);
    ++num_written_;
    written_.notify_all();
  }

  Input& input_;
  const TokenizeOptions& options_;
  bool json_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;

  std::mutex reading_;  ///< of the next four
  std::string rest_;
  std::size_t num_taken_ = 0;
  std::size_t line_ = 0;
  std::atomic<bool> stopped_ = false;

  std::mutex mutex_;  ///< of the following; taken after reading_
  std::condition_variable written_;
  std::size_t num_written_ = 0;
  std::size_t failed_block_ = 0;
  std::exception_ptr failure_;
};

int run_tokenize(const TokenizeOptions& options, bool json) {
  if (options.keep_special && !options.decode) throw_invalid("--keep-special goes with --decode");
  const auto tokenizer = options.pattern.empty() ? text::Tokenizer::load(options.tokenizer)
                                                 : text::load_tiktoken(options.tokenizer, {options.pattern, {}});
  Input input(options.input);
  const int threads = options.threads > 0 ? options.threads : num_processors();
  LineWork(input, options, json, tokenizer).run(threads);
  return 0;
}

}  // namespace

void add_tokenize_command(CommandLine& line) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App& command =
      line.add(nullptr, "tokenize", "Turn lines of text into token ids, or back",
               "  mobula tokenize --tokenizer model/ --input corpus.txt --json --threads 2 > ids.jsonl\n"
               "  mobula tokenize --tokenizer model/tokenizer.json --input ids.jsonl --decode\n"
               "  mobula tokenize --tokenizer model/tokenizer.model --input corpus.txt\n"
               "  echo 'To be, or not to be' | mobula tokenize --tokenizer model/",
               [&line, options] { return run_tokenize(*options, line.globals().json); });
  command
      .add_option("--tokenizer", options->tokenizer,
                  "tokenizer.json, a SentencePiece .model, a tiktoken file, or a folder that holds one")
      ->required();
  command.add_option("--pattern", options->pattern,
                     "How a tiktoken file cuts texts: r50k, cl100k, o200k, llama3, qwen2 or an expression");
  command.add_option("--input", options->input, "File of lines; - reads standard input")->capture_default_str();
  command.add_option("--threads", options->threads, "Threads (0: one a processor)")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  command.add_flag("--decode", options->decode, "Read arrays of ids, print one JSON string a line");
  command.add_flag("--keep-special", options->keep_special, "Decode special tokens too");
}

}  // namespace mobula::cli

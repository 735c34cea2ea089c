#include "mobula/cli/tokenize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/commands.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {
namespace {

using text::TokenId;

std::string read_standard_input() {
  std::string all;
  char buffer[1 << 16];
  while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, stdin)) all.append(buffer, count);
  if (std::ferror(stdin) != 0) throw_io("standard input", errno);
  return all;
}

void append_ids(std::string& out, const std::vector<TokenId>& ids, bool json) {
  char digits[16];
  if (json) out += '[';
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += json ? ',' : ' ';
    out.append(digits, std::to_chars(digits, digits + sizeof digits, ids[i]).ptr);
  }
  out += json ? "]\n" : "\n";
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

/// Works through the lines of a text in blocks, several at once, and writes the results in order.
class LineWork {
 public:
  LineWork(std::string_view text, const TokenizeOptions& options, bool json,
           std::shared_ptr<const text::Tokenizer> tokenizer)
      : rest_(text), options_(options), json_(json), tokenizer_(std::move(tokenizer)) {}

  void run(int threads) {
    std::vector<std::thread> others;
    for (int i = 1; i < threads; ++i) others.emplace_back([this] { work(); });
    work();
    for (std::thread& each : others) each.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  struct Block {
    std::string_view text;
    std::size_t index;
    std::size_t first_line;
  };

  // Takes the next lines; the first blocks are small, so that output begins at once.
  bool take(Block& block) {
    constexpr std::size_t kFirstBytes = 1 << 14;
    constexpr std::size_t kMostBytes = 1 << 20;
    const std::lock_guard lock(mutex_);
    if (rest_.empty() || failure_) return false;
    std::size_t size = std::min(kFirstBytes << std::min<std::size_t>(num_taken_, 6), kMostBytes);
    if (size < rest_.size()) {
      const std::size_t end = rest_.find('\n', size - 1);
      size = end == std::string_view::npos ? rest_.size() : end + 1;
    } else {
      size = rest_.size();
    }
    block = {rest_.substr(0, size), num_taken_++, line_ + 1};
    rest_.remove_prefix(size);
    if (options_.decode) line_ += static_cast<std::size_t>(std::count(block.text.begin(), block.text.end(), '\n'));
    return true;
  }

  void work() {
    Block block{};
    try {
      while (take(block)) {
        std::string out;
        std::size_t number = block.first_line;
        for (std::string_view lines = block.text; !lines.empty(); ++number) {
          const std::size_t end = std::min(lines.find('\n'), lines.size());
          convert(lines.substr(0, end), number, out);
          lines.remove_prefix(std::min(end + 1, lines.size()));
        }
        write(block.index, out);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      // Of several failures the first line's counts; what stands before it is still written.
      if (!failure_ || block.index < failed_block_) {
        failure_ = std::current_exception();
        failed_block_ = block.index;
      }
      written_.notify_all();
    }
  }

  void convert(std::string_view line, std::size_t number, std::string& out) const {
    if (!options_.decode) return append_ids(out, tokenizer_->encode(line), json_);
    const std::vector<TokenId> ids = parse_ids(line, number);
    try {
      out += to_line(Json(tokenizer_->decode(ids, !options_.keep_special)));
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("line {}: {}", number, error.message()), error.hint());
    }
    out += '\n';
  }

  void write(std::size_t index, const std::string& out) {
    std::unique_lock lock(mutex_);
    written_.wait(lock, [&] { return num_written_ == index || (failure_ && failed_block_ < index); });
    if (num_written_ != index) return;
    if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size() || std::fflush(stdout) != 0) {
      throw_io("standard output", errno);
    }
    ++num_written_;
    written_.notify_all();
  }

  std::string_view rest_;
  const TokenizeOptions& options_;
  bool json_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::mutex mutex_;
  std::condition_variable written_;
  std::size_t num_taken_ = 0;
  std::size_t num_written_ = 0;
  std::size_t line_ = 0;
  std::size_t failed_block_ = 0;
  std::exception_ptr failure_;
};

int run_tokenize(const TokenizeOptions& options, bool json) {
  if (options.keep_special && !options.decode) throw_invalid("--keep-special goes with --decode");
  const auto tokenizer = text::Tokenizer::load(options.tokenizer);
  MappedFile file;
  std::string piped;
  if (options.input == "-") {
    piped = read_standard_input();
  } else {
    file = MappedFile(options.input);
  }
  const int threads =
      options.threads > 0 ? options.threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  LineWork(options.input == "-" ? std::string_view(piped) : file.text(), options, json, tokenizer).run(threads);
  return 0;
}

}  // namespace

void add_tokenize_command(CommandLine& line) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App& command =
      line.add(nullptr, "tokenize", "Turn lines of text into token ids, or back",
               "  mobula tokenize --tokenizer model/ --input corpus.txt --json --threads 2 > ids.jsonl\n"
               "  mobula tokenize --tokenizer model/tokenizer.json --input ids.jsonl --decode\n"
               "  echo 'To be, or not to be' | mobula tokenize --tokenizer model/",
               [&line, options] { return run_tokenize(*options, line.globals().json); });
  command.add_option("--tokenizer", options->tokenizer, "tokenizer.json, or a folder that holds one")->required();
  command.add_option("--input", options->input, "File of lines; - reads standard input")->capture_default_str();
  command.add_option("--threads", options->threads, "Threads (0: one a processor)")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  command.add_flag("--decode", options->decode, "Read arrays of ids, print one JSON string a line");
  command.add_flag("--keep-special", options->keep_special, "Decode special tokens too");
}

}  // namespace mobula::cli

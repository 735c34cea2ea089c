#include "bench/text/long_line.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::bench {
namespace {

using text::TokenId;

std::string without_line_ends(std::string_view text) {
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return line;
}

/// The ids of a text that is a unit so many times, from those of two and of three times: only where two units meet, and at
/// both ends, can they differ from one repetition to the next.
class RepeatedIds {
 public:
  RepeatedIds(const text::Tokenizer& tokenizer, const std::string& unit, std::size_t repeats)
      : three_(tokenizer.encode(unit + unit + unit)) {
    const std::size_t two = tokenizer.encode(unit + unit).size();
    period_ = three_.size() - two;
    middle_ = two / 2;
    size_ = three_.size() + (repeats - 3) * period_;
  }

  std::size_t size() const { return size_; }
  TokenId operator[](std::size_t index) const {
    if (index < middle_) return three_[index];
    const std::size_t behind = size_ - index;  // ids from here to the end
    if (behind <= three_.size() - middle_) return three_[three_.size() - behind];
    return three_[middle_ + (index - middle_) % period_];
  }

 private:
  std::vector<TokenId> three_;
  std::size_t period_ = 0, middle_ = 0, size_ = 0;
};

/// Reads the printed array of ids as it comes and holds each to the expected ones.
void check_ids(int output, const RepeatedIds& expected) {
  std::array<char, 1 << 16> block{};
  std::size_t count = 0;
  TokenId id = -1;  // what has been read of the number
  const auto take = [&] {
    if (id < 0) return;
    if (count >= expected.size() || id != expected[count]) {
      throw_internal(fmt::format("id {} of the long line is {}, unlike that of its text", count, id));
    }
    ++count;
    id = -1;
  };
  for (ssize_t size = 0; (size = ::read(output, block.data(), block.size())) > 0;) {
    for (const char c : std::string_view(block.data(), static_cast<std::size_t>(size))) {
      if (c >= '0' && c <= '9') {
        id = std::max(id, 0) * 10 + (c - '0');
      } else {
        take();
      }
    }
  }
  take();
  if (count != expected.size()) throw_internal(fmt::format("{} ids of {} were printed", count, expected.size()));
}

}  // namespace

LongLine tokenize_long_line(const std::filesystem::path& tokenizer, std::string_view text, std::size_t bytes,
                            const std::filesystem::path& folder) {
  const std::string unit = without_line_ends(text);
  const std::size_t repeats = bytes / unit.size() + 1;
  const std::filesystem::path input = folder / "line.txt";
  std::ofstream file(input, std::ios::binary);
  for (std::size_t i = 0; i < repeats; ++i) file << unit;
  file.close();
  if (!file) throw Error(ErrorCode::io, fmt::format("{}: can't be written", input.string()));
  const RepeatedIds expected(*text::Tokenizer::load(tokenizer), unit, repeats);

  const std::string program = std::filesystem::read_symlink("/proc/self/exe").replace_filename("mobula").string();
  std::array<int, 2> pipe{};
  if (::pipe(pipe.data()) != 0) throw_io("pipe", errno);
  const auto begin = std::chrono::steady_clock::now();
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], STDOUT_FILENO);
    ::close(pipe[0]);
    ::close(pipe[1]);
    ::execl(program.c_str(), program.c_str(), "tokenize", "--tokenizer", tokenizer.c_str(), "--input", input.c_str(),
            "--threads", "1", "--json", nullptr);
    ::_exit(127);
  }
  ::close(pipe[1]);
  const auto wait = [&] {
    ::close(pipe[0]);
    int status = 0;
    rusage usage{};
    ::wait4(child, &status, 0, &usage);
    return std::pair(status, usage);
  };
  try {
    check_ids(pipe[0], expected);
  } catch (...) {
    wait();
    throw;
  }
  const auto [status, usage] = wait();
  if (status != 0) throw Error(ErrorCode::unavailable, fmt::format("{} tokenize failed", program));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::filesystem::remove(input);
  return {.peak_megabytes = static_cast<double>(usage.ru_maxrss) * 1024 / 1e6,
          .megabytes_per_second = static_cast<double>(repeats * unit.size()) / 1e6 / took.count()};
}

}  // namespace mobula::bench

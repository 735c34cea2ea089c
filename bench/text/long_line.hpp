/// `mobula tokenize` on a file that is one line of a gigabyte.
#pragma once

#include <filesystem>
#include <string_view>

namespace mobula::bench {

struct LongLine {
  double peak_megabytes = 0;  ///< resident memory of the program, at most
  double megabytes_per_second = 0;
};

/// Writes a line of `bytes` bytes (or some more) that repeats `text` without its line ends into `folder`, runs the program beside
/// this one on it with one thread, and holds every id that it prints to those of the repeated text. Throws Error where one
/// differs.
LongLine tokenize_long_line(const std::filesystem::path& tokenizer, std::string_view text, std::size_t bytes,
                            const std::filesystem::path& folder);

}  // namespace mobula::bench

/// Reads the texts that a language model trains on, out of one column of a text, JSONL, CSV or Parquet file.
///
///     TextColumn texts = read_text_column("corpus.jsonl", {.column = "text"});
///     for (std::size_t row = 0; row < texts.size(); ++row) use(texts[row]);
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::data {

struct TextColumnOptions {
  std::string format;           ///< text, jsonl, csv or parquet; empty: by the file's extension, text for others
  std::string column = "text";  ///< its name in jsonl, csv and parquet; text files have none
  std::size_t max_bytes = std::size_t{64} << 30;  ///< refuses files and texts larger than this
};

/// Texts side by side in one buffer. A value; reading from several threads is safe.
struct TextColumn {
  std::string bytes;                ///< all texts, one after the other
  std::vector<std::uint64_t> ends;  ///< where each text ends in `bytes`

  std::size_t size() const { return ends.size(); }
  std::string_view operator[](std::size_t row) const {
    const std::uint64_t begin = row == 0 ? 0 : ends[row - 1];
    return std::string_view(bytes).substr(begin, ends[row] - begin);
  }
};

/// Reads the column. A text file is one text, exactly as it stands; in the other formats each row is a text,
/// and nulls are passed over. Throws Error(not_found) for a missing file or column (naming the nearest),
/// Error(corrupt) naming file and row (from 1) for what can't be read or isn't text, Error(invalid_argument)
/// for an unknown format, Error(unsupported) for Parquet in a build without Arrow.
TextColumn read_text_column(const std::filesystem::path& file, const TextColumnOptions& options = {});

namespace detail {
/// Reads a column of strings out of a Parquet file.
TextColumn read_parquet_text(const std::filesystem::path& file, const TextColumnOptions& options);
}  // namespace detail

}  // namespace mobula::data

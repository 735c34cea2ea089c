#include "mobula/data/tokens/training_text.hpp"

#include <fmt/format.h>

#include <cstdlib>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/data/tokens/download.hpp"
#include "mobula/data/tokens/sha256.hpp"

namespace mobula::data {
namespace {

namespace fs = std::filesystem;

/// Returns the length of the well-formed UTF-8 character at the beginning of `text`, 0 where there is none
/// (Unicode 15, table 3-7).
size_t character_length(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto continues = [&](size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const unsigned low = first == 0xE0 ? 0xA0 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : 0xBF;
    return continues(1, low, high) && continues(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const unsigned low = first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xF4 ? 0x8F : 0xBF;
    return continues(1, low, high) && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

/// Refuses bytes that are no text.
void check_is_text(std::string_view text, const fs::path& path) {
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw_invalid(fmt::format("{}: looks binary: byte {} is NUL", path.string(), nul),
                  "data.path must name a text; other formats are chosen by data.format");
  }
  size_t characters = 0;
  size_t broken = 0;
  for (size_t at = 0; at < text.size(); ++characters) {
    const size_t length = character_length(text.substr(at));
    broken += length == 0;
    at += length == 0 ? 1 : length;
  }
  if (broken * 100 > characters) {
    throw_invalid(fmt::format("{}: looks binary: {} of {} characters are not UTF-8", path.string(), broken, characters),
                  "convert the text to UTF-8 first, for example with iconv");
  }
}

}  // namespace

fs::path find_training_text(const fs::path& given) {
  if (!given.empty()) {
    if (!fs::exists(given)) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no such file", given.string()),
                  "check data.path (relative paths start at the working directory)");
    }
    return given;
  }
  if (const char* folder = std::getenv("MOBULA_DATA"); folder != nullptr && *folder != '\0') {
    if (const fs::path file = fs::path(folder) / "tinyshakespeare.txt"; fs::exists(file)) return file;
  }
  if (const fs::path file = "../shared/data/tinyshakespeare.txt"; fs::exists(file)) return file;
  const fs::path file = cache_directory() / "tinyshakespeare.txt";
  download_file(std::string(kTinyShakespeareUrl), kTinyShakespeareSha256, file);
  return file;
}

TrainingText read_training_text(const fs::path& path, const TextColumnOptions& options) {
  TrainingText result{path, {}, read_text_column(path, options)};
  const std::string_view bytes = result.texts.bytes;
  if (bytes.empty()) {
    throw_invalid(fmt::format("{}: is empty", path.string()), "data.path must name a text to train on");
  }
  check_is_text(bytes, path);
  result.sha256 = sha256(bytes);
  return result;
}

}  // namespace mobula::data

/// The text that a language model is trained on: where it is found, and what is refused.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "mobula/data/sources/text_column.hpp"

namespace mobula::data {

/// Where tiny Shakespeare comes from when no text is given and none lies at hand, and the SHA-256 of that
/// file.
inline constexpr std::string_view kTinyShakespeareUrl =
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt";
inline constexpr std::string_view kTinyShakespeareSha256 =
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed";

/// Finds the training text: `given` where it isn't empty, else $MOBULA_DATA/tinyshakespeare.txt, else
/// ../shared/data/tinyshakespeare.txt, else the copy in the user's cache, which is downloaded where it is
/// missing. Throws Error(not_found) for a `given` that does not exist, Error(unavailable) where the download
/// fails.
std::filesystem::path find_training_text(const std::filesystem::path& given);

/// Texts in the order of their file, and what they are known by.
struct TrainingText {
  std::filesystem::path path;
  std::string sha256;  ///< of the texts' bytes, 64 hexadecimal digits
  TextColumn texts;    ///< at least one byte in all
};

/// Reads the texts of `path`. Throws what read_text_column throws, and Error(invalid_argument) for a file without text
/// or one that looks binary (NUL bytes, or more than one character in a hundred that is no UTF-8), naming the file.
TrainingText read_training_text(const std::filesystem::path& path, const TextColumnOptions& options = {});

}  // namespace mobula::data

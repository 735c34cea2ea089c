/// tiktoken's files: a line for each token, its bytes in base64 and its rank, which is its id too.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// The tokens of a file. The pattern that cuts texts, and special tokens, aren't in it.
struct TiktokenFile {
  std::vector<std::pair<std::string, TokenId>> tokens;

  /// Tells whether a file's content looks like one: its first line is base64, a space and a number.
  static bool matches(std::string_view content);
  /// Reads a file's content. Throws Error(corrupt) naming the line.
  static TiktokenFile parse(std::string_view content, std::string_view name);
  /// Returns the same tokens as tokenizer.json, with a post-processor (JSON).
  std::string to_json(const TiktokenOptions& options, const std::string& post_processor = "null") const;
};

/// Returns what OpenAI's and others' encodings add to their file, by its name without extension ("cl100k_base"); a pattern
/// is empty where the name isn't known.
TiktokenOptions known_tiktoken_options(std::string_view name);
/// Returns the regular expression that `pattern` names (r50k, cl100k, o200k, llama3, qwen2), else `pattern` itself.
std::string tiktoken_pattern(std::string_view pattern);

}  // namespace mobula::text

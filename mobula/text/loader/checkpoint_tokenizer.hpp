/// The tokenizer of a checkpoint folder that has no tokenizer.json: a SentencePiece model, a tiktoken file, or vocab.json and
/// merges.txt; and beside it what transformers keeps apart from that: special and added tokens, and which of them surround a text.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mobula::text {

/// Tells whether `folder` says how its tokenizer's file is to be used: a tokenizer_config.json, or a config.json that names a family
/// with such files.
bool has_tokenizer_settings(const std::filesystem::path& folder);

/// Returns the tokenizer.json that stands for `file` (its content) in `folder`; ids are those of transformers' class. Reads
/// tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json's model_type. Throws Error naming file
/// and key, and Error(unsupported) for a tokenizer_class that numbers its pieces otherwise.
std::string checkpoint_tokenizer_json(const std::filesystem::path& folder, const std::filesystem::path& file,
                                      std::string_view content);

}  // namespace mobula::text

/// Making the parts of a tokenizer from tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/loader/json_reader.hpp"
#include "mobula/text/models/model.hpp"
#include "mobula/text/normalizers/normalizer.hpp"
#include "mobula/text/post_processors/post_processor.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizer.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// Largest id a file may use: what embeddings could have, and a bound on the memory that ids take.
inline constexpr std::int64_t kMaxTokenId = 1 << 26;

/// Each throws Error(corrupt) for what is malformed and Error(unsupported) for what is unknown, naming file and key.
std::unique_ptr<Model> read_model(const JsonValue& value);
std::unique_ptr<Decoder> read_decoder(const JsonValue& value);
std::unique_ptr<PostProcessor> read_post_processor(const JsonValue& value);
/// Appends the steps of a normalizer or pre-tokenizer, a sequence's one by one.
void read_normalizer(const JsonValue& value, std::vector<std::unique_ptr<Normalizer>>& out);
void read_pre_tokenizer(const JsonValue& value, std::vector<std::unique_ptr<PreTokenizer>>& out);
/// Reads {"String": ...} or {"Regex": ...}.
Regex read_pattern(const JsonValue& value);
Truncation read_truncation(const JsonValue& value);
Padding read_padding(const JsonValue& value);

/// Makes a whole tokenizer of a SentencePiece model.
std::unique_ptr<Tokenizer::Impl> read_sentencepiece(std::string_view bytes, std::string_view name);
/// Makes a whole tokenizer of a tiktoken file.
std::unique_ptr<const Tokenizer::Impl> read_tiktoken(std::string_view content, std::string_view name,
                                                     const TiktokenOptions& options);
/// Makes a whole tokenizer of tokenizer.json.
std::unique_ptr<Tokenizer::Impl> read_tokenizer(std::string_view json, std::string_view name);

}  // namespace mobula::text

/// Making the parts of a tokenizer from tokenizer.json.
#pragma once

#include <memory>
#include <vector>

#include "mobula/text/decoders/decoder.hpp"
#include "mobula/text/loader/json_reader.hpp"
#include "mobula/text/models/model.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizer.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {

/// Largest id a file may use: what embeddings could have, and a bound on the memory that ids take.
inline constexpr std::int64_t kMaxTokenId = 1 << 26;

/// Each throws Error(corrupt) for what is malformed and Error(unsupported) for what is unknown, naming file
/// and key.
std::unique_ptr<Model> read_model(const JsonValue& value);
std::unique_ptr<Decoder> read_decoder(const JsonValue& value);
/// Appends the steps of a pre-tokenizer, a sequence's one by one.
void read_pre_tokenizer(const JsonValue& value, std::vector<std::unique_ptr<PreTokenizer>>& out);

/// Makes a whole tokenizer.
std::unique_ptr<const Tokenizer::Impl> read_tokenizer(std::string_view json, std::string_view name);

}  // namespace mobula::text

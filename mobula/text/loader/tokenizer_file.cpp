#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/models/bpe.hpp"
#include "mobula/text/pre_tokenizers/byte_level.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizers.hpp"
#include "mobula/text/tokenizer_impl.hpp"

namespace mobula::text {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 30;
constexpr std::size_t kMaxDepth = 64;

void read_added_tokens(const JsonValue& list, Tokenizer::Impl& impl) {
  // Ids follow from the order, as in the library: a token that the model has keeps the model's id, the others
  // are numbered on from the largest.
  auto next = static_cast<TokenId>(impl.model->size());
  for (const JsonValue& entry : list.items()) {
    AddedToken token;
    token.content = entry.at("content").string();
    token.single_word = entry.flag("single_word", false);
    token.lstrip = entry.flag("lstrip", false);
    token.rstrip = entry.flag("rstrip", false);
    token.normalized = entry.flag("normalized", true);
    token.special = entry.flag("special", false);
    entry.at("id").integer(kMaxTokenId);
    if (token.content.empty()) continue;
    token.id = impl.added.find(token.content);
    if (token.id < 0) token.id = impl.model->find(token.content);
    if (token.id < 0) token.id = next++;
    AlignedText normalized;
    normalized.text = token.content;
    impl.normalize(normalized);
    impl.added.add(std::move(token), std::move(normalized.text));
  }
  impl.added.finish();
}

}  // namespace

std::unique_ptr<Tokenizer::Impl> read_tokenizer(std::string_view json, std::string_view name) {
  if (json.size() > kMaxFileBytes) {
    throw Error(ErrorCode::resource, fmt::format("{}: a tokenizer file of {} bytes is refused", name, json.size()));
  }
  auto impl = std::make_unique<Tokenizer::Impl>();
  impl->json = json;
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::error_code error = parser.allocate(json.size() + 64, kMaxDepth);
  if (error == simdjson::SUCCESS) error = parser.parse(impl->json).get(root);
  if (error != simdjson::SUCCESS) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: not valid JSON: {}", name, simdjson::error_message(error)));
  }
  const JsonValue value(root, fmt::format("{}: ", name));
  if (!value.is_object()) throw Error(ErrorCode::corrupt, fmt::format("{}: expected a JSON object", name));
  impl->model = read_model(value.at("model"));
  if (const auto steps = value.find("normalizer")) read_normalizer(*steps, impl->normalizers);
  if (const auto list = value.find("added_tokens")) read_added_tokens(*list, *impl);
  if (const auto steps = value.find("pre_tokenizer")) read_pre_tokenizer(*steps, impl->pre_tokenizers);
  if (const auto decoder = value.find("decoder")) impl->decoder = read_decoder(*decoder);
  if (const auto steps = value.find("post_processor")) impl->post_processor = read_post_processor(*steps);
  if (const auto truncation = value.find("truncation")) impl->truncation = read_truncation(*truncation);
  if (const auto padding = value.find("padding")) impl->padding = read_padding(*padding);
  for (const auto& step : impl->pre_tokenizers) {
    const auto* metaspace = dynamic_cast<const MetaspacePreTokenizer*>(step.get());
    impl->needs_origin = impl->needs_origin || (metaspace != nullptr && !impl->normalizers.empty() &&
                                                metaspace->prepend() == MetaspacePreTokenizer::Prepend::first);
  }
  if (!impl->pre_tokenizers.empty()) {
    // Spelling bytes out only to look them up again is left out where the model can do without.
    auto* last = dynamic_cast<ByteLevelPreTokenizer*>(impl->pre_tokenizers.back().get());
    auto* bpe = dynamic_cast<BpeModel*>(impl->model.get());
    if (last != nullptr && bpe != nullptr && bpe->use_raw_bytes()) last->keep_raw_bytes();
  }
  const bool one_piece = impl->pre_tokenizers.empty() ||
                         (impl->pre_tokenizers.size() == 1 &&
                          dynamic_cast<const MetaspacePreTokenizer*>(impl->pre_tokenizers.back().get()) != nullptr);
  if (const auto* bpe = dynamic_cast<const BpeModel*>(impl->model.get()); bpe != nullptr && one_piece) {
    constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";
    if (bpe->never_merges_before(kVisibleSpace)) {
      impl->pre_tokenizers.push_back(std::make_unique<BoundaryPreTokenizer>(std::string(kVisibleSpace)));
    }
  }
  impl->prepare_ids();
  impl->prepare_cuts();
  impl->prepare_post_processing();
  return impl;
}

}  // namespace mobula::text

#include "mobula/text/tokenizer.hpp"

#include <fmt/format.h>

#include <limits>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/text/loader/checkpoint_tokenizer.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/tiktoken/tiktoken_file.hpp"
#include "mobula/text/tokenizer_impl.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

void check_id(TokenId id, std::size_t size) {
  if (id < 0 || static_cast<std::size_t>(id) >= size) {
    throw_invalid(fmt::format("token id {} is outside the vocabulary of {} ids", id, size));
  }
}

// Returns `path`, or the tokenizer's file in a folder.
std::filesystem::path find_tokenizer_file(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return path;
  if (auto file = Tokenizer::find(path)) return *file;
  throw Error(ErrorCode::not_found, fmt::format("{}: no tokenizer.json in this folder", path.string()),
              "save one with transformers' PreTrainedTokenizerFast, or name the file itself");
}

// Returns the text behind its first `given` bytes, which were given out. A token for a byte can change those before it: a run of
// such tokens that is no UTF-8 is U+FFFD throughout. Then it begins at the next character.
std::string behind(const std::string& text, std::size_t given) {
  while (given < text.size() && (static_cast<unsigned char>(text[given]) & 0xC0) == 0x80) ++given;
  return given < text.size() ? text.substr(given) : std::string();
}

std::unique_ptr<Tokenizer::Impl> read_any(std::string_view content, std::string_view name) {
  // A SentencePiece model begins with its first piece: field 1, a message, which is a line break to JSON.
  const std::size_t first = content.find_first_not_of(" \t\r\n");
  const bool pieces = content.starts_with('\n') && first != std::string_view::npos && content[first] != '{';
  return pieces ? read_sentencepiece(content, name) : read_tokenizer(content, name);
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

std::optional<std::filesystem::path> Tokenizer::find(const std::filesystem::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}) {
    if (std::filesystem::exists(folder / name)) return folder / name;
  }
  if (std::filesystem::exists(folder / "vocab.json") && std::filesystem::exists(folder / "merges.txt")) {
    return folder / "vocab.json";
  }
  std::vector<std::filesystem::path> others;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".tiktoken") others.push_back(entry.path());
  }
  return others.size() == 1 ? std::optional(others[0]) : std::nullopt;
}

std::shared_ptr<const Tokenizer> Tokenizer::load(const std::filesystem::path& path, Lengths lengths) {
  const std::filesystem::path file = find_tokenizer_file(path);
  const MappedFile mapped(file);
  const bool of_parts = file != path && file.filename() == "vocab.json";
  if (of_parts || (file != path && file.filename() != "tokenizer.json" && has_tokenizer_settings(path))) {
    const std::string json = checkpoint_tokenizer_json(path, file, mapped.text());
    return std::make_shared<const Tokenizer>(read_tokenizer(json, file.string()));
  }
  if (!TiktokenFile::matches(mapped.text())) {
    std::unique_ptr<Impl> impl = read_any(mapped.text(), file.string());
    if (lengths == Lengths::as_they_come) {
      impl->truncation.reset();
      impl->padding.reset();
    }
    return std::make_shared<const Tokenizer>(std::move(impl));
  }
  TiktokenOptions options = known_tiktoken_options(file.stem().string());
  if (options.pattern.empty()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: a tiktoken file doesn't say by which pattern texts are cut", file.string()),
                "name it with --pattern: r50k, cl100k, o200k, llama3, qwen2 or a regular expression");
  }
  return std::make_shared<const Tokenizer>(read_tiktoken(mapped.text(), file.string(), options));
}

std::shared_ptr<const Tokenizer> Tokenizer::parse(std::string_view content, std::string_view name) {
  return std::make_shared<const Tokenizer>(read_any(content, name));
}

std::shared_ptr<const Tokenizer> load_tiktoken(const std::filesystem::path& path, const TiktokenOptions& options) {
  const std::filesystem::path file = find_tokenizer_file(path);
  const MappedFile mapped(file);
  return std::make_shared<const Tokenizer>(read_tiktoken(mapped.text(), file.string(), options));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  const bool only_second = impl_->truncation && impl_->truncation->strategy == Truncation::Strategy::only_second;
  if (!impl_->surrounds || only_second) return impl_->encode_full(text, std::nullopt, add_special_tokens).ids;
  std::vector<TokenId> ids;
  if (add_special_tokens) ids = impl_->prefix;
  const std::size_t begin = ids.size();
  const auto most = impl_->limit(false, add_special_tokens);
  const bool from_right = most && !impl_->truncation->from_left;
  impl_->encode(text, ids, from_right ? begin + *most + 1 : std::numeric_limits<std::size_t>::max());
  if (most && ids.size() - begin > *most) {
    impl_->truncation->check_stride(*most);
    const auto surplus = static_cast<std::ptrdiff_t>(ids.size() - begin - *most);
    const auto first = ids.begin() + static_cast<std::ptrdiff_t>(begin);
    impl_->truncation->from_left ? ids.erase(first, first + surplus) : ids.erase(ids.end() - surplus, ids.end());
  }
  if (add_special_tokens) ids.insert(ids.end(), impl_->suffix.begin(), impl_->suffix.end());
  if (impl_->padding) {
    const std::size_t count = impl_->padding->target(ids.size()) - ids.size();
    ids.insert(impl_->padding->on_left ? ids.begin() : ids.end(), count, impl_->padding->id);
  }
  return ids;
}

Encoding Tokenizer::encode_full(std::string_view text, std::optional<std::string_view> pair,
                                bool add_special_tokens) const {
  return impl_->encode_full(text, pair, add_special_tokens);
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  for (const TokenId id : ids) check_id(id, vocab_size());
  const DecodingTable& table = impl_->decoding();
  if (table.usable()) {
    return table.decode(ids, skip_special_tokens ? &impl_->special_ids : nullptr,
                        [this](TokenId id) { return impl_->spelling(id); });
  }
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const TokenId id : ids) {
    if (skip_special_tokens && impl_->special_ids[static_cast<std::size_t>(id)]) continue;
    if (const auto text = impl_->spelling(id)) tokens.emplace_back(*text);
  }
  impl_->decoder->apply(tokens);
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

std::string Tokenizer::token_bytes(TokenId id) const {
  check_id(id, vocab_size());
  const DecodingTable& table = impl_->decoding();
  return table.usable() ? std::string(table.bytes(id)) : decode(std::span(&id, 1), false);
}

std::size_t Tokenizer::vocab_size() const {
  return impl_->special_ids.size();
}

std::optional<TokenId> Tokenizer::token_to_id(std::string_view token) const {
  TokenId id = impl_->added.find(token);
  if (id < 0) id = impl_->model->find(token);
  return id < 0 ? std::nullopt : std::optional(id);
}

std::optional<std::string> Tokenizer::id_to_token(TokenId id) const {
  if (const AddedToken* token = impl_->added.find(id)) return token->content;
  const auto token = impl_->model->token(id);
  return token ? std::optional(std::string(*token)) : std::nullopt;
}

bool Tokenizer::is_special(TokenId id) const {
  return id >= 0 && static_cast<std::size_t>(id) < impl_->special_ids.size() &&
         impl_->special_ids[static_cast<std::size_t>(id)];
}

std::string_view Tokenizer::model_kind() const {
  return impl_->model->kind();
}

std::vector<TokenId> Tokenizer::special_ids() const {
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < impl_->special_ids.size(); ++i) {
    if (impl_->special_ids[i]) ids.push_back(static_cast<TokenId>(i));
  }
  return ids;
}

bool Tokenizer::streams() const {
  return impl_->cuts != Impl::Cuts::nowhere;
}

std::string Tokenizer::to_json() const {
  return impl_->convert ? impl_->convert() : impl_->json;
}

void Tokenizer::save(const std::filesystem::path& directory, std::string_view chat_template) const {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  for (const auto& entry : impl_->added.all()) {
    const auto& token = entry.second;
    if (!token.special) continue;
    const auto is = [&](std::initializer_list<std::string_view> names) {
      return std::find(names.begin(), names.end(), token.content) != names.end();
    };
    if (is({"<unk>", "[UNK]"})) config["unk_token"] = token.content;
    if (is({"<s>", "<|begin_of_text|>", "<bos>"})) config["bos_token"] = token.content;
    if (is({"<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>"})) config["eos_token"] = token.content;
    if (is({"<pad>", "[PAD]"})) config["pad_token"] = token.content;
    if (is({"[CLS]"})) config["cls_token"] = token.content;
    if (is({"[SEP]"})) config["sep_token"] = token.content;
    if (is({"[MASK]", "<mask>"})) config["mask_token"] = token.content;
  }
  if (!chat_template.empty()) config["chat_template"] = chat_template;
  write_file_atomic(directory / "tokenizer.json", to_json());
  write_file_atomic(directory / "tokenizer_config.json",
                    config.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::push(TokenId id) {
  // A model whose table is padded to a round number may draw ids that no token has.
  if (id >= 0 && static_cast<std::size_t>(id) >= tokenizer_->vocab_size()) return {};
  check_id(id, tokenizer_->vocab_size());
  const Tokenizer::Impl& impl = *tokenizer_->impl_;
  if (const DecodingTable& table = impl.decoding(); table.byte_level()) {
    if (skip_special_tokens_ && impl.special_ids[static_cast<std::size_t>(id)]) return {};
    pending_ += table.bytes(id);
    const std::size_t certain = complete_utf8_prefix(pending_);
    std::string text;
    append_repaired_utf8(text, std::string_view(pending_).substr(0, certain));
    pending_.erase(0, certain);
    return text;
  }
  ids_.push_back(id);
  // ids_[0, prefix_) were given out and stay as context for decoders that look back; given_ is the length of
  // their text.
  std::string text = tokenizer_->decode(ids_, skip_special_tokens_);
  if (text.size() <= given_ || text.ends_with("\xEF\xBF\xBD")) return {};
  std::string fresh = behind(text, given_);
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(prefix_));
  prefix_ = ids_.size();
  given_ = tokenizer_->decode(ids_, skip_special_tokens_).size();
  return fresh;
}

std::string StreamDecoder::finish() {
  std::string text = tokenizer_->decode(ids_, skip_special_tokens_);
  std::string rest = behind(text, given_);
  append_repaired_utf8(rest, pending_);
  pending_.clear();
  ids_.clear();
  prefix_ = given_ = 0;
  return rest;
}

}  // namespace mobula::text

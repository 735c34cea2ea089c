// Tokenizers from SentencePiece models and tiktoken files, with the algorithms of those libraries.
#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/models/bpe.hpp"
#include "mobula/text/pre_tokenizers/byte_level.hpp"
#include "mobula/text/pre_tokenizers/pre_tokenizers.hpp"
#include "mobula/text/sentencepiece/pieces.hpp"
#include "mobula/text/tiktoken/tiktoken_file.hpp"
#include "mobula/text/tokenizer_impl.hpp"
#include "mobula/text/tokenizer_json.hpp"

namespace mobula::text {
namespace {

constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

// Tells whether pieces begin with the visible space or have none, so that no merge reaches over a place before one.
bool only_begin_with_spaces(const SentencePieceFile& file, const SentencePieceVocabulary& vocabulary) {
  for (const auto& piece : file.pieces) {
    std::string_view text = piece.text;
    while (text.starts_with(kVisibleSpace)) text.remove_prefix(kVisibleSpace.size());
    if (text.find(kVisibleSpace) != std::string_view::npos) return false;
  }
  return vocabulary.find_piece(kVisibleSpace) >= 0;
}

}  // namespace

std::unique_ptr<Tokenizer::Impl> read_sentencepiece(std::string_view bytes, std::string_view name) {
  auto file = std::make_shared<const SentencePieceFile>(SentencePieceFile::parse(bytes, name));
  const auto vocabulary = std::make_shared<const SentencePieceVocabulary>(*file);
  auto impl = std::make_unique<Tokenizer::Impl>();
  try {
    impl->normalizers.push_back(
        std::make_unique<SentencePieceNormalizer>(file->normalizer, file->treat_whitespace_as_suffix, vocabulary));
    impl->decoder = std::make_unique<SentencePieceDecoder>(*file, vocabulary);
  } catch (const std::string& reason) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: precompiled_charsmap: {}", name, reason));
  }
  if (file->algorithm == SentencePieceFile::Algorithm::unigram) {
    impl->model = std::make_unique<SentencePieceUnigram>(vocabulary);
  } else {
    const bool cuts = only_begin_with_spaces(*file, *vocabulary);
    if (cuts) impl->pre_tokenizers.push_back(std::make_unique<BoundaryPreTokenizer>(std::string(kVisibleSpace)));
    impl->model = std::make_unique<SentencePieceBpe>(vocabulary, cuts);
  }
  impl->convert = [file] { return file->to_json({.added_tokens = file->added_tokens()}); };
  impl->prepare_ids();
  for (std::size_t i = 0; i < file->pieces.size(); ++i) {
    if (file->pieces[i].type == SentencePieceFile::PieceType::control) impl->special_ids[i] = true;
  }
  impl->prepare_cuts();
  return impl;
}

std::unique_ptr<const Tokenizer::Impl> read_tiktoken(std::string_view content, std::string_view name,
                                                     const TiktokenOptions& options) {
  auto file = std::make_shared<const TiktokenFile>(TiktokenFile::parse(content, name));
  auto impl = std::make_unique<Tokenizer::Impl>();
  impl->model = BpeModel::from_ranks(file->tokens);
  for (const auto& [token, id] : options.special_tokens) {
    if (id < 0 || id > kMaxTokenId) throw_invalid(fmt::format("special token '{}': id {} is out of range", token, id));
    if (impl->model->token(id))
      throw_invalid(fmt::format("special token '{}': {} is the id of another token of {}", token, id, name));
    impl->added.add(special_token(token, id), token);
  }
  impl->added.finish();
  const std::string pattern = tiktoken_pattern(options.pattern);
  if (const auto known = find_scan_pattern(pattern)) {
    impl->pre_tokenizers.push_back(std::make_unique<ScanPreTokenizer>(*known));
  } else {
    impl->pre_tokenizers.push_back(std::make_unique<SplitPreTokenizer>(
        Regex::compile(pattern, fmt::format("{}: pattern", name)), SplitBehavior::removed, true));
  }
  auto bytes = std::make_unique<ByteLevelPreTokenizer>(false, false);
  bytes->keep_raw_bytes();
  impl->pre_tokenizers.push_back(std::move(bytes));
  impl->decoder = std::make_unique<ByteLevelDecoder>();
  impl->convert = [file, options] { return file->to_json(options); };
  impl->prepare_ids();
  impl->prepare_cuts();
  return impl;
}

}  // namespace mobula::text

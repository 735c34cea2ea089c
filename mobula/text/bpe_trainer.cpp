#include "mobula/text/bpe_trainer.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/text/bpe_file.hpp"
#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/pre_tokenizers/pattern_scanner.hpp"
#include "mobula/text/training/merge_learner.hpp"
#include "mobula/text/training/word_counts.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

constexpr std::size_t kScanBytes = std::size_t{1} << 16;

}  // namespace

void BpeTrainingOptions::validate() const {
  if (vocab_size < 256 + special_tokens.size()) {
    throw_invalid(fmt::format("vocab_size is {}, but 256 bytes and {} special tokens need {}", vocab_size,
                              special_tokens.size(), 256 + special_tokens.size()));
  }
  if (vocab_size > std::size_t{1} << 24)
    throw_invalid(fmt::format("vocab_size is {}, at most {} is possible", vocab_size, 1 << 24));
  for (const std::string& token : special_tokens) {
    if (token.empty() || !is_valid_utf8(token)) throw_invalid("special_tokens: a token is empty or not UTF-8");
    if (std::count(special_tokens.begin(), special_tokens.end(), token) > 1) {
      throw_invalid(fmt::format("special_tokens: '{}' is there twice", token));
    }
  }
}

struct BpeTrainer::Words {
  WordCounts counts;
};

BpeTrainer::BpeTrainer(BpeTrainingOptions options) : options_(std::move(options)), words_(std::make_unique<Words>()) {
  options_.validate();
}
BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::feed(std::string_view text) {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    append_repaired_utf8(repaired, text);
    text = repaired;
  }
  std::vector<Piece> pieces;
  while (!text.empty()) {
    // Cut long texts where a line's first word begins, so that the list of pieces stays short and no word is
    // cut.
    std::size_t size = text.size();
    if (size > 2 * kScanBytes) {
      for (std::size_t at = kScanBytes; at + 1 < text.size(); ++at) {
        if (text[at] == '\n' && static_cast<unsigned char>(text[at + 1] | 0x20) >= 'a' &&
            static_cast<unsigned char>(text[at + 1] | 0x20) <= 'z' && text[at - 1] != '\n' && text[at - 1] != ' ' &&
            text[at - 1] != '\t' && text[at - 1] != '\r') {
          size = at + 1;
          break;
        }
      }
    }
    pieces.clear();
    scan(ScanPattern::gpt2, text.substr(0, size), 0, pieces);
    for (const Piece& piece : pieces) words_->counts.add(text.substr(piece.begin, piece.end - piece.begin));
    text.remove_prefix(size);
  }
}

void BpeTrainer::add(const BpeTrainer& other) {
  words_->counts.add(other.words_->counts);
}

std::shared_ptr<const Tokenizer> BpeTrainer::train(const std::function<void(std::size_t)>& progress) const {
  if (words_->counts.empty()) throw_invalid("a vocabulary can't be trained on no text", "check the training data");
  BpeFile file;
  file.special_tokens = options_.special_tokens;
  file.tokens = options_.special_tokens;
  std::vector<std::pair<char32_t, int>> alphabet;
  for (int byte = 0; byte < 256; ++byte)
    alphabet.emplace_back(byte_to_character(static_cast<std::uint8_t>(byte)), byte);
  std::sort(alphabet.begin(), alphabet.end());
  std::uint32_t byte_ids[256];
  for (const auto& [character, byte] : alphabet) {
    std::string spelling;
    append_utf8(spelling, character);
    byte_ids[byte] = static_cast<std::uint32_t>(file.tokens.size());
    file.tokens.push_back(spelling);
  }

  MergeInput input;
  input.tokens = std::move(file.tokens);
  for (const auto& [word, count] : words_->counts.sorted()) {
    input.begin.push_back(static_cast<std::uint32_t>(input.symbols.size()));
    input.counts.push_back(static_cast<std::int64_t>(count));
    for (const char byte : word) input.symbols.push_back(byte_ids[static_cast<unsigned char>(byte)]);
  }
  input.begin.push_back(static_cast<std::uint32_t>(input.symbols.size()));
  LearnedMerges learned = learn_merges(std::move(input), {options_.vocab_size, options_.min_frequency, 0, progress});
  for (const auto& [left, right] : learned.merges)
    file.merges.emplace_back(learned.tokens[left], learned.tokens[right]);
  file.tokens = std::move(learned.tokens);
  return Tokenizer::parse(file.to_json(), "trained tokenizer");
}

std::shared_ptr<const Tokenizer> train_bpe(std::string_view text, const BpeTrainingOptions& options) {
  BpeTrainer trainer(options);
  trainer.feed(text);
  return trainer.train();
}

}  // namespace mobula::text

#include "mobula/text/bpe_trainer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "mobula/base/error.hpp"
#include "mobula/text/bpe_file.hpp"
#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/pre_tokenizers/pattern_scanner.hpp"
#include "mobula/text/unicode/utf8.hpp"
#include "mobula/text/vocabulary.hpp"

namespace mobula::text {
namespace {

constexpr std::size_t kScanBytes = 1 << 16;

std::uint64_t pair_of(std::uint32_t left, std::uint32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | right;
}

// Open addressing over pairs; no pair is ever removed.
class PairCounts {
 public:
  std::int64_t& operator[](std::uint64_t pair) {
    if ((used_ + 1) * 2 > slots_.size()) grow();
    std::size_t slot = find(pair);
    if (slots_[slot].pair == kFree) {
      slots_[slot] = {pair, 0};
      ++used_;
    }
    return slots_[slot].count;
  }

 private:
  struct Slot {
    std::uint64_t pair;
    std::int64_t count;
  };
  static constexpr std::uint64_t kFree = ~std::uint64_t{0};

  std::size_t find(std::uint64_t pair) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = (pair * 0x9E3779B97F4A7C15U >> 20) & mask;
    while (slots_[slot].pair != kFree && slots_[slot].pair != pair) slot = (slot + 1) & mask;
    return slot;
  }
  void grow() {
    std::vector<Slot> old(std::max<std::size_t>(slots_.size() * 2, 1 << 14), Slot{kFree, 0});
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.pair != kFree) slots_[find(slot.pair)] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

struct Candidate {
  std::int64_t count;
  std::uint64_t pair;
  std::vector<std::uint32_t> words;  // where it stood when it was made
  // The most frequent pair comes first, of equal ones that of the smaller ids.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

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
  Vocabulary index;  // word to its place in counts
  std::vector<std::int64_t> counts;

  void count(std::string_view word) {
    const TokenId known = index.find(word);
    if (known >= 0) {
      ++counts[static_cast<std::size_t>(known)];
    } else {
      index.add(word, static_cast<TokenId>(counts.size()));
      counts.push_back(1);
    }
  }
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
    for (const Piece& piece : pieces) words_->count(text.substr(piece.begin, piece.end - piece.begin));
    text.remove_prefix(size);
  }
}

std::shared_ptr<const Tokenizer> BpeTrainer::train() const {
  if (words_->counts.empty()) throw_invalid("a vocabulary can't be trained on no text", "check the training data");
  BpeFile file;
  file.special_tokens = options_.special_tokens;
  file.tokens = options_.special_tokens;
  Vocabulary ids;  // spelling to id
  for (std::size_t i = 0; i < file.tokens.size(); ++i) ids.add(file.tokens[i], static_cast<TokenId>(i));
  std::vector<std::pair<char32_t, int>> alphabet;
  for (int byte = 0; byte < 256; ++byte)
    alphabet.emplace_back(byte_to_character(static_cast<std::uint8_t>(byte)), byte);
  std::sort(alphabet.begin(), alphabet.end());
  std::uint32_t byte_ids[256];
  for (const auto& [character, byte] : alphabet) {
    std::string spelling;
    append_utf8(spelling, character);
    byte_ids[byte] = static_cast<std::uint32_t>(file.tokens.size());
    ids.add(spelling, static_cast<TokenId>(file.tokens.size()));
    file.tokens.push_back(spelling);
  }

  // All words' symbols in one array; merging shortens a word in place.
  const std::size_t num_words = words_->counts.size();
  std::vector<std::uint32_t> symbols;
  std::vector<std::uint32_t> begin(num_words + 1);
  std::vector<std::uint32_t> length(num_words);
  for (std::size_t w = 0; w < num_words; ++w) {
    const std::string_view word = *words_->index.token(static_cast<TokenId>(w));
    begin[w] = static_cast<std::uint32_t>(symbols.size());
    length[w] = static_cast<std::uint32_t>(word.size());
    for (const char byte : word) symbols.push_back(byte_ids[static_cast<unsigned char>(byte)]);
  }

  PairCounts counts;
  std::unordered_map<std::uint64_t, std::vector<std::uint32_t>> places;
  const auto note = [&places](std::uint64_t pair, std::uint32_t word) {
    auto& list = places[pair];
    if (list.empty() || list.back() != word) list.push_back(word);
  };
  for (std::uint32_t w = 0; w < num_words; ++w) {
    for (std::uint32_t i = begin[w]; i + 1 < begin[w] + length[w]; ++i) {
      const std::uint64_t pair = pair_of(symbols[i], symbols[i + 1]);
      counts[pair] += words_->counts[w];
      note(pair, w);
    }
  }
  std::priority_queue<Candidate> queue;
  const auto enqueue = [&] {
    for (auto& [pair, list] : places) {
      const std::int64_t count = counts[pair];
      if (count > 0) queue.push({count, pair, std::move(list)});
    }
    places.clear();
  };
  enqueue();

  while (file.tokens.size() < options_.vocab_size && !queue.empty()) {
    Candidate best = std::move(const_cast<Candidate&>(queue.top()));
    queue.pop();
    const std::int64_t now = counts[best.pair];
    if (best.count != now) {
      best.count = now;
      queue.push(std::move(best));
      continue;
    }
    if (best.count < 1 || static_cast<std::uint64_t>(best.count) < options_.min_frequency) break;
    const auto left = static_cast<std::uint32_t>(best.pair >> 32);
    const auto right = static_cast<std::uint32_t>(best.pair);
    file.merges.emplace_back(file.tokens[left], file.tokens[right]);
    const std::string merged = file.tokens[left] + file.tokens[right];
    TokenId id = ids.find(merged);
    if (id < 0) {
      id = static_cast<TokenId>(file.tokens.size());
      ids.add(merged, id);
      file.tokens.push_back(merged);
    }
    const auto fresh = static_cast<std::uint32_t>(id);
    for (const std::uint32_t w : best.words) {
      std::uint32_t* word = symbols.data() + begin[w];
      const std::int64_t count = words_->counts[w];
      std::uint32_t kept = 0;
      for (std::uint32_t i = 0; i < length[w]; ++i) {
        if (i + 1 >= length[w] || word[i] != left || word[i + 1] != right) {
          word[kept++] = word[i];
          continue;
        }
        if (kept > 0) {
          counts[pair_of(word[kept - 1], left)] -= count;
          counts[pair_of(word[kept - 1], fresh)] += count;
          note(pair_of(word[kept - 1], fresh), w);
        }
        if (i + 2 < length[w]) {
          counts[pair_of(right, word[i + 2])] -= count;
          counts[pair_of(fresh, word[i + 2])] += count;
          note(pair_of(fresh, word[i + 2]), w);
        }
        word[kept++] = fresh;
        ++i;
      }
      length[w] = kept;
    }
    enqueue();
  }
  return Tokenizer::parse(file.to_json(), "trained tokenizer");
}

std::shared_ptr<const Tokenizer> train_bpe(std::string_view text, const BpeTrainingOptions& options) {
  BpeTrainer trainer(options);
  trainer.feed(text);
  return trainer.train();
}

}  // namespace mobula::text

#include "mobula/text/training/vocabulary_trainer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/text/bpe_trainer.hpp"
#include "mobula/text/loader/components.hpp"
#include "mobula/text/tokenizer_impl.hpp"
#include "mobula/text/tokenizer_json.hpp"
#include "mobula/text/training/merge_learner.hpp"
#include "mobula/text/training/unigram_learner.hpp"
#include "mobula/text/training/word_counts.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

constexpr std::size_t kNumBytes = 256;
constexpr std::string_view kContinuing = "##";

std::vector<std::string> usual_special_tokens(VocabularyKind kind) {
  switch (kind) {
    case VocabularyKind::bpe:
      return {"<|endoftext|>"};
    case VocabularyKind::unigram:
      return {"<unk>", "<s>", "</s>"};
    case VocabularyKind::wordpiece:
      return {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  }
  return {};
}

std::string_view unknown_token(VocabularyKind kind) {
  return kind == VocabularyKind::unigram ? "<unk>" : "[UNK]";
}

std::string byte_token(std::size_t byte) {
  return fmt::format("<0x{:02X}>", byte);
}

// The steps before the model; also what training cuts words with.
std::string steps(const VocabularyTrainingOptions& options) {
  if (options.kind == VocabularyKind::wordpiece) {
    return fmt::format(
        R"("normalizer": {{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": {}}},
  "pre_tokenizer": {{"type": "BertPreTokenizer"}},)",
        options.lowercase);
  }
  return R"("normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
  "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},)";
}

std::string decoder(const VocabularyTrainingOptions& options) {
  if (options.kind == VocabularyKind::wordpiece) return R"({"type": "WordPiece", "prefix": "##", "cleanup": true})";
  if (!options.byte_fallback)
    return R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true})";
  return R"({"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},)"
         R"( {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
}

// [CLS] A [SEP] B [SEP], where the special tokens are there.
std::string post_processor(const VocabularyTrainingOptions& options) {
  const auto find = [&](std::string_view token) {
    return std::find(options.special_tokens.begin(), options.special_tokens.end(), token) -
           options.special_tokens.begin();
  };
  const auto count = static_cast<std::ptrdiff_t>(options.special_tokens.size());
  const auto cls = find("[CLS]");
  const auto sep = find("[SEP]");
  if (options.kind != VocabularyKind::wordpiece || cls == count || sep == count) return "null";
  return fmt::format(R"({{"type": "BertProcessing", "sep": ["[SEP]", {}], "cls": ["[CLS]", {}]}})", sep, cls);
}

std::string file(const VocabularyTrainingOptions& options, std::string_view model) {
  std::vector<AddedToken> added;
  for (const std::string& token : options.special_tokens) {
    added.push_back(special_token(token, static_cast<TokenId>(added.size())));
  }
  return fmt::format(R"({{
  "version": "1.0",
  "truncation": null,
  "padding": null,
  "added_tokens": {},
  {}
  "post_processor": {},
  "decoder": {},
  "model": {{{}
  }}
}}
)",
                     added_tokens_json(std::move(added)), steps(options), post_processor(options), decoder(options),
                     model);
}

}  // namespace

void VocabularyTrainingOptions::validate() const {
  if (vocab_size > std::size_t{1} << 24)
    throw_invalid(fmt::format("vocab_size is {}, at most {} is possible", vocab_size, 1 << 24));
  std::set<std::string_view> seen;
  for (const std::string& token : special_tokens) {
    if (token.empty() || !is_valid_utf8(token)) throw_invalid("special_tokens: a token is empty or not UTF-8");
    if (!seen.insert(token).second) throw_invalid(fmt::format("special_tokens: '{}' is there twice", token));
  }
  if (kind != VocabularyKind::bpe && !seen.contains(unknown_token(kind))) {
    throw_invalid(fmt::format("special_tokens: '{}' is missing, which characters outside the vocabulary become",
                              unknown_token(kind)));
  }
  const std::size_t least = special_tokens.size() + (kind == VocabularyKind::unigram && byte_fallback ? kNumBytes : 0);
  if (vocab_size <= least)
    throw_invalid(fmt::format("vocab_size is {}, but special tokens and bytes alone are {}", vocab_size, least));
}

struct VocabularyTrainer::Words {
  std::unique_ptr<BpeTrainer> bpe;
  std::unique_ptr<const Tokenizer::Impl> splitter;
  PieceList pieces;
  WordCounts counts;

  std::vector<std::pair<std::string_view, std::uint64_t>> cut_at_rare_characters(std::size_t most_characters) const;
  std::string word_piece(const VocabularyTrainingOptions& options,
                         const std::function<void(std::string_view)>& progress) const;
  std::string unigram(const VocabularyTrainingOptions& options, unsigned threads,
                      const std::function<void(std::string_view)>& progress) const;
};

VocabularyTrainer::VocabularyTrainer(VocabularyTrainingOptions options)
    : options_(std::move(options)), words_(std::make_unique<Words>()) {
  if (options_.special_tokens.empty()) options_.special_tokens = usual_special_tokens(options_.kind);
  options_.validate();
  if (options_.kind == VocabularyKind::bpe) {
    words_->bpe = std::make_unique<BpeTrainer>(
        BpeTrainingOptions{options_.vocab_size, options_.min_frequency, options_.special_tokens});
  } else {
    words_->splitter =
        read_tokenizer(file(options_, R"("type": "WordLevel", "vocab": {}, "unk_token": "x")"), "training");
  }
}
VocabularyTrainer::~VocabularyTrainer() = default;

void VocabularyTrainer::feed(std::string_view text) {
  if (words_->bpe) return words_->bpe->feed(text);
  words_->splitter->cut_into_pieces(text, false, false, words_->pieces);
  for (const text::Piece& piece : words_->pieces.pieces) {
    if (piece.token < 0) words_->counts.add(words_->pieces.view(piece));
  }
}

void VocabularyTrainer::add(const VocabularyTrainer& other) {
  if (words_->bpe) return words_->bpe->add(*other.words_->bpe);
  words_->counts.add(other.words_->counts);
}

// Keeps the most frequent characters: what stands between others counts as words of its own.
std::vector<std::pair<std::string_view, std::uint64_t>> VocabularyTrainer::Words::cut_at_rare_characters(
    std::size_t most_characters) const {
  auto words = counts.sorted();
  if (most_characters == 0) return words;
  std::map<std::string_view, std::uint64_t> characters;
  for (const auto& [word, count] : words) {
    for (std::size_t at = 0; at < word.size(); at += utf8_length(word[at]))
      characters[word.substr(at, utf8_length(word[at]))] += count;
  }
  if (characters.size() <= most_characters) return words;
  std::vector<std::pair<std::string_view, std::uint64_t>> order(characters.begin(), characters.end());
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::set<std::string_view> kept;
  for (std::size_t i = 0; i < most_characters; ++i) kept.insert(order[i].first);
  std::vector<std::pair<std::string_view, std::uint64_t>> cut;
  for (const auto& [word, count] : words) {
    std::size_t begin = 0;
    for (std::size_t at = 0; at <= word.size();) {
      const std::size_t length = at < word.size() ? utf8_length(word[at]) : 1;
      if (at == word.size() || !kept.contains(word.substr(at, length))) {
        if (begin < at) cut.emplace_back(word.substr(begin, at - begin), count);
        begin = at + length;
      }
      at += length;
    }
  }
  return cut;
}

std::string VocabularyTrainer::Words::word_piece(const VocabularyTrainingOptions& options,
                                                 const std::function<void(std::string_view)>& progress) const {
  MergeInput input;
  input.tokens = options.special_tokens;
  std::map<std::string, std::uint32_t> ids;
  const auto id_of = [&](std::string_view character, bool first) {
    std::string token = first ? std::string() : std::string(kContinuing);
    token += character;
    const auto [entry, fresh] = ids.try_emplace(token, static_cast<std::uint32_t>(input.tokens.size()));
    if (fresh) input.tokens.push_back(token);
    return entry->second;
  };
  const auto words = cut_at_rare_characters(options.limit_alphabet);
  std::set<std::string_view> characters;
  for (const auto& word : words) {
    const std::string_view text = word.first;
    for (std::size_t at = 0; at < text.size(); at += utf8_length(text[at]))
      characters.insert(text.substr(at, utf8_length(text[at])));
  }
  for (const std::string_view character : characters) id_of(character, true);
  for (const auto& [word, count] : words) {
    input.begin.push_back(static_cast<std::uint32_t>(input.symbols.size()));
    input.counts.push_back(static_cast<std::int64_t>(count));
    for (std::size_t at = 0; at < word.size(); at += utf8_length(word[at])) {
      input.symbols.push_back(id_of(word.substr(at, utf8_length(word[at])), at == 0));
    }
  }
  input.begin.push_back(static_cast<std::uint32_t>(input.symbols.size()));
  if (input.tokens.size() > options.vocab_size) {
    throw_invalid(fmt::format("vocab_size is {}, but special tokens and characters alone are {}", options.vocab_size,
                              input.tokens.size()),
                  "raise it, or keep fewer characters with limit_alphabet");
  }
  const LearnedMerges learned = learn_merges(
      std::move(input), {options.vocab_size, options.min_frequency, kContinuing.size(), [&](std::size_t count) {
                           if (progress) progress(fmt::format("{} tokens", count));
                         }});
  std::string vocab;
  for (std::size_t id = 0; id < learned.tokens.size(); ++id) {
    vocab += fmt::format("{}\n      {}: {}", id == 0 ? "" : ",", json_text(learned.tokens[id]), id);
  }
  return fmt::format(R"(
    "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
    "vocab": {{{}}})",
                     vocab);
}

std::string VocabularyTrainer::Words::unigram(const VocabularyTrainingOptions& options, unsigned threads,
                                              const std::function<void(std::string_view)>& progress) const {
  const std::size_t others = options.special_tokens.size() + (options.byte_fallback ? kNumBytes : 0);
  UnigramLearningOptions learning;
  learning.vocab_size = options.vocab_size - others;
  learning.min_frequency = options.min_frequency;
  learning.threads = threads;
  learning.progress = [&](std::size_t count) {
    if (progress) progress(fmt::format("{} pieces left", count));
  };
  const auto pieces = learn_unigram(cut_at_rare_characters(options.limit_alphabet), learning);
  if (pieces.size() > learning.vocab_size) {
    throw_invalid(fmt::format("vocab_size is {}, but special tokens, bytes and characters alone are {}",
                              options.vocab_size, pieces.size() + others),
                  "raise it, or keep fewer characters with limit_alphabet");
  }
  std::string vocab;
  std::set<std::string_view> taken(options.special_tokens.begin(), options.special_tokens.end());
  const auto add = [&](std::string_view token, double score) {
    vocab += fmt::format("{}\n      [{}, {}]", vocab.empty() ? "" : ",", json_text(token), Json(score).dump());
  };
  for (const std::string& token : options.special_tokens) add(token, 0);
  for (std::size_t byte = 0; options.byte_fallback && byte < kNumBytes; ++byte) add(byte_token(byte), 0);
  for (const auto& [token, score] : pieces) {
    if (!taken.contains(token)) add(token, score);
  }
  const auto unk =
      std::find(options.special_tokens.begin(), options.special_tokens.end(), "<unk>") - options.special_tokens.begin();
  return fmt::format(R"(
    "type": "Unigram", "unk_id": {}, "byte_fallback": {},
    "vocab": [{}])",
                     unk, options.byte_fallback, vocab);
}

std::shared_ptr<const Tokenizer> VocabularyTrainer::train(unsigned threads,
                                                          const std::function<void(std::string_view)>& progress) const {
  if (words_->bpe) {
    return words_->bpe->train([&](std::size_t count) {
      if (progress) progress(fmt::format("{} tokens", count));
    });
  }
  if (words_->counts.empty()) throw_invalid("a vocabulary can't be trained on no text", "check the training data");
  const std::string model = options_.kind == VocabularyKind::wordpiece ? words_->word_piece(options_, progress)
                                                                       : words_->unigram(options_, threads, progress);
  return Tokenizer::parse(file(options_, model), "trained tokenizer");
}

}  // namespace mobula::text

#include "mobula/text/training/unigram_learner.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <thread>
#include <unordered_map>

#include "mobula/text/models/token_trie.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

using Words = std::vector<std::pair<std::string_view, std::uint64_t>>;

// Sums are made over this many parts of the words and added up in their order, however many threads work on them.
constexpr std::size_t kNumParts = 8;

struct Piece {
  std::string text;
  double score;
};

double digamma(double x) {
  double result = 0;
  for (; x < 7; ++x) result -= 1 / x;
  x -= 0.5;
  const double inverse = 1 / x;
  const double square = inverse * inverse;
  return result + std::log(x) +
         square * (1.0 / 24 - square * (7.0 / 960 - square * (31.0 / 8064 - square * 127.0 / 30720)));
}

double log_add(double a, double b) {
  if (a < b) std::swap(a, b);
  return b == -std::numeric_limits<double>::infinity() ? a : a + std::log1p(std::exp(b - a));
}

/// The pieces of one round, and the ways through a word. All characters are pieces, so that there always is one.
class Lattice {
 public:
  explicit Lattice(const std::vector<Piece>& pieces) : pieces_(pieces) {
    std::vector<std::pair<std::string_view, TokenId>> tokens;
    tokens.reserve(pieces.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) tokens.emplace_back(pieces[i].text, static_cast<TokenId>(i));
    trie_ = TokenTrie(std::move(tokens));
  }

  /// Calls visit(begin, end, piece) for every piece in the word, by begin and length.
  template <class Visit>
  void for_each(std::string_view word, Visit&& visit) const {
    for (std::size_t at = 0; at < word.size(); at += utf8_length(word[at])) {
      std::uint32_t node = TokenTrie::root();
      for (std::size_t end = at; end < word.size();) {
        node = trie_.next(node, word[end++]);
        if (node == TokenTrie::kNone) break;
        if (trie_.id(node) >= 0) visit(at, end, static_cast<std::size_t>(trie_.id(node)));
      }
    }
  }

  /// Adds `count` times the expected number of each piece to `expected`; returns the word's log likelihood.
  double expect(std::string_view word, double count, std::vector<double>& expected) {
    edges_.clear();
    forward_.assign(word.size() + 1, -std::numeric_limits<double>::infinity());
    backward_.assign(word.size() + 1, -std::numeric_limits<double>::infinity());
    forward_[0] = 0;
    for_each(word, [&](std::size_t begin, std::size_t end, std::size_t piece) {
      edges_.push_back({begin, end, piece});
      forward_[end] = log_add(forward_[end], forward_[begin] + pieces_[piece].score);
    });
    backward_[word.size()] = 0;
    for (auto edge = edges_.rbegin(); edge != edges_.rend(); ++edge) {
      backward_[edge->begin] = log_add(backward_[edge->begin], backward_[edge->end] + pieces_[edge->piece].score);
    }
    const double total = forward_[word.size()];
    for (const Edge& edge : edges_) {
      expected[edge.piece] +=
          count * std::exp(forward_[edge.begin] + pieces_[edge.piece].score + backward_[edge.end] - total);
    }
    return total;
  }

  /// Returns the pieces of the best way, without `excluded`, and its score.
  double best(std::string_view word, std::size_t excluded, std::vector<std::size_t>& out) {
    forward_.assign(word.size() + 1, -std::numeric_limits<double>::infinity());
    from_.assign(word.size() + 1, {0, 0, 0});
    forward_[0] = 0;
    for_each(word, [&](std::size_t begin, std::size_t end, std::size_t piece) {
      if (piece == excluded) return;
      const double score = forward_[begin] + pieces_[piece].score;
      if (score <= forward_[end]) return;
      forward_[end] = score;
      from_[end] = {begin, end, piece};
    });
    out.clear();
    if (std::isinf(forward_[word.size()])) return forward_[word.size()];
    for (std::size_t at = word.size(); at > 0; at = from_[at].begin) out.push_back(from_[at].piece);
    return forward_[word.size()];
  }

 private:
  struct Edge {
    std::size_t begin, end, piece;
  };
  const std::vector<Piece>& pieces_;
  TokenTrie trie_;
  std::vector<Edge> edges_;
  std::vector<Edge> from_;
  std::vector<double> forward_;
  std::vector<double> backward_;
};

// Runs work(part, lattice) for every part; each thread has a lattice of its own.
template <class Work>
void for_each_part(const Lattice& lattice, unsigned threads, Work&& work) {
  threads = std::clamp(threads, 1U, static_cast<unsigned>(kNumParts));
  const auto run = [&](unsigned first) {
    Lattice mine = lattice;
    for (std::size_t part = first; part < kNumParts; part += threads) work(part, mine);
  };
  std::vector<std::thread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& each : others) each.join();
}

std::vector<Piece> find_candidates(const Words& words, const UnigramLearningOptions& options) {
  // Very many words would make very many candidates; the frequent ones have all that counts.
  constexpr std::size_t kMostWords = 500000;
  Words chosen = words;
  std::stable_sort(chosen.begin(), chosen.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  if (chosen.size() > kMostWords) chosen.resize(kMostWords);
  std::map<std::string_view, std::uint64_t> characters;
  for (const auto& [word, count] : words) {
    for (std::size_t at = 0; at < word.size(); at += utf8_length(word[at]))
      characters[word.substr(at, utf8_length(word[at]))] += count;
  }
  std::unordered_map<std::string_view, std::uint64_t> found;
  for (const auto& [word, count] : chosen) {
    for (std::size_t begin = 0; begin < word.size(); begin += utf8_length(word[begin])) {
      std::size_t length = 0;
      for (std::size_t end = begin; end < word.size() && length < options.max_characters;) {
        end += utf8_length(word[end]);
        if (++length > 1) found[word.substr(begin, end - begin)] += count;
      }
    }
  }
  struct Candidate {
    std::string_view text;
    std::uint64_t weight;
  };
  std::vector<Candidate> candidates;
  const std::uint64_t least = std::max<std::uint64_t>(options.min_frequency, 2);
  for (const auto& [text, count] : found) {
    if (count >= least) candidates.push_back({text, count * count_code_points(text)});
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.weight != b.weight ? a.weight > b.weight : a.text < b.text;
  });
  if (candidates.size() > options.num_candidates) candidates.resize(options.num_candidates);
  double total = 0;
  for (const auto& entry : characters) total += static_cast<double>(entry.second);
  for (const Candidate& each : candidates) total += static_cast<double>(each.weight);
  std::vector<Piece> pieces;
  for (const auto& [text, count] : characters)
    pieces.push_back({std::string(text), std::log(static_cast<double>(count) / total)});
  for (const Candidate& each : candidates) {
    pieces.push_back({std::string(each.text), std::log(static_cast<double>(each.weight) / total)});
  }
  return pieces;
}

// One round of expectation and maximization (with the prior that keeps pieces few; Kudo, 2018). The first `num_characters`
// pieces stay.
void improve(const Words& words, std::size_t num_characters, unsigned threads, std::vector<Piece>& pieces) {
  std::vector<std::vector<double>> parts(kNumParts);
  {
    const Lattice lattice(pieces);
    for_each_part(lattice, threads, [&](std::size_t part, Lattice& mine) {
      parts[part].assign(pieces.size(), 0);
      for (std::size_t w = part; w < words.size(); w += kNumParts) {
        mine.expect(words[w].first, static_cast<double>(words[w].second), parts[part]);
      }
    });
  }
  constexpr double kLeastExpected = 0.5;
  std::vector<Piece> kept;
  double total = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    double expected = 0;
    for (const auto& part : parts) expected += part[i];
    if (i >= num_characters && expected < kLeastExpected) continue;
    pieces[i].score = std::max(expected, kLeastExpected);
    total += pieces[i].score;
    kept.push_back(std::move(pieces[i]));
  }
  const double log_total = digamma(total);
  for (Piece& piece : kept) piece.score = digamma(piece.score) - log_total;
  pieces = std::move(kept);
}

// Drops pieces whose loss lowers the likelihood least.
void prune(const Words& words, std::size_t num_characters, std::size_t wanted, const UnigramLearningOptions& options,
           std::vector<Piece>& pieces) {
  const Lattice lattice(pieces);
  struct Part {
    std::vector<double> used;  ///< how often a piece is in the best ways
    double words = 0;
  };
  std::vector<Part> parts(kNumParts);
  std::vector<std::vector<std::size_t>> instead(pieces.size());  // what a piece would be made of
  std::vector<std::uint8_t> own(pieces.size());                  // the best way to write a piece is the piece itself
  for_each_part(lattice, options.threads, [&](std::size_t part, Lattice& mine) {
    std::vector<std::size_t> way;
    parts[part].used.assign(pieces.size(), 0);
    for (std::size_t w = part; w < words.size(); w += kNumParts) {
      const auto count = static_cast<double>(words[w].second);
      mine.best(words[w].first, pieces.size(), way);
      for (const std::size_t piece : way) parts[part].used[piece] += count;
      parts[part].words += count;
    }
    for (std::size_t i = std::max(num_characters, part); i < pieces.size(); ++i) {
      if (i % kNumParts != part) continue;
      const double other = mine.best(pieces[i].text, i, instead[i]);
      own[i] = pieces[i].score >= other;
    }
  });
  std::vector<double> used(pieces.size(), 0);
  double total = 0;
  double num_words = 0;
  for (const Part& part : parts) {
    for (std::size_t i = 0; i < used.size(); ++i) used[i] += part.used[i];
    num_words += part.words;
  }
  for (const double count : used) total += count;
  struct Loss {
    double loss;
    std::size_t piece;
  };
  std::vector<Loss> losses;
  for (std::size_t i = num_characters; i < pieces.size(); ++i) {
    if (used[i] == 0 || own[i] == 0) continue;
    const double log_piece = std::log(used[i]) - std::log(total);
    const double log_total = std::log(total + used[i] * (static_cast<double>(instead[i].size()) - 1));
    double log_instead = 0;
    for (const std::size_t part : instead[i]) log_instead += std::log(used[part] + used[i]) - log_total;
    losses.push_back({used[i] / num_words * (log_piece - log_instead), i});
  }
  std::sort(losses.begin(), losses.end(),
            [](const Loss& a, const Loss& b) { return a.loss != b.loss ? a.loss > b.loss : a.piece < b.piece; });
  const auto shrunk = static_cast<std::size_t>(options.shrinking_factor * static_cast<double>(pieces.size()));
  const std::size_t keep = std::max(wanted, shrunk);
  if (losses.size() + num_characters > keep) losses.resize(keep - std::min(keep, num_characters));
  std::sort(losses.begin(), losses.end(), [](const Loss& a, const Loss& b) { return a.piece < b.piece; });
  std::vector<Piece> kept(std::make_move_iterator(pieces.begin()),
                          std::make_move_iterator(pieces.begin() + static_cast<std::ptrdiff_t>(num_characters)));
  for (const Loss& each : losses) kept.push_back(std::move(pieces[each.piece]));
  pieces = std::move(kept);
}

}  // namespace

std::vector<std::pair<std::string, double>> learn_unigram(const Words& words, const UnigramLearningOptions& options) {
  std::vector<Piece> pieces = find_candidates(words, options);
  const auto single = [](const Piece& piece) { return utf8_length(piece.text[0]) == piece.text.size(); };
  const auto num_characters = static_cast<std::size_t>(std::count_if(pieces.begin(), pieces.end(), single));
  // Pruned to a little more than wanted; the last ones go by their score.
  const auto wanted = std::max(static_cast<std::size_t>(static_cast<double>(options.vocab_size) * 1.1), num_characters);
  while (true) {
    for (int i = 0; i < options.num_sub_iterations; ++i) improve(words, num_characters, options.threads, pieces);
    if (options.progress) options.progress(pieces.size());
    if (pieces.size() <= wanted) break;
    const std::size_t before = pieces.size();
    prune(words, num_characters, wanted, options, pieces);
    if (pieces.size() == before) break;
  }
  const auto better = [](const Piece& a, const Piece& b) {
    return a.score != b.score ? a.score > b.score : a.text < b.text;
  };
  const auto others = pieces.begin() + static_cast<std::ptrdiff_t>(num_characters);
  std::sort(others, pieces.end(), better);
  if (pieces.size() > options.vocab_size) pieces.resize(std::max(options.vocab_size, num_characters));
  std::sort(pieces.begin(), pieces.end(), better);
  std::vector<std::pair<std::string, double>> result;
  result.reserve(pieces.size());
  for (Piece& piece : pieces) result.emplace_back(std::move(piece.text), piece.score);
  return result;
}

}  // namespace mobula::text

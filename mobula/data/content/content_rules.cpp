#include "mobula/data/content/content_rules.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/content/minhash.hpp"
#include "mobula/data/plan/plan.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kExamplesOfAReason = 3;
constexpr std::size_t kExampleBytes = 120;

/// A regular expression that is looked for in texts. Thread-safe.
class Pattern {
 public:
  explicit Pattern(const std::string& pattern, std::uint32_t options = 0) : text_(pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP | options, &error, &offset, nullptr));
    if (code_ == nullptr) {
      PCRE2_UCHAR message[256];
      pcre2_get_error_message(error, message, sizeof message);
      throw_invalid(fmt::format("content rules: '{}' is no regular expression: {} at {}", pattern,
                                reinterpret_cast<const char*>(message), offset));
    }
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without it matching is slower, but the same
  }
  bool in(std::string_view text) const {
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(pcre2_match_data_create(1, nullptr),
                                                                                    &pcre2_match_data_free);
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, PCRE2_NO_UTF_CHECK,
                       match.get(), nullptr) >= 0;
  }
  const std::string& text() const { return text_; }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  };
  std::string text_;
  std::unique_ptr<pcre2_code, Free> code_;
};

std::int64_t code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

/// Two hashes of a text: one in 2^128 pairs of different texts is taken for a duplicate.
struct TextHash {
  std::uint64_t low;
  std::uint64_t high;
  explicit TextHash(std::string_view text)
      : low(std::hash<std::string_view>{}(text)), high(0x6c62272e07bb0142 ^ text.size()) {
    for (const char c : text) high = (high ^ static_cast<unsigned char>(c)) * 0x9E3779B97F4A7C15 + 1;
  }
  bool operator==(const TextHash&) const = default;
  struct Hash {
    std::size_t operator()(const TextHash& hash) const { return hash.low ^ hash.high; }
  };
};

/// The rules that look at one text. Thread-safe.
class TextRules {
 public:
  explicit TextRules(ContentRules rules) : rules_(std::move(rules)) {
    for (const std::string& pattern : rules_.matches) matches_.emplace_back(pattern);
    for (const std::string& pattern : rules_.not_matches) not_matches_.emplace_back(pattern);
    for (const std::string& word : rules_.banned) {
      if (word.empty()) throw_invalid("content rules: an empty banned word");
      banned_.emplace_back("(?<!\\w)\\Q" + word + "\\E(?!\\w)", PCRE2_CASELESS);
    }
  }

  const ContentRules& rules() const { return rules_; }
  std::string describe() const { return fmt::format("keep_content({})", rules_.column); }
  /// Returns the position of the texts' column.
  int find_column(const arrow::Schema& input) const {
    const int column = input.GetFieldIndex(rules_.column);
    if (column < 0) {
      throw Error(ErrorCode::invalid_argument, fmt::format("content rules: no column '{}'", rules_.column),
                  suggest(rules_.column, input.field_names()));
    }
    if (input.field(column)->type()->id() != arrow::Type::STRING) {
      throw_invalid(fmt::format("content rules: column '{}' is {}, not a text", rules_.column,
                                input.field(column)->type()->ToString()));
    }
    return column;
  }
  /// Returns which rule a text breaks; empty: none.
  std::string broken_by(std::string_view text) const {
    if (rules_.min_length > 0 || rules_.max_length > 0) {
      const std::int64_t length = code_points(text);
      if (length < rules_.min_length) return "too short";
      if (rules_.max_length > 0 && length > rules_.max_length) return "too long";
    }
    for (const Pattern& pattern : matches_) {
      if (!pattern.in(text)) return fmt::format("does not match {}", pattern.text());
    }
    for (const Pattern& pattern : not_matches_) {
      if (pattern.in(text)) return fmt::format("matches {}", pattern.text());
    }
    for (std::size_t i = 0; i < banned_.size(); ++i) {
      if (banned_[i].in(text)) return fmt::format("banned: {}", rules_.banned[i]);
    }
    if (!rules_.languages.empty()) {
      const std::string language = guess_language(text);
      if (std::find(rules_.languages.begin(), rules_.languages.end(), language) == rules_.languages.end())
        return fmt::format("language: {}", language);
    }
    return {};
  }

 private:
  ContentRules rules_;
  std::vector<Pattern> matches_;
  std::vector<Pattern> not_matches_;
  std::vector<Pattern> banned_;
};

/// Keeps the rows of a block for whose text `broken` returns no reason; nulls are none.
template <class Broken>
void keep_rows(Block& block, int column, const std::string& what, const Broken& broken) {
  const auto array = block.batch->column(column);
  const auto& texts = static_cast<const arrow::StringArray&>(*array);
  std::vector<std::uint32_t> rows;
  for (std::int64_t row = 0; row < texts.length(); ++row) {
    const std::string_view text = texts.IsNull(row) ? std::string_view() : texts.GetView(row);
    if (broken(row, text, texts.IsNull(row)).empty()) rows.push_back(static_cast<std::uint32_t>(row));
  }
  block.pick(rows, what);
}

/// Rules that look at no other text, in as many threads as there are.
class KeepTexts : public BlockOperator {
 public:
  explicit KeepTexts(std::shared_ptr<const TextRules> rules) : rules_(std::move(rules)) {}
  std::string describe() const override { return rules_->describe(); }
  bool keeps_rows() const override { return false; }
  std::optional<std::vector<std::string>> reads() const override { return std::vector{rules_->rules().column}; }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    column_ = rules_->find_column(*input);
    return input;
  }
  void change(Block& block) const override {
    keep_rows(block, column_, describe(), [this](std::int64_t, std::string_view text, bool null) {
      return null ? std::string("null") : rules_->broken_by(text);
    });
  }

 private:
  std::shared_ptr<const TextRules> rules_;
  int column_ = -1;
};

/// Rules that look at the texts before, or that are reported: one row after the other.
class KeepContent : public OrderedStep {
 public:
  KeepContent(std::shared_ptr<const TextRules> rules, std::shared_ptr<ContentReport> report,
              std::filesystem::path report_file)
      : rules_(std::move(rules)), report_(std::move(report)), report_file_(std::move(report_file)) {
    if (rules_->rules().near_duplicates > 0) near_.emplace(rules_->rules().near_duplicates);
  }

  std::string describe() const override { return rules_->describe(); }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    column_ = rules_->find_column(*input);
    return input;
  }
  bool apply(Block& block) override {
    keep_rows(block, column_, describe(), [&](std::int64_t row, std::string_view text, bool null) {
      std::string reason = null ? "null" : broken_by(text);
      report_->note(reason, reason.empty() ? "" : block.describe_row(row), text);
      return reason;
    });
    return true;
  }
  void finish() override {
    if (!report_file_.empty()) write_file_atomic(report_file_, report_->to_json().dump(1) + "\n");
  }

 private:
  std::string broken_by(std::string_view text) {
    std::string reason = rules_->broken_by(text);
    if (!reason.empty()) return reason;
    if (rules_->rules().exact_duplicates && !seen_.insert(TextHash(text)).second) return "exact duplicate";
    if (near_ && !near_->add(minhash(text))) return "near duplicate";
    return {};
  }

  std::shared_ptr<const TextRules> rules_;
  std::shared_ptr<ContentReport> report_;
  std::filesystem::path report_file_;
  int column_ = -1;
  std::unordered_set<TextHash, TextHash::Hash> seen_;
  std::optional<MinHashIndex> near_;
};

}  // namespace

void ContentReport::note(const std::string& reason, const std::string& where, std::string_view text) {
  const std::lock_guard lock(mutex_);
  ++rows_;
  if (reason.empty()) return;
  if (static_cast<std::size_t>(++dropped_[reason]) > kExamplesOfAReason) return;
  std::size_t size = std::min(text.size(), kExampleBytes);
  while (size < text.size() && size > 0 && (text[size] & 0xC0) == 0x80) --size;  // not inside a character
  examples_.push_back({{"reason", reason}, {"where", where}, {"text", std::string(text.substr(0, size))}});
}

Json ContentReport::to_json() const {
  const std::lock_guard lock(mutex_);
  std::int64_t dropped = 0;
  Json reasons = Json::object();
  for (const auto& [reason, rows] : dropped_) {
    dropped += rows;
    reasons[reason] = rows;
  }
  return {{"rows", rows_}, {"kept", rows_ - dropped}, {"dropped", std::move(reasons)}, {"examples", examples_}};
}

Dataset keep_content(const Dataset& dataset, const ContentRules& rules, std::shared_ptr<ContentReport> report,
                     const std::filesystem::path& report_file) {
  // What is wrong with the rules is said here, not when they run.
  const auto text_rules = std::make_shared<const TextRules>(rules);
  const auto make = [text_rules, report = report == nullptr ? std::make_shared<ContentReport>() : report, report_file] {
    return std::make_unique<KeepContent>(text_rules, report, report_file);
  };
  make();
  if (!rules.exact_duplicates && rules.near_duplicates <= 0 && report == nullptr && report_file.empty()) {
    return Dataset(std::make_shared<OperatorNode>(
        dataset.plan(), [text_rules](const PlanContext&) { return std::make_unique<KeepTexts>(text_rules); }));
  }
  return Dataset(std::make_shared<StageNode>(dataset.plan(), "keep_content", make));
}

}  // namespace mobula::data

/// Rules that texts must meet to stay in a dataset, and a report of what went and why.
///
///     ContentRules rules{.column = "text", .min_length = 20, .banned = {"lorem ipsum"}, .near_duplicates = 0.8};
///     Dataset clean = keep_content(texts, rules, report);
///     clean.write("clean/", "parquet");
///     report->to_json();            // {"rows": ..., "kept": ..., "dropped": {"too short": 12, ...}, "examples": [...]}
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// What a text must be like. Rules are tried in this order; the first that is broken is the reason.
struct ContentRules {
  std::string column = "text";
  std::int64_t min_length = 0;           ///< code points
  std::int64_t max_length = 0;           ///< 0: any
  std::vector<std::string> matches;      ///< regular expressions (PCRE2) of which each must be found
  std::vector<std::string> not_matches;  ///< and of which none may be
  std::vector<std::string> banned;  ///< words or phrases, whatever their case, that may not stand in it as whole words
  std::vector<std::string> languages;  ///< ISO 639-1 codes that guess_language() may give; empty: any
  bool exact_duplicates = false;       ///< drops a text that was there before, byte for byte
  double near_duplicates = 0;  ///< drops texts about as similar (Jaccard, of runs of 5 words) to one before; 0: none
};

/// What rules dropped. Thread-safe.
class ContentReport {
 public:
  /// Notes a row that was dropped, or (empty reason) kept.
  void note(const std::string& reason, const std::string& where, std::string_view text);
  /// Returns rows, rows kept, rows dropped by reason, and the first few of each reason with where they came from.
  Json to_json() const;

 private:
  mutable std::mutex mutex_;
  std::int64_t rows_ = 0;
  std::map<std::string, std::int64_t> dropped_;
  Json examples_ = Json::array();
};

/// Keeps the rows whose text meets the rules; of duplicates the first. Nulls are dropped. Duplicates take about 100 bytes of
/// memory a text, near duplicates 1.5 kB. `report_file`: where the report is written at the end of a run; empty: nowhere.
/// Throws Error(invalid_argument) for a regular expression that is none.
Dataset keep_content(const Dataset& dataset, const ContentRules& rules, std::shared_ptr<ContentReport> report = nullptr,
                     const std::filesystem::path& report_file = {});

/// Guesses the language of a text by its script and its commonest words: en de fr es it pt nl, zh ja ko ru ar he el hi th;
/// "und" where nothing speaks for one.
std::string guess_language(std::string_view text);

}  // namespace mobula::data

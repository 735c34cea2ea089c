/// Options of `mobula data ...`, handed to the plugin that runs them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mobula::cli {

struct DataOptions {
  enum class Action { convert, head, schema, stats, run, sample, shuffle, split, dedup, tokenize, diff, slices };
  Action action = Action::head;
  std::string input;   ///< a file, folder or pattern; for `run` the pipeline
  std::string output;  ///< convert
  std::string from;    ///< input's format; empty: by extension
  std::string to;
  std::string types;        ///< "a=string,b=int64"
  std::string infer;        ///< "all", a size such as "1MB", or empty
  std::string nan;          ///< "null" or empty
  std::string compression;  ///< empty: the format's own
  std::string columns;      ///< "a,b"
  std::string delimiter = ",";
  std::string query;          ///< SQLite, databases: a table or a SELECT
  std::string driver;         ///< databases: the ADBC driver
  std::string split;          ///< HF datasets: the part of a DatasetDict
  std::int64_t version = -1;  ///< Delta Lake; -1: the newest
  std::int64_t rows = 10;     ///< head
  double fraction = 0.1;      ///< sample; split: of the test part
  std::uint64_t seed = 0;
  std::int64_t window = 0;          ///< shuffle: rows that are mixed; 0: all
  std::string stratify;             ///< split: a column
  std::string column = "text";      ///< dedup
  double near = 0;                  ///< dedup: similarity of near duplicates; 0: exact ones only
  std::string report;               ///< dedup: a file
  std::string keys;                 ///< diff: "a,b"
  std::string test;                 ///< split: the test part's file; `output` is the train part's
  std::string tokenizer;            ///< tokenize: tokenizer.json, or a model's folder
  std::string into = "tokens";      ///< tokenize: the column that is made
  std::int64_t max_length = 0;      ///< tokenize; 0: no limit
  bool special_tokens = true;       ///< tokenize
  std::vector<std::string> slices;  ///< slices: NAME=EXPRESSION
  std::string figures;              ///< slices: columns, "a,b"
  std::string order;                ///< MDS: "key=value,..." in the words of mosaicml-streaming
  std::string exclude;              ///< patterns of files that are left out, "a*,b*"
  bool overwrite = false;           ///< of a folder
};

}  // namespace mobula::cli

/// Options of `mobula tokenize`.
#pragma once

#include <string>

namespace mobula::cli {

struct TokenizeOptions {
  std::string tokenizer;      ///< a file, or a folder that holds one
  std::string pattern;        ///< of a tiktoken file
  std::string input = "-";    ///< a file, or standard input
  int threads = 1;            ///< 0: one a processor
  bool decode = false;        ///< lines are arrays of ids
  bool keep_special = false;  ///< decode special tokens too
};

}  // namespace mobula::cli

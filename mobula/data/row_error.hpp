/// What is wrong in one row of an input, before the reader that knows the file's name has added it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace mobula::data {

/// Thrown by parsers of a piece of a file. Whoever opened the file catches it and throws an Error with the
/// file's name.
struct RowError {
  RowError(std::int64_t row_, std::string message_, std::string hint_ = {})
      : row(row_), message(std::move(message_)), hint(std::move(hint_)) {}

  std::int64_t row = 0;  ///< counted from 0 within the piece that was parsed
  std::string message;
  std::string hint;
};

}  // namespace mobula::data

#include "mobula/data/sources/source.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula::data {

std::string NumberedRows::describe(std::int64_t row) const {
  return fmt::format("{}: row {}", *file_, row + 1);
}

std::string Block::describe_row(std::int64_t row) const {
  if (origin != nullptr)
    return origin->describe(rows == nullptr ? first_row + row : (*rows)[static_cast<std::size_t>(row)]);
  if (file != nullptr) return *file;
  return fmt::format("row {} of block {}", row + 1, number + 1);
}

std::vector<PiecePlace> Source::places() {
  throw Error(ErrorCode::unsupported, fmt::format("{}: its rows can't be read by number", describe()),
              "write them to Parquet first, and read that");
}

std::unique_ptr<Piece> Source::open(const PiecePlace&) const {
  throw_internal("a place in a source that has none");
}

}  // namespace mobula::data

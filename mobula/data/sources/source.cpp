#include "mobula/data/sources/source.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"

namespace mobula::data {

std::vector<PiecePlace> Source::places() {
  throw Error(ErrorCode::unsupported, fmt::format("{}: its rows can't be read by number", describe()),
              "write them to Parquet first, and read that");
}

std::unique_ptr<Piece> Source::open(const PiecePlace&) const {
  throw_internal("a place in a source that has none");
}

}  // namespace mobula::data

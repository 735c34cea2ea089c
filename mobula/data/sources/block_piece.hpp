/// A piece of a source that is in memory already. Internal to this layer.
#pragma once

#include <utility>

#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// Gives one block, then the end.
class BlockPiece : public Piece {
 public:
  explicit BlockPiece(Block block) : block_(std::move(block)) {}
  Block read() override { return std::exchange(block_, {}); }

 private:
  Block block_;
};

}  // namespace mobula::data

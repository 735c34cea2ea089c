/// Pieces of a source that is in memory already, or changes what another one gives. Internal to this layer.
#pragma once

#include <functional>
#include <memory>
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

/// Gives another piece's blocks, each changed on its way.
class ChangedPiece : public Piece {
 public:
  ChangedPiece(std::unique_ptr<Piece> piece, std::function<void(Block&)> change)
      : piece_(std::move(piece)), change_(std::move(change)) {}
  Block read() override {
    Block block = piece_->read();
    if (block.batch != nullptr) change_(block);
    return block;
  }

 private:
  std::unique_ptr<Piece> piece_;
  std::function<void(Block&)> change_;
};

}  // namespace mobula::data

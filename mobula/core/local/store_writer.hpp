/// Encodes a call's arguments for worker processes: small values into the call, large objects by where they lie.
#pragma once

#include <vector>

#include "mobula/core/function.hpp"
#include "mobula/core/local/object_store.hpp"

namespace mobula {

class StoreWriter final : public ArgumentWriter {
 public:
  /// Values up to this size travel with the call instead of through memory of their own.
  static constexpr std::size_t kInlineValueBytes = 2048;

  /// `store` is borrowed.
  explicit StoreWriter(ObjectStore& store) : store_(store) {}

  /// Appends an object: its bytes, or where in the arena they lie. Throws OutOfMemoryError.
  void reference(Object& object) override;
  std::vector<PinnedBytes> pins;  ///< what the call reads where it lies

 private:
  ObjectStore& store_;
};

}  // namespace mobula

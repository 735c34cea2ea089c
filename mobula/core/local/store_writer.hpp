/// Encodes a call's arguments for worker processes: small values into the call, large objects by where they lie.
#pragma once

#include <memory>
#include <vector>

#include "mobula/core/function.hpp"
#include "mobula/core/local/handle_table.hpp"
#include "mobula/core/local/object_store.hpp"

namespace mobula {

/// Values up to this size travel inside messages instead of through memory of their own.
inline constexpr std::size_t kInlineValueBytes = 2048;

/// Returns an object's bytes in the arena, encoding them there where they are not yet; null for small values.
/// Throws OutOfMemoryError.
std::shared_ptr<const StoredObject> store_object(ObjectStore& store, const std::shared_ptr<HandleTable>& handles,
                                                 Object& object);
/// Encodes a value into the arena; null for small values. Throws OutOfMemoryError.
std::shared_ptr<const StoredObject> store_value(ObjectStore& store, const std::shared_ptr<HandleTable>& handles,
                                                const void* value, EncodeFunction encode);

class StoreWriter final : public ArgumentWriter, private HandleWriter {
 public:
  /// Both are borrowed.
  StoreWriter(ObjectStore& store, const std::shared_ptr<HandleTable>& handles) : store_(store), table_(handles) {
    out.set_handles(this);
  }

  /// Appends an object: its bytes, or its number and where in the arena it lies. Throws OutOfMemoryError.
  void reference(Object& object) override;
  void keep(std::shared_ptr<const void> kept) override { kept_.push_back(std::move(kept)); }
  /// Returns what must stay until the call has ended.
  std::vector<std::shared_ptr<const void>> take_kept();
  std::vector<PinnedBytes> pins;  ///< what the call reads where it lies

 private:
  std::uint64_t add(Object& object) override { return held().add(object); }
  std::uint64_t add(ActorCore& actor) override { return held().add(actor); }
  HeldHandles& held();

  ObjectStore& store_;
  const std::shared_ptr<HandleTable>& table_;
  std::shared_ptr<HeldHandles> handles_;  ///< null before the first
  std::vector<std::shared_ptr<const void>> kept_;
};

}  // namespace mobula

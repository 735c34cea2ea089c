#include "mobula/core/local/store_writer.hpp"

#include <utility>

namespace mobula {
namespace {

/// Encodes an object's value, whatever its type.
constexpr EncodeFunction kEncodeObject = [](const void* object, WireWriter& out) {
  static_cast<Object*>(const_cast<void*>(object))->encode_value(out);
};

}  // namespace

std::shared_ptr<const StoredObject> store_value(ObjectStore& store, const std::shared_ptr<HandleTable>& handles,
                                                const void* value, EncodeFunction encode) {
  WireWriter count{WireWriter::Counting{}};
  encode(value, count);
  if (count.size() <= kInlineValueBytes) return nullptr;
  auto held = std::make_shared<HeldHandles>(handles);
  return store.encode(value, encode, count.size(), *held, held);
}

std::shared_ptr<const StoredObject> store_object(ObjectStore& store, const std::shared_ptr<HandleTable>& handles,
                                                 Object& object) {
  if (const auto stored = object.stored()) return std::dynamic_pointer_cast<const StoredObject>(stored);
  auto stored = store_value(store, handles, &object, kEncodeObject);
  if (stored != nullptr) object.attach_stored(stored);
  return stored;
}

HeldHandles& StoreWriter::held() {
  if (handles_ == nullptr) handles_ = std::make_shared<HeldHandles>(table_);
  return *handles_;
}

void StoreWriter::reference(Object& object) {
  const auto stored = store_object(store_, table_, object);
  if (stored == nullptr) {
    out.number<std::uint64_t>(0);
    WireWriter count{WireWriter::Counting{}};
    object.encode_value(count);
    out.number<std::uint64_t>(count.size());
    object.encode_value(out);
    return;
  }
  PinnedBytes pinned = stored->pin();
  out.number<std::uint64_t>(StoredObject::offset_of(store_, pinned));
  out.number<std::uint64_t>(pinned.bytes().size());
  out.number<std::uint64_t>(add(object));
  pins.push_back(std::move(pinned));
}

std::vector<std::shared_ptr<const void>> StoreWriter::take_kept() {
  if (handles_ != nullptr) kept_.push_back(std::move(handles_));
  return std::move(kept_);
}

}  // namespace mobula

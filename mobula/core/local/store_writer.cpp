#include "mobula/core/local/store_writer.hpp"

namespace mobula {
namespace {

/// Encodes an object's value, whatever its type.
constexpr EncodeFunction kEncodeObject = [](const void* object, WireWriter& out) {
  static_cast<Object*>(const_cast<void*>(object))->encode_value(out);
};

}  // namespace

void StoreWriter::reference(Object& object) {
  auto stored = object.stored();
  if (stored == nullptr) {
    WireWriter count{WireWriter::Counting{}};
    object.encode_value(count);
    if (count.size() <= kInlineValueBytes) {
      out.number<std::uint64_t>(0);
      out.number<std::uint64_t>(count.size());
      object.encode_value(out);
      return;
    }
    stored = store_.encode(&object, kEncodeObject, count.size());
    object.attach_stored(stored);
  }
  PinnedBytes pinned = stored->pin();
  out.number<std::uint64_t>(StoredObject::offset_of(store_, pinned));
  out.number<std::uint64_t>(pinned.bytes().size());
  pins.push_back(std::move(pinned));
}

}  // namespace mobula

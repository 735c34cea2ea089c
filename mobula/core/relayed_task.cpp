#include "mobula/core/relayed_task.hpp"

#include "mobula/core/actor_core.hpp"
#include "mobula/core/errors.hpp"

namespace mobula {
namespace {

class RelayedReader final : public ArgumentReader {
 public:
  explicit RelayedReader(const RelayedCall& call) : ArgumentReader(call.bytes), call_(call) {}
  std::shared_ptr<const StoredBytes> reference() override {
    Object& object = *call_.references.at(next_++).object;
    if (auto stored = object.stored()) return stored;
    WireWriter value;
    object.encode_value(value);
    return std::make_shared<const HeapBytes>(value.take());
  }

 private:
  const RelayedCall& call_;
  std::size_t next_ = 0;
};

}  // namespace

void RelayedCall::drop() noexcept {
  for (const Reference& reference : references) reference.object->release();
  references.clear();
  handles.reset();
}

Object* RelayedCall::unready(std::exception_ptr& failure) const {
  for (const Reference& reference : references) {
    if (!reference.object->ready()) return reference.object;
    if (reference.object->error() != nullptr && failure == nullptr) {
      failure = argument_failure(reference.object->error(), 0, entry->name);
    }
  }
  return nullptr;
}

void RelayedCall::write(ArgumentWriter& writer) const {
  std::size_t written = 0;
  for (const Reference& reference : references) {
    writer.out.raw(bytes.data() + written, reference.position - written);
    written = reference.position;
    writer.reference(*reference.object);
  }
  writer.out.raw(bytes.data() + written, bytes.size() - written);
  if (handles != nullptr) writer.keep(handles);
  writer.id = id;
}

void RelayedCall::run(WireWriter& result) const {
  RelayedReader arguments(*this);
  void* instance = actor == nullptr ? nullptr : actor->instance();
  if (entry->ends_actor) {
    actor->end_instance();
    return;
  }
  entry->run_encoded(arguments, result, &instance);
  if (entry->destroy_actor != nullptr) actor->set_instance(instance, entry->destroy_actor);
}

}  // namespace mobula

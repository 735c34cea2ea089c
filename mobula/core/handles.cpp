#include "mobula/core/handles.hpp"

#include <atomic>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

std::atomic<HandleReader*> reader_of_process{nullptr};

}  // namespace

HandleReader& handle_reader() {
  HandleReader* reader = reader_of_process.load(std::memory_order_acquire);
  if (reader == nullptr) throw_handle_leaves_process();
  return *reader;
}

void set_handle_reader(HandleReader* reader) noexcept {
  reader_of_process.store(reader, std::memory_order_release);
}

void throw_handle_leaves_process() {
  throw Error(ErrorCode::unsupported, "a mobula::Ref or mobula::Actor can't be turned into bytes that anybody may keep",
              "pass it to a task or an actor, return it, or put it into an object: those count who holds it");
}

}  // namespace mobula

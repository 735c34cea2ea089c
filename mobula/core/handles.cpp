#include "mobula/core/handles.hpp"

#include <mutex>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {
namespace {

std::mutex mutex;

std::shared_ptr<HandleReader>& reader_of_process() {
  static auto* const reader = new std::shared_ptr<HandleReader>;
  return *reader;
}

}  // namespace

std::shared_ptr<HandleReader> handle_reader() {
  std::lock_guard lock(mutex);
  if (reader_of_process() == nullptr) throw_handle_leaves_process();
  return reader_of_process();
}

std::shared_ptr<HandleReader> handle_reader(const WireReader& in) {
  // Those that come with the bytes live as long as these.
  if (in.handles() != nullptr) return {std::shared_ptr<void>(), in.handles()};
  return handle_reader();
}

void set_handle_reader(std::shared_ptr<HandleReader> reader) {
  std::lock_guard lock(mutex);
  std::swap(reader_of_process(), reader);
}

void throw_handle_leaves_process() {
  throw Error(ErrorCode::unsupported, "a mobula::Ref or mobula::Actor can't be turned into bytes that anybody may keep",
              "pass it to a task or an actor, return it, or put it into an object: those count who holds it");
}

}  // namespace mobula

#include "mobula/data/preprocess/known_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <mutex>
#include <set>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula::data {
namespace {

struct Libraries {
  std::mutex mutex;
  std::string shared;
  std::set<std::string> loaded;
};

Libraries& libraries() {
  static Libraries instance;
  return instance;
}

}  // namespace

void set_known_library(std::string path) {
  const std::lock_guard lock(libraries().mutex);
  // This process has called the function itself.
  libraries().loaded.insert(path);
  libraries().shared = std::move(path);
}

std::string known_library() {
  const std::lock_guard lock(libraries().mutex);
  return libraries().shared;
}

void load_known_library(const std::string& path) {
  // What is called names libraries itself: the lock that callers wait at is another one.
  static std::mutex loading;
  const std::lock_guard lock(loading);
  {
    const std::lock_guard look(libraries().mutex);
    if (path.empty() || libraries().loaded.count(path) != 0) return;
  }
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    throw Error(ErrorCode::unavailable, fmt::format("{} can't be loaded in this worker: {}", path, ::dlerror()),
                "it must lie at the same path on every node");
  }
  const auto know = reinterpret_cast<void (*)()>(::dlsym(library, "mobula_know_for_data"));
  if (know == nullptr) throw_internal(fmt::format("{} has no mobula_know_for_data", path));
  know();
  const std::lock_guard note(libraries().mutex);
  libraries().loaded.insert(path);
}

}  // namespace mobula::data

#include "mobula/core/value_object.hpp"

#include <map>
#include <mutex>

namespace mobula {
namespace {

struct Types {
  std::mutex mutex;
  std::map<std::string_view, Object* (*)(Engine*)> makers;
};

Types& types() {
  static Types* const all = new Types;
  return *all;
}

}  // namespace

ValueType::ValueType(const char* name, Object* (*make)(Engine*)) {
  std::lock_guard lock(types().mutex);
  types().makers.try_emplace(name, make);
}

Object* make_value_object(std::string_view type, Engine* engine) {
  Object* (*make)(Engine*) = nullptr;
  {
    std::lock_guard lock(types().mutex);
    const auto found = types().makers.find(type);
    if (found == types().makers.end()) return nullptr;
    make = found->second;
  }
  return make(engine);
}

}  // namespace mobula

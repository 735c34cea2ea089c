#include "mobula/cli/plugin.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/base/version.hpp"

namespace mobula::cli {
namespace {

/// Returns the folder that holds libmobula_base.so: the plugins lie beside it, in a build and once installed.
std::filesystem::path library_directory() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&version), &info) == 0) throw_internal("libmobula_base.so has no path");
  return std::filesystem::canonical(info.dli_fname).parent_path();
}

void* load(const std::filesystem::path& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    throw Error(ErrorCode::unavailable, fmt::format("{} can't be loaded: {}", path.string(), ::dlerror()),
                "run ./dev setup, which installs what it links");
  }
  return library;
}

}  // namespace

void load_shared_plugin() {
  const char* plugin = std::getenv(kSharedPlugin);
  if (plugin != nullptr) load(library_directory() / fmt::format("lib{}.so", plugin));
}

int call_plugin(std::string_view plugin, const char* entry, const void* options, const GlobalOptions& globals) {
  const std::filesystem::path path = library_directory() / fmt::format("lib{}.so", plugin);
  if (!std::filesystem::exists(path)) {
    throw Error(ErrorCode::unavailable, fmt::format("this build of Mobula has no {}", path.filename().string()),
                "build with -DMOBULA_WITH_TORCH=ON and -DMOBULA_WITH_ARROW=ON");
  }
  void* library = load(path);
  auto* function = reinterpret_cast<PluginEntry>(::dlsym(library, entry));
  if (function == nullptr) throw_internal(fmt::format("{} has no {}", path.string(), entry));
  return function(options, &globals);
}

}  // namespace mobula::cli

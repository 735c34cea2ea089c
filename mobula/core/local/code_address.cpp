#include "mobula/core/local/code_address.hpp"

#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>
#include <link.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

/// Returns the build id among the notes of a segment, or nothing.
std::string find_build_id(const char* notes, std::size_t size) {
  std::size_t at = 0;
  while (at + sizeof(ElfW(Nhdr)) <= size) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes + at, sizeof note);
    const std::size_t name = at + sizeof note;
    const std::size_t value = name + (note.n_namesz + 3U) / 4U * 4U;
    if (value + note.n_descsz > size) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(notes + name, "GNU", 4) == 0) {
      std::string digits;
      for (std::size_t i = 0; i < note.n_descsz; ++i) {
        digits += fmt::format("{:02x}", static_cast<unsigned char>(notes[value + i]));
      }
      return digits;
    }
    at = value + (note.n_descsz + 3U) / 4U * 4U;
  }
  return {};
}

std::string build_id_at(std::uint64_t load_address) {
  std::pair<std::uint64_t, std::string> search{load_address, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& [wanted, found] = *static_cast<std::pair<std::uint64_t, std::string>*>(data);
        if (info->dlpi_addr != wanted) return 0;
        for (int i = 0; i < info->dlpi_phnum && found.empty(); ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_NOTE) continue;
          found = find_build_id(reinterpret_cast<const char*>(info->dlpi_addr + segment.p_vaddr), segment.p_memsz);
        }
        return 1;
      },
      &search);
  return search.second;
}

}  // namespace

CodeAddress locate_code(const void* function) {
  Dl_info info{};
  link_map* map = nullptr;
  if (dladdr1(function, &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0 || map == nullptr) {
    throw_invalid("the function lies in no program or library",
                  "pass a plain function or a captureless lambda of the program or of a library it loaded");
  }
  CodeAddress address;
  if (map->l_name != nullptr && *map->l_name != '\0') {
    std::error_code ignored;
    const auto path = std::filesystem::canonical(map->l_name, ignored);
    address.module = ignored ? std::string(map->l_name) : path.string();
  }
  address.build_id = build_id_at(map->l_addr);
  address.offset = reinterpret_cast<std::uint64_t>(function) - map->l_addr;
  return address;
}

void* resolve_code(const CodeAddress& address) {
  void* handle = dlopen(address.module.empty() ? nullptr : address.module.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    throw Error(ErrorCode::not_found,
                fmt::format("{}: can't be loaded: {}", address.module, reason ? reason : "unknown"),
                "keep the library in its place while the program runs");
  }
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr) throw_internal("dlinfo found no link map");
  const std::string build_id = build_id_at(map->l_addr);
  if (build_id != address.build_id) {
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: is build '{}', the program that started this worker uses build '{}'",
                            address.module.empty() ? "the program" : address.module, build_id, address.build_id),
                "the library was replaced while the program ran: start it again");
  }
  return reinterpret_cast<void*>(map->l_addr + address.offset);
}

}  // namespace mobula

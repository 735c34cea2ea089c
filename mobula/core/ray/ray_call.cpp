#include "mobula/core/ray/ray_call.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <filesystem>

#include "mobula/base/error.hpp"

namespace mobula {

void encode(WireWriter& out, const RayCallHeader& header) {
  out.text(header.key);
  out.text(header.title);
  out.text(header.caller);
  out.number(header.retries);
  out.number(static_cast<std::uint32_t>(header.retry_on.size()));
  for (const std::string& type : header.retry_on) out.text(type);
  out.number(static_cast<std::uint32_t>(header.environment.size()));
  for (const auto& [name, value] : header.environment) {
    out.text(name);
    out.text(value);
  }
  out.number(static_cast<std::uint32_t>(header.references.size()));
  for (const RayId& id : header.references) out.number(id);
}

RayCallHeader decode_ray_call_header(WireReader& in) {
  RayCallHeader header;
  header.key = in.text();
  header.title = in.text();
  header.caller = in.text();
  header.retries = in.number<int>();
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) header.retry_on.emplace_back(in.text());
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) {
    std::string name(in.text());
    header.environment.emplace_back(std::move(name), std::string(in.text()));
  }
  for (auto left = in.number<std::uint32_t>(); left > 0; --left) header.references.push_back(in.number<RayId>());
  return header;
}

std::string library_of(const FunctionEntry& function) {
  Dl_info info{};
  void* extra = nullptr;
  const bool found = dladdr1(reinterpret_cast<const void*>(function.run_encoded), &info, &extra, RTLD_DL_LINKMAP) != 0;
  // The dynamic linker knows the program itself by an empty name.
  const auto* map = static_cast<const link_map*>(extra);
  if (!found || map == nullptr || map->l_name == nullptr || map->l_name[0] == '\0') {
    throw Error(ErrorCode::unsupported,
                fmt::format("'{}' lies in an executable, which Ray's workers can't load", function.name),
                "build the program with mobula_add_program (cmake/mobula_add_program.cmake): it makes a library of the "
                "program, and a launcher");
  }
  std::error_code ignored;
  return std::filesystem::absolute(map->l_name, ignored).string();
}

}  // namespace mobula

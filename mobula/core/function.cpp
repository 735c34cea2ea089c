#include "mobula/core/function.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <map>
#include <mutex>
#include <vector>

namespace mobula {
namespace {

struct Table {
  std::mutex mutex;
  std::map<std::string, const FunctionEntry*, std::less<>> by_key;
  std::map<std::string, const FunctionEntry*, std::less<>> by_name;
  std::vector<std::pair<const FunctionEntry*, const FunctionEntry*>> duplicates;
};

Table& table() {
  static Table* const all = new Table;
  return *all;
}

std::string place_of(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0) return fmt::format("{}", address);
  return fmt::format("{}+{:#x}", info.dli_fname,
                     static_cast<const char*>(address) - static_cast<const char*>(info.dli_fbase));
}

}  // namespace

FunctionRegistration::FunctionRegistration(FunctionEntry entry) : entry_(std::move(entry)) {
  Table& all = table();
  std::lock_guard lock(all.mutex);
  all.by_key.try_emplace(entry_.key, &entry_);
  const auto [found, fresh] = all.by_name.try_emplace(entry_.name, &entry_);
  if (!fresh && found->second->address != entry_.address) all.duplicates.emplace_back(found->second, &entry_);
}

const FunctionEntry* find_function(std::string_view key) {
  Table& all = table();
  std::lock_guard lock(all.mutex);
  const auto found = all.by_key.find(key);
  return found == all.by_key.end() ? nullptr : found->second;
}

void refuse_duplicate_functions() {
  Table& all = table();
  std::lock_guard lock(all.mutex);
  if (all.duplicates.empty()) return;
  const auto& [first, second] = all.duplicates.front();
  throw Error(
      ErrorCode::already_exists,
      fmt::format("two remote functions are named '{}': at {} and at {}", first->name, place_of(first->address),
                  place_of(second->address)),
      "rename one of them, or move it into a namespace of its own: functions of unnamed namespaces in two files "
      "share one name (addr2line -e FILE OFFSET shows where they are)");
}

std::string function::argument_of(std::string_view pretty, std::string_view key) {
  const std::size_t start = pretty.find(key);
  if (start == std::string_view::npos) return std::string(pretty);
  std::size_t depth = 0;
  std::size_t end = start + key.size();
  for (; end < pretty.size(); ++end) {
    const char c = pretty[end];
    if (c == '(' || c == '[' || c == '{' || c == '<') ++depth;
    if (depth == 0 && (c == ']' || c == ';')) break;
    if (c == ')' || c == ']' || c == '}' || c == '>') --depth;
  }
  std::string_view name = pretty.substr(start + key.size(), end - start - key.size());
  if (name.starts_with('&')) name.remove_prefix(1);
  return std::string(name);
}

}  // namespace mobula

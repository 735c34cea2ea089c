#include "mobula/core/resources.hpp"

#include <fmt/format.h>

#include "mobula/base/size.hpp"

namespace mobula {

ResourceSet::ResourceSet(std::map<std::string, Amount> amounts) {
  for (auto& [name, amount] : amounts) set(name, amount);
}

Amount ResourceSet::get(const std::string& name) const {
  const auto found = amounts_.find(name);
  return found == amounts_.end() ? Amount{} : found->second;
}

void ResourceSet::set(const std::string& name, Amount amount) {
  if (amount == Amount{}) {
    amounts_.erase(name);
  } else {
    amounts_[name] = amount;
  }
}

bool ResourceSet::covers(const ResourceSet& other) const {
  for (const auto& [name, amount] : other.amounts_) {
    if (get(name) < amount) return false;
  }
  return true;
}

ResourceSet& ResourceSet::operator+=(const ResourceSet& other) {
  for (const auto& [name, amount] : other.amounts_) set(name, get(name) + amount);
  return *this;
}

ResourceSet& ResourceSet::operator-=(const ResourceSet& other) {
  for (const auto& [name, amount] : other.amounts_) set(name, get(name) - amount);
  return *this;
}

std::string ResourceSet::text() const {
  std::string text;
  for (const auto& [name, amount] : amounts_) {
    if (!text.empty()) text += ", ";
    text += name == "memory" ? fmt::format("memory {}", format_size(static_cast<std::uint64_t>(amount.value())))
                             : fmt::format("{} {:g}", name, amount.value());
  }
  return text.empty() ? "nothing" : text;
}

}  // namespace mobula

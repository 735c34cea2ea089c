#include "mobula/models/labels.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace mobula::models {
namespace {

constexpr std::int64_t kMostLabels = 1 << 16;

}  // namespace

std::vector<std::string> read_labels(CompletedConfig& json) {
  const auto names = json.reader().object("id2label");
  const std::int64_t count =
      json.reader().integer("num_labels", names ? static_cast<std::int64_t>(names->json().size()) : 2, 1, kMostLabels);
  // Json looks keys up one by one: with thousands of labels that takes its time.
  std::unordered_map<std::string, const Json*> by_id;
  if (names) {
    for (const auto& [id, name] : names->json().items()) by_id.emplace(id, &name);
  }
  std::vector<std::string> labels;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string id = std::to_string(i), plain = "LABEL_" + id;
    const auto found = by_id.find(id);
    if (found == by_id.end()) {
      labels.push_back(plain);
    } else {
      labels.push_back(found->second->is_string() ? found->second->get<std::string>() : names->text(id, plain));
    }
  }
  // transformers derives the number of labels from these two alone.
  json.json().erase("num_labels");
  Json ids = Json::object(), numbers = Json::object();
  auto& id_entries = ids.get_ref<Json::object_t&>();
  auto& number_entries = numbers.get_ref<Json::object_t&>();
  std::unordered_map<std::string_view, std::size_t> place_of;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    id_entries.emplace_back(std::to_string(i), labels[i]);
    const auto [place, fresh] = place_of.emplace(labels[i], number_entries.size());
    if (fresh) {
      number_entries.emplace_back(labels[i], i);
    } else {
      (number_entries.begin() + static_cast<std::ptrdiff_t>(place->second))->second = i;
    }
  }
  json.json()["id2label"] = std::move(ids);
  json.json()["label2id"] = std::move(numbers);
  return labels;
}

}  // namespace mobula::models

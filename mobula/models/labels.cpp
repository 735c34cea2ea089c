#include "mobula/models/labels.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

namespace mobula::models {

std::vector<std::string> read_labels(CompletedConfig& json) {
  const auto names = json.reader().object("id2label");
  const std::int64_t count =
      json.reader().integer("num_labels", names ? static_cast<std::int64_t>(names->json().size()) : 2, 1, 1 << 20);
  std::vector<std::string> labels;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string plain = fmt::format("LABEL_{}", i);
    labels.push_back(names ? names->text(std::to_string(i), plain) : plain);
  }
  // transformers derives the number of labels from these two alone.
  json.json().erase("num_labels");
  Json ids = Json::object(), by_label = Json::object();
  for (std::size_t i = 0; i < labels.size(); ++i) {
    ids[std::to_string(i)] = labels[i];
    by_label[labels[i]] = i;
  }
  json.json()["id2label"] = std::move(ids);
  json.json()["label2id"] = std::move(by_label);
  return labels;
}

}  // namespace mobula::models

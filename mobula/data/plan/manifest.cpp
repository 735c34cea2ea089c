#include "mobula/data/plan/manifest.hpp"

#include <algorithm>
#include <cstdint>

namespace mobula::data {
namespace {

/// Adds what was read of sources: the one of the same name and place is the same.
void add_sources(Json& sum, const Json& part) {
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (i >= sum.size()) {
      sum.push_back(part[i]);
      continue;
    }
    sum[i]["rows"] = sum[i]["rows"].get<std::int64_t>() + part[i]["rows"].get<std::int64_t>();
    for (const auto& [file, rows] : part[i]["files"].items()) {
      Json& to = sum[i]["files"][file];
      to = (to.is_null() ? 0 : to.get<std::int64_t>()) + rows.get<std::int64_t>();
    }
  }
}

}  // namespace

Json empty_manifest() {
  return {{"sources", Json::array()}, {"left", Json::object()}};
}

void add_manifest(Json& sum, const Json& part) {
  add_sources(sum["sources"], part["sources"]);
  for (const auto& [file, left] : part["left"].items()) {
    Json& to = sum["left"][file];
    if (to.is_null()) to = {0, 0};
    for (std::size_t i = 0; i < 2; ++i) to[i] = to[i].get<std::int64_t>() + left[i].get<std::int64_t>();
  }
}

Json manifest_of_parts(Json whole, const Json& parts) {
  add_sources(whole["sources"], parts["sources"]);
  for (const auto& [file, left] : parts["left"].items()) whole["left"][file] = left;
  return readable_manifest(whole);
}

Json readable_manifest(const Json& manifest) {
  Json sources = Json::array();
  for (const Json& source : manifest["sources"]) {
    Json files = Json::array();
    for (const auto& [file, read] : source["files"].items()) {
      const auto left = manifest["left"].find(file);
      const bool known = left != manifest["left"].end();
      files.push_back({{"file", file},
                       {"read", read},
                       {"rows", known ? (*left)[0] : Json(0)},
                       {"tokens", known ? (*left)[1] : Json(0)}});
    }
    sources.push_back({{"source", source["source"]}, {"rows", source["rows"]}, {"files", std::move(files)}});
  }
  return sources;
}

}  // namespace mobula::data

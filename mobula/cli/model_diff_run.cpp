#include <ATen/ops/abs.h>
#include <ATen/ops/sub.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>
#include <string>

#include "mobula/cli/checkpoint_source.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/model.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::cli {
namespace {

// Returns what differs between two tensors, or null.
Json difference(const at::Tensor& a, const at::Tensor& b, double tolerance) {
  if (a.sizes() != b.sizes()) return {{"shape_a", a.sizes().vec()}, {"shape_b", b.sizes().vec()}};
  Json found;
  if (a.scalar_type() != b.scalar_type()) {
    found["type_a"] = c10::toString(a.scalar_type());
    found["type_b"] = c10::toString(b.scalar_type());
  }
  if (a.numel() > 0) {
    const at::Tensor wide = a.to(at::kDouble), apart = at::abs(at::sub(wide, b.to(at::kDouble)));
    const double worst = apart.max().item<double>(), scale = at::abs(wide).max().item<double>();
    // What is no number differs from everything, also from itself, unless both sides are alike bit for bit.
    const bool alike = worst <= tolerance || (a.scalar_type() == b.scalar_type() && a.equal(b));
    if (!alike) {
      found["max_difference"] = worst;
      found["relative"] = scale > 0 ? Json(worst / scale) : Json(nullptr);
      found["differing"] = apart.le(tolerance).logical_not().sum().item<std::int64_t>();
    }
  }
  return found;
}

int run(const ModelDiffOptions& options, const GlobalOptions& globals) {
  const CheckpointSource a = open_checkpoint(options.a), b = open_checkpoint(options.b);
  Json out = {{"a", options.a}, {"b", options.b}, {"equal", true}};
  Json config = Json::object(), changed = Json::object(), only_a = Json::array(), only_b = Json::array();
  std::set<std::string> keys;
  for (const Json* json : {&a.config, &b.config}) {
    for (const auto& [key, value] : json->items()) keys.insert(key);
  }
  for (const std::string& key : keys) {
    const Json left = a.config.value(key, Json(nullptr)), right = b.config.value(key, Json(nullptr));
    if (left != right) config[key] = Json::array({left, right});
  }
  for (const std::string& name : a.tensors->names()) {
    if (!b.tensors->contains(name)) {
      only_a.push_back(name);
      continue;
    }
    const Json found =
        difference(nn::to_tensor(a.tensors->tensor(name)), nn::to_tensor(b.tensors->tensor(name)), options.tolerance);
    if (!found.is_null()) changed[name] = found;
  }
  for (const std::string& name : b.tensors->names()) {
    if (!a.tensors->contains(name)) only_b.push_back(name);
  }
  out["equal"] = config.empty() && changed.empty() && only_a.empty() && only_b.empty();
  out["config"] = config;
  out["only_in_a"] = only_a;
  out["only_in_b"] = only_b;
  out["changed"] = changed;
  if (globals.json) {
    fmt::print("{}\n", to_line(out));
    return 0;
  }
  for (const auto& [key, values] : config.items()) {
    fmt::print("config.json {}: {} | {}\n", key, to_line(values[0]), to_line(values[1]));
  }
  for (const Json& name : only_a) fmt::print("only in {}: {}\n", options.a, name.get<std::string>());
  for (const Json& name : only_b) fmt::print("only in {}: {}\n", options.b, name.get<std::string>());
  for (const auto& [name, found] : changed.items()) fmt::print("{}: {}\n", name, to_line(found));
  fmt::print("{}\n", out["equal"].get<bool>() ? "equal" : "different");
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_model_diff(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::ModelDiffOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}

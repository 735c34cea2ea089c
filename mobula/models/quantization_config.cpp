#include "mobula/models/quantization_config.hpp"

#include <fmt/format.h>

#include <string_view>

#include "mobula/base/error.hpp"

namespace mobula::models {
namespace {

constexpr const char* kKey = "quantization_config";

[[noreturn]] void refuse(std::string_view key, const Json& value, const char* hint) {
  throw Error(ErrorCode::unsupported,
              fmt::format("config.json: {}.{} {} is not supported", kKey, key, to_line(value).substr(0, 80)), hint);
}

Json value_of(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) ? object[key] : Json(nullptr);
}

void check_groups(const Json& groups) {
  constexpr const char* kHint = "of compressed-tensors, symmetric integer weights in groups or rows are read";
  if (!groups.is_object()) throw_invalid(fmt::format("config.json: {}.config_groups is no object", kKey));
  for (const auto& [name, group] : groups.items()) {
    const Json weights = value_of(group, "weights");
    if (weights.is_null()) continue;
    const auto at = [&, &name = name](const char* key) {
      return fmt::format("config_groups.{}.weights.{}", name, key);
    };
    if (const Json type = value_of(weights, "type"); type != "int") refuse(at("type"), type, kHint);
    if (const Json symmetric = value_of(weights, "symmetric"); symmetric != true) {
      refuse(at("symmetric"), symmetric, kHint);
    }
    if (const Json inputs = value_of(group, "input_activations"); !inputs.is_null()) {
      refuse(fmt::format("config_groups.{}.input_activations", name), inputs, kHint);
    }
  }
}

}  // namespace

void check_quantization(const Json& config) {
  const Json quantization = value_of(config, kKey);
  if (quantization.is_null()) return;
  const Json method = value_of(quantization, "quant_method");
  if (method == "compressed-tensors") {
    if (const Json format = value_of(quantization, "format"); format != "pack-quantized") {
      refuse("format", format, "of compressed-tensors, pack-quantized is read");
    }
    check_groups(value_of(quantization, "config_groups"));
  } else if (method == "bitsandbytes") {
    if (const Json eight = value_of(quantization, "load_in_8bit"); eight == true) {
      refuse("load_in_8bit", eight, "of bitsandbytes, NF4 is read");
    }
    if (const Json type = value_of(quantization, "bnb_4bit_quant_type"); type != "nf4") {
      refuse("bnb_4bit_quant_type", type, "of bitsandbytes, NF4 is read");
    }
  } else {
    refuse("quant_method", method, "known: compressed-tensors (pack-quantized), bitsandbytes (NF4)");
  }
}

Json quantization_config(nn::QuantizedFormat format, const std::string& type, const std::vector<std::string>& whole,
                         const std::string& eight) {
  if (format == nn::QuantizedFormat::nf4) {
    return {{"quant_method", "bitsandbytes"},
            {"load_in_4bit", true},
            {"load_in_8bit", false},
            {"bnb_4bit_quant_type", "nf4"},
            {"bnb_4bit_use_double_quant", false},
            {"bnb_4bit_compute_dtype", type},
            {"bnb_4bit_quant_storage", "uint8"},
            {"llm_int8_skip_modules", whole}};
  }
  const auto group = [](const std::string& target, int bits) {
    const Json weights = {{"num_bits", bits},    {"type", "int"},    {"symmetric", true},
                          {"strategy", "group"}, {"group_size", 64}, {"dynamic", false}};
    return Json{{"targets", Json::array({target})},
                {"weights", weights},
                {"input_activations", nullptr},
                {"output_activations", nullptr}};
  };
  const bool all_eight = format == nn::QuantizedFormat::int8;
  Json groups = {{"group_0", group("Linear", all_eight ? 8 : 4)}};
  if (!eight.empty() && !all_eight) groups["group_1"] = group(eight, 8);
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"config_groups", groups},
          {"ignore", whole}};
}

}  // namespace mobula::models

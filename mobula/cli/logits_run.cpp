#include "mobula/cli/logits.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/models/encoder/registry.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/models/t5/load.hpp"
#include "mobula/models/vit/image.hpp"
#include "mobula/models/vit/load.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::cli {
namespace {

models::LoadOptions load_options(const std::string& dtype) {
  if (dtype.empty()) return {};
  if (dtype == "fp32") return {.type = at::kFloat};
  if (dtype == "bf16") return {.type = at::kBFloat16};
  throw_invalid(fmt::format("--dtype {} is unknown here", dtype), "use fp32 or bf16");
}

at::Tensor as_batch(const std::vector<std::int32_t>& ids, std::int64_t vocab_size, const char* option) {
  if (ids.empty()) throw_invalid(fmt::format("{} is missing", option), "give token ids, separated by commas");
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= vocab_size) {
      throw_invalid(fmt::format("{}: token id {} is outside the vocabulary of {}", option, id, vocab_size));
    }
  }
  return at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong).unsqueeze(0);
}

void refuse(bool given, const char* option, const std::string& family) {
  if (!given) return;
  throw_invalid(fmt::format("{} is given, but a model of the family {} doesn't read it", option, family),
                family == "vit" ? "it reads --image FILE" : "it reads --ids");
}

at::Tensor compute(const LogitsOptions& options) {
  if (!std::filesystem::is_directory(options.model)) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no such folder", options.model),
                "--model names the folder of a checkpoint: config.json, model.safetensors");
  }
  const models::LoadOptions load = load_options(options.dtype);
  const Json config = nn::read_json_file(std::filesystem::path(options.model) / "config.json");
  const std::string family = config.contains("model_type") && config["model_type"].is_string()
                                 ? config["model_type"].get<std::string>()
                                 : std::string();
  refuse(family != "vit" && !options.image.empty(), "--image", family);
  refuse(family != "t5" && !options.decoder_ids.empty(), "--decoder-ids", family);
  if (family == "vit") {
    refuse(!options.ids.empty(), "--ids", family);
    if (options.image.empty()) throw_invalid("--image is missing", "a vision model reads an image");
    const auto model = models::load_vit(options.model, load);
    const auto how = models::read_image_options(options.model, model->description());
    return model->logits(models::prepare_image(models::read_image(options.image), how).unsqueeze(0));
  }
  if (family == "t5") {
    const auto model = models::load_t5(options.model, load);
    const std::int64_t vocab_size = model->description().vocab_size;
    const at::Tensor decoder_ids = as_batch(options.decoder_ids, vocab_size, "--decoder-ids");
    return model->decode(model->encode(as_batch(options.ids, vocab_size, "--ids"), {}), {}, decoder_ids);
  }
  for (const std::string& encoder : models::encoder_families()) {
    if (family != encoder) continue;
    const auto model = models::load_encoder(options.model, load);
    return model->logits({as_batch(options.ids, model->description().vocab_size, "--ids"), {}, {}});
  }
  const auto model = models::load_causal_lm(options.model, load);
  return model->logits(as_batch(options.ids, model->info().vocab_size, "--ids"));
}

int run(const LogitsOptions& options, const GlobalOptions& globals) {
  const at::NoGradGuard no_grad;
  const at::Tensor logits = compute(options).to(at::kFloat).contiguous();
  const float* values = logits.const_data_ptr<float>();
  fmt::memory_buffer out;
  if (globals.json) {
    fmt::format_to(std::back_inserter(out), "{{\"shape\":[{}],\"logits\":[", fmt::join(logits.sizes(), ","));
  }
  for (std::int64_t i = 0; i < logits.numel(); ++i) {
    const char* separator = globals.json ? (i > 0 ? "," : "") : (i == 0 ? "" : i % logits.size(-1) == 0 ? "\n" : " ");
    if (globals.json && !std::isfinite(values[i])) {
      fmt::format_to(std::back_inserter(out), "{}null", separator);
    } else {
      fmt::format_to(std::back_inserter(out), "{}{:.9g}", separator, values[i]);
    }
  }
  fmt::print("{}{}\n", fmt::to_string(out), globals.json ? "]}" : "");
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_logits(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::LogitsOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}

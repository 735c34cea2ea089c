#include "mobula/cli/encoder_texts.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/models/encoder/registry.hpp"

namespace mobula::cli {

namespace fs = std::filesystem;

std::unique_ptr<models::Encoder> load_text_encoder(const std::string& model, const std::string& dtype) {
  models::LoadOptions load;
  if (dtype == "fp32") {
    load.type = at::kFloat;
  } else if (dtype == "bf16") {
    load.type = at::kBFloat16;
  } else if (!dtype.empty()) {
    throw_invalid(fmt::format("--dtype {} is unknown here", dtype), "use fp32 or bf16");
  }
  if (!fs::is_directory(model)) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no such folder", model),
                "--model names the folder of a checkpoint: config.json, model.safetensors, tokenizer.json");
  }
  return models::load_encoder(model, load);
}

std::shared_ptr<const text::Tokenizer> load_encoder_tokenizer(const std::string& model, std::int64_t max_tokens,
                                                              std::int64_t vocab_size) {
  const fs::path path = fs::path(model) / "tokenizer.json";
  if (!fs::exists(path)) throw Error(ErrorCode::not_found, fmt::format("{}: no tokenizer.json", model), "use --ids");
  nlohmann::json file =
      nlohmann::json::parse(read_file(path, std::size_t{1} << 30), nullptr, /*allow_exceptions=*/false);
  if (!file.is_object()) throw Error(ErrorCode::corrupt, fmt::format("{}: expected a JSON object", path.string()));
  file["truncation"] = {
      {"direction", "Right"}, {"max_length", max_tokens}, {"strategy", "LongestFirst"}, {"stride", 0}};
  file["padding"] = nullptr;
  auto tokenizer = text::Tokenizer::parse(file.dump(), path.string());
  if (static_cast<std::int64_t>(tokenizer->vocab_size()) > vocab_size) {
    throw_invalid(fmt::format("{}: the tokenizer has {} ids, the model's vocabulary {}", path.string(),
                              tokenizer->vocab_size(), vocab_size),
                  "tokenizer and model belong to different checkpoints");
  }
  return tokenizer;
}

models::EncoderInput pad_rows(const std::vector<Ids>& rows, std::int64_t pad_id) {
  std::size_t longest = 0;
  for (const Ids& ids : rows) longest = std::max(longest, ids.size());
  const std::array<std::int64_t, 2> shape = {static_cast<std::int64_t>(rows.size()),
                                             static_cast<std::int64_t>(longest)};
  models::EncoderInput input{at::full(shape, pad_id, at::kLong), at::zeros(shape, at::kBool), {}};
  for (std::size_t row = 0; row < rows.size(); ++row) {
    auto* ids = input.ids_BT.mutable_data_ptr<std::int64_t>() + row * longest;
    auto* mask = input.mask_BT.mutable_data_ptr<bool>() + row * longest;
    for (std::size_t i = 0; i < rows[row].size(); ++i) {
      ids[i] = rows[row][i];
      mask[i] = true;
    }
  }
  return input;
}

std::vector<float> to_vector(const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kFloat).contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

at::Tensor label_probabilities(const at::Tensor& scores, const models::EncoderConfig& config) {
  // As transformers' pipelines choose: labels that hold by themselves, and a single one, take the logistic function.
  const bool alone = config.multi_label || config.labels.size() == 1;
  return alone ? at::sigmoid(scores.to(at::kFloat)) : at::softmax(scores.to(at::kFloat), -1);
}

}  // namespace mobula::cli

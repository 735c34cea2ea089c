#include "mobula/models/encoder/sentence_embedding.hpp"

#include <ATen/ops/clamp_min.h>
#include <ATen/ops/div.h>
#include <ATen/ops/mul.h>
#include <fmt/format.h>

#include <limits>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {
namespace {

Pooling read_pooling(const std::filesystem::path& path) {
  const Json json = nn::read_json_file(path);
  const auto is_on = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_boolean() && found->get<bool>();
  };
  const bool mean = is_on("pooling_mode_mean_tokens"), first = is_on("pooling_mode_cls_token"),
             max = is_on("pooling_mode_max_tokens");
  const bool other = is_on("pooling_mode_mean_sqrt_len_tokens") || is_on("pooling_mode_weightedmean_tokens") ||
                     is_on("pooling_mode_lasttoken");
  if (mean + first + max != 1 || other) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: expected exactly one of pooling_mode_mean_tokens, pooling_mode_cls_token and "
                            "pooling_mode_max_tokens",
                            path.string()));
  }
  return mean ? Pooling::mean : first ? Pooling::first : Pooling::max;
}

}  // namespace

SentenceEmbeddingOptions read_sentence_embedding_options(const std::filesystem::path& directory) {
  SentenceEmbeddingOptions options;
  const auto limits = directory / "sentence_bert_config.json";
  if (std::filesystem::exists(limits)) {
    const Json json = nn::read_json_file(limits);
    const auto found = json.find("max_seq_length");
    if (found != json.end() && found->is_number_integer()) options.max_tokens = found->get<std::int64_t>();
  }
  const auto path = directory / "modules.json";
  if (!std::filesystem::exists(path)) return options;
  options.normalize = false;
  const Json modules = parse_json(read_file(path, 1 << 20), path.string());
  if (!modules.is_array()) throw Error(ErrorCode::corrupt, fmt::format("{}: expected a list", path.string()));
  for (const Json& module : modules) {
    const std::string type = module.is_object() ? module.value("type", "") : "";
    const std::string kind = type.substr(type.rfind('.') + 1);
    if (kind == "Transformer") continue;
    if (kind == "Normalize") {
      options.normalize = true;
    } else if (kind == "Pooling") {
      const std::string folder = module.value("path", "1_Pooling");
      if (folder.find("..") != std::string::npos || folder.starts_with('/')) {
        throw Error(ErrorCode::corrupt, fmt::format("{}: '{}' leads out of the folder", path.string(), folder));
      }
      options.pooling = read_pooling(directory / folder / "config.json");
    } else {
      throw Error(ErrorCode::unsupported, fmt::format("{}: module '{}' is not supported", path.string(), type),
                  "known: Transformer, Pooling, Normalize");
    }
  }
  return options;
}

at::Tensor embed_sentences(const at::Tensor& hidden_BTC, const at::Tensor& mask_BT,
                           const SentenceEmbeddingOptions& options) {
  const at::Tensor x_BTC = hidden_BTC.to(at::kFloat);
  const at::Tensor kept_BT1 = mask_BT.defined() ? mask_BT.unsqueeze(-1) : at::Tensor();
  at::Tensor pooled_BC;
  switch (options.pooling) {
    case Pooling::mean:
      if (kept_BT1.defined()) {
        const at::Tensor weights = kept_BT1.to(at::kFloat);
        pooled_BC = at::div(at::mul(x_BTC, weights).sum(at::IntArrayRef{1}),
                            at::clamp_min(weights.sum(at::IntArrayRef{1}), 1e-9));
      } else {
        pooled_BC = x_BTC.mean(at::IntArrayRef{1});
      }
      break;
    case Pooling::first:
      pooled_BC = x_BTC.select(1, 0);
      break;
    case Pooling::max:
      pooled_BC =
          (kept_BT1.defined() ? x_BTC.masked_fill(kept_BT1.logical_not(), -std::numeric_limits<double>::infinity())
                              : x_BTC)
              .amax(at::IntArrayRef{1});
      break;
  }
  if (!options.normalize) return pooled_BC;
  return at::div(pooled_BC, at::clamp_min(pooled_BC.norm(2, at::IntArrayRef{1}, /*keepdim=*/true), 1e-12));
}

}  // namespace mobula::models

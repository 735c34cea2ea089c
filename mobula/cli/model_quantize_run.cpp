// Checkpoints with their matrices in few bits, in the formats of compressed-tensors and bitsandbytes.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/progress.hpp"
#include "mobula/base/size.hpp"
#include "mobula/cli/checkpoint_source.hpp"
#include "mobula/cli/checkpoint_target.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/model.hpp"
#include "mobula/models/decoder/decoder_lm.hpp"
#include "mobula/models/quantization_config.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::cli {
namespace {

nn::QuantizedFormat format_of(const std::string& dtype) {
  for (const auto format : {nn::QuantizedFormat::int8, nn::QuantizedFormat::int4, nn::QuantizedFormat::nf4}) {
    if (dtype == nn::to_string(format)) return format;
  }
  throw_invalid(fmt::format("--dtype {} is unknown here", dtype), "use int8, int4 or nf4");
}

// Returns the names of the matrices that every token passes through: those of attention, MLPs and experts. Embeddings, the
// head, norms and routers, in which rounding shows most, stay as they are.
std::set<std::string> quantizable(const nn::CausalLm& model) {
  std::set<std::string> names;
  const auto add = [&](const nn::LinearWeights& matrix) {
    if (matrix.defined()) names.insert(matrix.module + ".weight");
  };
  for (const nn::DecoderLayer& layer : model.decoder_model().layers) {
    for (const nn::LinearWeights& part : layer.qkv) add(part);
    for (const nn::LinearWeights* matrix : {&layer.attention_out, &layer.gate, &layer.up, &layer.down}) add(*matrix);
    if (!layer.experts) continue;
    for (const auto* matrices : {&layer.experts->gate, &layer.experts->up, &layer.experts->down}) {
      for (const nn::LinearWeights& matrix : *matrices) add(matrix);
    }
  }
  return names;
}

// Returns the head's name, where it can be stored in 8 bits.
std::string head_to_round(const nn::CausalLm& model) {
  const nn::LinearWeights& head = model.decoder_model().head;
  if (head.weight.size(1) % 64 != 0) {
    throw_invalid(fmt::format("--head int8: its {} inputs make no whole groups of 64", head.weight.size(1)),
                  "leave --head out");
  }
  return head.module;
}

// What is left of a matrix's numbers: the root of the mean square of the errors over that of the numbers.
struct ErrorSum {
  double errors = 0, numbers = 0;
  double relative() const { return numbers > 0 ? std::sqrt(errors / numbers) : 0; }
};

int run(const ModelQuantizeOptions& options, const GlobalOptions& globals) {
  const nn::QuantizedFormat format = format_of(options.dtype);
  if (options.head != "whole" && options.head != "int8") {
    throw_invalid(fmt::format("--head {} is unknown", options.head), "use whole or int8");
  }
  if (options.head == "int8" && format == nn::QuantizedFormat::nf4) {
    throw_invalid("--head int8 goes with int8 and int4: a checkpoint of bitsandbytes has one format",
                  "leave --head out");
  }
  const std::uint64_t limit = parse_size(options.shard_size);
  if (limit < 1) throw_invalid("--shard-size is 0");
  const CheckpointSource source = open_checkpoint(options.model);
  if (source.config.empty()) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no config.json beside the tensors", options.model),
                "name the folder of a language model");
  }
  if (source.tensors->has_quantized()) {
    throw_invalid(fmt::format("{}: is quantized already", options.model),
                  "quantize the model that it was made from, or write its numbers with mobula model convert");
  }
  NewFolder folder(options.out);
  const auto model = models::load_causal_lm(options.model);
  if (dynamic_cast<const models::DecoderLm*>(model.get()) == nullptr) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: matrices of {} lie inputs first, which the formats don't have", options.model,
                            model->info().family),
                "mobula generate --dtype int8 rounds them when the model is opened");
  }
  const std::set<std::string> names = quantizable(*model);
  const std::string head = options.head == "int8" ? head_to_round(*model) : "";
  std::vector<nn::NamedTensor> tensors;
  std::vector<std::string> whole, odd;
  // GPT-NeoX's head has this name in transformers and another in files.
  if (head.empty()) whole.emplace_back("lm_head");
  std::uint64_t before = 0, after = 0;
  ErrorSum error;
  const auto add = [&](const std::string& name, const at::Tensor& tensor, nn::QuantizedFormat as) {
    const nn::QuantizedMatrix matrix = nn::quantize_matrix(nn::to_array(tensor), as);
    const at::Tensor wide = tensor.to(at::kFloat);
    error.errors += nn::to_tensor(matrix.dequantize().to(at::kFloat)).sub(wide).square().sum().item<double>();
    error.numbers += wide.square().sum().item<double>();
    for (const nn::NamedArray& part : nn::stored_tensors(name, matrix)) {
      after += part.array.nbytes();
      tensors.push_back({part.name, nn::to_tensor(part.array)});
    }
  };
  bool has_head = head.empty();
  Progress progress("quantizing", model->parameters().size());
  for (std::size_t i = 0; i < model->parameters().size(); ++i) {
    const auto& [name, parameter] = model->parameters()[i];
    const at::Tensor tensor = parameter.detach();
    before += tensor.nbytes();
    const bool fits = format == nn::QuantizedFormat::nf4 || tensor.dim() != 2 || tensor.size(1) % 64 == 0;
    const std::string module = name.substr(0, name.rfind('.'));
    if (names.contains(name) && fits) {
      add(name, tensor, format);
    } else if (name == head + ".weight") {
      add(name, tensor, nn::QuantizedFormat::int8);
      has_head = true;
    } else {
      if (names.contains(name)) odd.push_back(name);
      if (tensor.dim() == 2 && module != "lm_head") whole.push_back(module);
      after += tensor.nbytes();
      tensors.push_back({name, tensor});
    }
    progress.update(i + 1, name);
  }
  // A head that is the table of embeddings becomes a matrix of its own; the table stays.
  if (!has_head) add(head + ".weight", nn::to_tensor(model->decoder_model().head.weight), nn::QuantizedFormat::int8);
  progress.clear();
  if (!odd.empty()) {
    log_warning("{} matrices stay as they are, because their inputs make no whole groups of 64: {}{}", odd.size(),
                odd.front(), odd.size() > 1 ? " ..." : "");
  }
  if (odd.size() == names.size()) throw_invalid("nothing is left to quantize", "nf4 takes matrices of any width");
  const bool experts =
      std::ranges::any_of(model->decoder_model().layers, [](const auto& l) { return l.experts.has_value(); });
  if (experts) log_warning("transformers doesn't read quantized experts; Mobula does");
  write_shards(tensors, limit, folder.path());
  Json config = model->config();
  const at::ScalarType in_memory = model->parameters().front().tensor.scalar_type();
  const std::string type = in_memory == at::kBFloat16 ? "bfloat16" : in_memory == at::kHalf ? "float16" : "float32";
  config.erase("torch_dtype");
  config["dtype"] = type;
  if (!has_head) config["tie_word_embeddings"] = false;
  config["quantization_config"] = models::quantization_config(format, type, whole, head);
  write_file_atomic(folder.path() / "config.json", config.dump(2) + "\n");
  copy_companions(source, folder.path());
  folder.commit();
  const std::size_t num_quantized = names.size() - odd.size() + (head.empty() ? 0 : 1);
  const char* reader = experts ? "" : format == nn::QuantizedFormat::nf4 ? "bitsandbytes" : "compressed-tensors";
  if (globals.json) {
    fmt::print("{}\n", to_line({{"out", options.out},
                                {"dtype", options.dtype},
                                {"quantized", num_quantized},
                                {"bytes_before", before},
                                {"bytes", after},
                                {"relative_error", error.relative()},
                                {"transformers_needs", experts ? Json(nullptr) : Json(reader)}}));
  } else {
    fmt::print("{}: {} matrices in {}, {} instead of {}, relative error {:.2g}\n", options.out, num_quantized,
               options.dtype, format_size(after), format_size(before), error.relative());
  }
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_model_quantize(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::ModelQuantizeOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}

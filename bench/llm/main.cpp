// Text generation on a Llama-shaped model of random weights (0.35 B parameters), beside llama.cpp, transformers and the
// machine's memory speed: decode_tokens_per_s, prefill_tokens_per_s, load_ms, memory_read_gb_per_s.
//
//   bench_llm --json                                       everything, the peers too
//   bench_llm --dtype int8 --batch 1 --no-peers            one figure
//   bench_llm --folder F --prepare; bench_llm --folder F   the files made beforehand
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "memory_speed.hpp"
#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/models/decoder/load_decoder.hpp"
#include "mobula/models/quantization_config.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/decoder/decoder.hpp"
#include "mobula/nn/quantized_matrix.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/safetensors_writer.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula {
namespace {

using Clock = std::chrono::steady_clock;

struct Shape {
  std::int64_t hidden = 1024, layers = 24, heads = 16, kv_heads = 8, head_dim = 64, inner = 2816, vocab = 32000;
};

double seconds(const std::function<void()>& work) {
  const auto start = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Small values from a cheap generator: only speed is measured, but sums must stay finite.
at::Tensor random_weight(std::int64_t rows, std::int64_t columns) {
  at::Tensor tensor = at::empty({rows, columns}, at::TensorOptions().dtype(at::kFloat));
  auto* values = tensor.data_ptr<float>();
  at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
    std::uint64_t state = static_cast<std::uint64_t>(begin) * 977 + 1;
    for (std::int64_t i = begin * columns; i < end * columns; ++i) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      values[i] = static_cast<float>(static_cast<std::int32_t>(state >> 32)) * (0.035f / 2147483648.0f);
    }
  });
  return tensor.to(at::kBFloat16);
}

/// Writes the model as a checkpoint folder, which all contestants read.
void write_checkpoint(const std::filesystem::path& folder) {
  const Shape shape;
  const Json config = {{"model_type", "llama"},
                       {"architectures", {"LlamaForCausalLM"}},
                       {"vocab_size", shape.vocab},
                       {"hidden_size", shape.hidden},
                       {"intermediate_size", shape.inner},
                       {"num_hidden_layers", shape.layers},
                       {"num_attention_heads", shape.heads},
                       {"num_key_value_heads", shape.kv_heads},
                       {"head_dim", shape.head_dim},
                       {"max_position_embeddings", 4096},
                       {"rms_norm_eps", 1e-6},
                       {"rope_theta", 10000.0},
                       {"tie_word_embeddings", false},
                       {"bos_token_id", 1},
                       {"eos_token_id", nullptr},
                       {"torch_dtype", "bfloat16"}};
  std::vector<nn::NamedTensor> tensors;
  const auto matrix = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    tensors.push_back({name + ".weight", random_weight(out, in)});
  };
  const auto norm = [&](const std::string& name) {
    tensors.push_back({name + ".weight", random_weight(1, shape.hidden).flatten().add(1.0)});
  };
  const std::int64_t queries = shape.heads * shape.head_dim, keys = shape.kv_heads * shape.head_dim;
  matrix("model.embed_tokens", shape.vocab, shape.hidden);
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    norm(layer + "input_layernorm");
    matrix(layer + "self_attn.q_proj", queries, shape.hidden);
    matrix(layer + "self_attn.k_proj", keys, shape.hidden);
    matrix(layer + "self_attn.v_proj", keys, shape.hidden);
    matrix(layer + "self_attn.o_proj", shape.hidden, queries);
    norm(layer + "post_attention_layernorm");
    matrix(layer + "mlp.gate_proj", shape.inner, shape.hidden);
    matrix(layer + "mlp.up_proj", shape.inner, shape.hidden);
    matrix(layer + "mlp.down_proj", shape.hidden, shape.inner);
  }
  norm("model.norm");
  matrix("lm_head", shape.vocab, shape.hidden);
  nn::write_safetensors(folder / "model.safetensors", tensors);
  write_file_atomic(folder / "config.json", config.dump(2));
}

/// Writes a checkpoint whose matrices another one's were rounded to, as `mobula model quantize --head int8` does.
void write_stored(const std::filesystem::path& from, const std::filesystem::path& folder, nn::QuantizedFormat format) {
  std::filesystem::create_directories(folder);
  const nn::SafetensorsFile file(from / "model.safetensors");
  std::vector<nn::NamedTensor> tensors;
  for (const nn::TensorInfo& info : file.tensors()) {
    const nn::Array numbers = file.tensor(info.name);
    const bool is_head = info.name == "lm_head.weight";
    if (is_head || (info.shape.size() == 2 && info.name.starts_with("model.layers."))) {
      const auto as = is_head ? nn::QuantizedFormat::int8 : format;
      for (const nn::NamedArray& part : nn::stored_tensors(info.name, nn::quantize_matrix(numbers, as))) {
        tensors.push_back({part.name, nn::to_tensor(part.array)});
      }
    } else {
      tensors.push_back({info.name, nn::to_tensor(numbers)});
    }
  }
  nn::write_safetensors(folder / "model.safetensors", tensors);
  Json config = nn::read_json_file(from / "config.json");
  config["quantization_config"] = models::quantization_config(format, "bfloat16", {"model.embed_tokens"}, "lm_head");
  write_file_atomic(folder / "config.json", config.dump(2));
}

class Report {
 public:
  explicit Report(bool json) : json_(json) {}
  void line(const std::string& metric, double value, const std::string& unit, const std::string& fields) const {
    if (json_) {
      fmt::print("{{\"bench\":\"llm\",\"metric\":\"{}\",\"value\":{:.5g},\"unit\":\"{}\",\"peer\":\"mobula\"{}}}\n",
                 metric, value, unit, fields);
    } else {
      fmt::print("{:<24} {:>10.5g} {:<7} {}\n", metric, value, unit, fields);
    }
    std::fflush(stdout);
  }

 private:
  bool json_;
};

void measure(const Report& report, const std::filesystem::path& folder, const std::string& dtype,
             const std::vector<std::int64_t>& batches, bool prefill) {
  const Shape shape;
  nn::DecoderOptions options;
  if (dtype == "int8") options.quantize = nn::WeightType::int8;
  if (dtype == "int4") options.quantize = nn::WeightType::int4;
  std::unique_ptr<nn::Decoder> opened;
  const double opening = seconds([&] {
    models::LoadedDecoder loaded =
        models::load_decoder(folder, dtype == "fp32" ? std::optional(at::kFloat) : std::nullopt);
    opened = std::make_unique<nn::Decoder>(std::move(loaded.model), options);
  });
  report.line("load_ms", 1e3 * opening, "ms", fmt::format(",\"dtype\":\"{}\"", dtype));
  nn::Decoder& decoder = *opened;
  Random random(3);
  const auto token = [&] { return static_cast<nn::TokenId>(random.below(static_cast<std::uint64_t>(shape.vocab))); };
  const auto read_prompt = [&](nn::KvSequence& sequence, std::int64_t length) {
    std::vector<nn::DecoderRow> rows;
    for (std::int64_t p = 0; p < length; ++p) rows.push_back({token(), p, &sequence, p + 1 == length});
    decoder.forward(rows);
  };
  for (const std::int64_t batch : batches) {
    std::vector<nn::KvSequence> sequences(static_cast<std::size_t>(batch));
    for (nn::KvSequence& sequence : sequences) read_prompt(sequence, 128);
    constexpr std::int64_t kSteps = 64;
    double best = 1e9;
    for (int round = 0; round < 3; ++round) {
      best = std::min(best, seconds([&] {
                        for (std::int64_t step = 0; step < kSteps; ++step) {
                          std::vector<nn::DecoderRow> rows;
                          for (nn::KvSequence& sequence : sequences)
                            rows.push_back({token(), 128 + step, &sequence, true});
                          decoder.forward(rows);
                        }
                      }));
    }
    report.line("decode_tokens_per_s", static_cast<double>(batch * kSteps) / best, "tok/s",
                fmt::format(",\"dtype\":\"{}\",\"batch\":{}", dtype, batch));
  }
  if (!prefill) return;
  double best = 1e9;
  for (int round = 0; round < 3; ++round) {
    nn::KvSequence sequence;
    best = std::min(best, seconds([&] { read_prompt(sequence, 512); }));
  }
  report.line("prefill_tokens_per_s", 512 / best, "tok/s", fmt::format(",\"dtype\":\"{}\",\"batch\":1", dtype));
}

constexpr std::string_view kStored = "stored_";

int run(int argc, char** argv) {
  CLI::App app("Text generation on a Llama-shaped model of random weights");
  bool json = false, no_peers = false;
  std::vector<std::string> dtypes = {"bf16", "int8", "stored_int8", "int4", "stored_int4"};
  std::vector<std::int64_t> batches = {1, 8};
  bool prefill = true, prepare = false, memory = true;
  std::filesystem::path folder;
  std::vector<std::string> peers = {"llama.cpp", "transformers"};
  app.add_flag("--json", json, "One JSON object a line");
  app.add_flag("--no-peers", no_peers, "Leave the peers out");
  app.add_option("--dtype", dtypes, "fp32, bf16, int8, int4 (rounded when opened), stored_int8, stored_int4");
  app.add_option("--batch", batches, "Sequences that are decoded together");
  app.add_flag("!--no-prefill", prefill, "Leave the prefill out");
  app.add_flag("!--no-memory", memory, "Leave the memory test out");
  app.add_option("--peers", peers, "llama.cpp, transformers");
  app.add_option("--folder", folder, "Where the model's files are made and kept (default: a folder that is removed)");
  app.add_flag("--prepare", prepare, "Only make the model's files, for runs that may not take long");
  CLI11_PARSE(app, argc, argv);
  const Report report(json);
  std::optional<TemporaryDirectory> temporary;
  if (folder.empty()) folder = temporary.emplace("bench-llm").path();
  std::filesystem::create_directories(folder);
  if (!std::filesystem::exists(folder / "config.json")) write_checkpoint(folder);
  const auto run_peer = [&](const std::string& peer, const std::string& dtype) {
    std::vector<std::string> command = {
        MOBULA_PEER_PYTHON, fmt::format("{}/peer_{}.py", MOBULA_PEERS, peer == "llama.cpp" ? "llama_cpp" : peer),
        folder.string(), dtype};
    if (!prefill) command.emplace_back("--no-prefill");
    if (prepare) command.emplace_back("--prepare");
    for (const std::int64_t batch : batches) command.insert(command.end(), {"--batch", std::to_string(batch)});
    if (Subprocess(command).wait() != 0) {
      throw Error(ErrorCode::unavailable, fmt::format("{} could not be measured", peer), "./dev bench llm installs it");
    }
  };
  if (!prepare && memory) {
    bench::measure_memory_speed([&](const std::string& pages, const std::string& way, double speed) {
      report.line("memory_read_gb_per_s", speed, "GB/s", fmt::format(",\"pages\":\"{}\",\"way\":\"{}\"", pages, way));
    });
  }
  // A type's contestants one after the other: what else the machine does then meets them alike.
  for (const std::string& dtype : dtypes) {
    const bool stored = dtype.starts_with(kStored);
    const auto own = stored ? folder / dtype : folder;
    if (!std::filesystem::exists(own / "config.json")) {
      const bool eight = dtype.ends_with("int8");
      write_stored(folder, own, eight ? nn::QuantizedFormat::int8 : nn::QuantizedFormat::int4);
    }
    if (!prepare) measure(report, own, dtype, batches, prefill);
    if (no_peers || stored || dtype == "fp32") continue;
    for (const std::string& peer : peers) {
      if (peer == "llama.cpp" || (dtype == "bf16" && !prepare)) run_peer(peer, dtype);
    }
  }
  return 0;
}

}  // namespace
}  // namespace mobula

int main(int argc, char** argv) {
  try {
    return mobula::run(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(mobula::describe(error).c_str(), stderr);
    return 1;
  }
}

// Text generation on a Llama-shaped model of random weights (0.35 B parameters), beside transformers and the machine's
// memory speed: decode_tokens_per_s, prefill_tokens_per_s, memory_read_gb_per_s.
//
//   bench_llm --json                  everything, the peers too
//   bench_llm --dtype int8 --batch 1  one figure
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "mobula/base/random.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/nn/decoder/decoder.hpp"

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
at::Tensor random_weight(std::int64_t rows, std::int64_t columns, at::ScalarType type) {
  at::Tensor tensor = at::empty({rows, columns}, at::TensorOptions().dtype(at::kFloat));
  auto* values = tensor.data_ptr<float>();
  at::parallel_for(0, rows, 1, [&](std::int64_t begin, std::int64_t end) {
    std::uint64_t state = static_cast<std::uint64_t>(begin) * 977 + 1;
    for (std::int64_t i = begin * columns; i < end * columns; ++i) {
      state = state * 6364136223846793005ULL + 1442695040888963407ULL;
      values[i] = static_cast<float>(static_cast<std::int32_t>(state >> 32)) * (0.035f / 2147483648.0f);
    }
  });
  return tensor.to(type);
}

nn::DecoderModel make_model(const Shape& shape, at::ScalarType type) {
  nn::DecoderModel model;
  model.spec = {.vocab_size = shape.vocab,
                .hidden = shape.hidden,
                .num_heads = shape.heads,
                .num_kv_heads = shape.kv_heads,
                .head_dim = shape.head_dim,
                .inner = shape.inner,
                .context = 4096};
  const auto weight = [&](std::int64_t out, std::int64_t in) {
    return nn::LinearWeights{random_weight(out, in, type), {}};
  };
  const auto norm = [&] { return nn::NormWeights{random_weight(1, shape.hidden, at::kFloat).flatten().add(1.0), {}}; };
  model.token_embedding = random_weight(shape.vocab, shape.hidden, type);
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < shape.head_dim / 2; ++i) {
    frequencies.push_back(
        static_cast<float>(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(shape.head_dim))));
  }
  for (std::int64_t i = 0; i < shape.layers; ++i) {
    nn::DecoderLayer layer;
    layer.attention_norm = norm();
    layer.qkv = {weight(shape.heads * shape.head_dim, shape.hidden),
                 weight(shape.kv_heads * shape.head_dim, shape.hidden),
                 weight(shape.kv_heads * shape.head_dim, shape.hidden)};
    layer.attention_out = weight(shape.hidden, shape.heads * shape.head_dim);
    layer.mlp_norm = norm();
    layer.gate = weight(shape.inner, shape.hidden);
    layer.up = weight(shape.inner, shape.hidden);
    layer.down = weight(shape.hidden, shape.inner);
    layer.attention_scale = 1.0 / std::sqrt(static_cast<double>(shape.head_dim));
    layer.rotary = {.dim = shape.head_dim, .frequencies = frequencies};
    model.layers.push_back(layer);
  }
  model.final_norm = norm();
  model.head = weight(shape.vocab, shape.hidden);
  return model;
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

void measure_memory(const Report& report) {
  constexpr std::int64_t kBytes = std::int64_t{1} << 29;
  const at::Tensor block = at::empty({kBytes}, at::TensorOptions().dtype(at::kByte)).fill_(1);
  const auto* words = reinterpret_cast<const std::uint64_t*>(block.const_data_ptr<std::uint8_t>());
  double best = 0;
  for (int round = 0; round < 5; ++round) {
    std::atomic<std::uint64_t> total{0};
    const double time = seconds([&] {
      at::parallel_for(0, kBytes / 8, 1, [&](std::int64_t begin, std::int64_t end) {
        std::uint64_t sums[8] = {};
        for (std::int64_t i = begin; i + 8 <= end; i += 8) {
          for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
        }
        for (const std::uint64_t sum : sums) total += sum;
      });
    });
    best = std::max(best, static_cast<double>(kBytes) / time / 1e9);
  }
  report.line("memory_read_gb_per_s", best, "GB/s", "");
}

void measure(const Report& report, const std::string& dtype, const std::vector<std::int64_t>& batches, bool prefill) {
  const Shape shape;
  const at::ScalarType type = dtype == "fp32" ? at::kFloat : at::kBFloat16;
  nn::DecoderOptions options;
  if (dtype == "int8") options.quantize = nn::WeightType::int8;
  if (dtype == "int4") options.quantize = nn::WeightType::int4;
  nn::Decoder decoder(make_model(shape, type), options);
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

int run(int argc, char** argv) {
  CLI::App app("Text generation on a Llama-shaped model of random weights");
  bool json = false, no_peers = false;
  std::vector<std::string> dtypes = {"bf16", "int8", "int4"};
  std::vector<std::int64_t> batches = {1, 8};
  bool prefill = true;
  app.add_flag("--json", json, "One JSON object a line");
  app.add_flag("--no-peers", no_peers, "Leave the peers out");
  app.add_option("--dtype", dtypes, "fp32, bf16, int8, int4");
  app.add_option("--batch", batches, "Sequences that are decoded together");
  app.add_flag("!--no-prefill", prefill, "Leave the prefill out");
  CLI11_PARSE(app, argc, argv);
  const Report report(json);
  measure_memory(report);
  for (const std::string& dtype : dtypes) measure(report, dtype, batches, prefill);
  if (no_peers) return 0;
  return Subprocess({MOBULA_PEER_PYTHON, MOBULA_PEER_SCRIPT}).wait();
}

}  // namespace
}  // namespace mobula

int main(int argc, char** argv) {
  return mobula::run(argc, argv);
}

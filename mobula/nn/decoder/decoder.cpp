#include "mobula/nn/decoder/decoder.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/decoder/quantize.hpp"
#include "mobula/nn/parallel_for.hpp"

namespace mobula::nn {
namespace {

const float* data(const Array& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

Array as_float(const Array& tensor) {
  return tensor.to(at::kFloat);
}

// Asks for the pages of the vectors that are read when a decoder is made. They lie all over a checkpoint: those that aren't in
// memory would be waited for one after the other.
void fetch_vectors(const DecoderModel& model) {
  const auto fetch = [page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE))](const Array& tensor) {
    if (!tensor.defined() || tensor.nbytes() == 0) return;
    const auto begin = reinterpret_cast<std::uintptr_t>(tensor.const_data_ptr()), first = begin / page * page;
    // Where the system has no such advice, they are waited for.
    (void)::madvise(reinterpret_cast<void*>(first), begin + tensor.nbytes() - first, MADV_WILLNEED);
  };
  const auto fetch_norm = [&](const NormWeights& norm) {
    fetch(norm.weight);
    fetch(norm.bias);
  };
  const auto fetch_matrix = [&](const LinearWeights& matrix) { fetch(matrix.bias); };
  fetch_norm(model.embedding_norm);
  for (const DecoderLayer& layer : model.layers) {
    for (const NormWeights* norm : {&layer.attention_norm, &layer.query_norm, &layer.key_norm,
                                    &layer.attention_out_norm, &layer.mlp_norm, &layer.mlp_out_norm}) {
      fetch_norm(*norm);
    }
    for (const LinearWeights& part : layer.qkv) fetch_matrix(part);
    for (const LinearWeights* matrix : {&layer.attention_out, &layer.gate, &layer.up, &layer.down}) {
      fetch_matrix(*matrix);
    }
  }
  fetch_norm(model.final_norm);
}

// Returns how many runs of outputs a thread takes at a time: some microseconds' worth of one row, and of many rows what they
// pass together.
std::int64_t runs_a_piece(std::int64_t num_rows) {
  return num_rows > 32 ? 8 : 2;
}

}  // namespace

Decoder::Decoder(DecoderModel model, const DecoderOptions& options)
    : model_(std::move(model)),
      num_threads_(options.num_threads > 0 ? options.num_threads : default_num_threads()),
      kernels_(options.kernels != nullptr ? *options.kernels : cpu_kernels()) {
  const DecoderSpec& spec = model_.spec;
  if (spec.head_dim > kMaxHeadDim) {
    throw Error(ErrorCode::unsupported,
                fmt::format("no kernel runs heads of {} numbers: {} is the most", spec.head_dim, kMaxHeadDim),
                "it runs in fp32 and bf16 alone");
  }
  for (const DecoderLayer& layer : model_.layers) {
    if (layer.rotary.dim > spec.head_dim) {
      throw_invalid(
          fmt::format("rotary embedding turns {} of a head's {} dimensions", layer.rotary.dim, spec.head_dim));
    }
  }
  fetch_vectors(model_);
  if (options.quantize) read_once_.emplace();
  layout_ = {static_cast<std::int64_t>(model_.layers.size()), spec.num_kv_heads, spec.head_dim, KvType::fp32};
  for (const DecoderLayer& layer : model_.layers) {
    Layer made;
    made.attention_norm = make_norm(layer.attention_norm);
    made.query_norm = make_norm(layer.query_norm);
    made.key_norm = make_norm(layer.key_norm);
    made.attention_out_norm = make_norm(layer.attention_out_norm);
    made.mlp_norm = make_norm(layer.mlp_norm);
    made.mlp_out_norm = make_norm(layer.mlp_out_norm);
    for (const LinearWeights& part : layer.qkv) made.qkv.push_back(make_matrix(part, options.quantize));
    made.attention_out = make_matrix(layer.attention_out, options.quantize);
    const auto make_mlp = [&](const LinearWeights& gate, const LinearWeights& up, const LinearWeights& down) {
      Mlp mlp;
      if (gate.defined()) mlp.gate = make_matrix(gate, options.quantize);
      mlp.up = make_matrix(up, options.quantize);
      mlp.down = make_matrix(down, options.quantize);
      return mlp;
    };
    if (layer.up.defined()) made.mlp = make_mlp(layer.gate, layer.up, layer.down);
    if (layer.experts) {
      const DecoderExperts& experts = *layer.experts;
      made.router = make_matrix({experts.router.weight.to(at::kFloat), experts.router.bias}, std::nullopt);
      if (experts.shared_gate.weight.defined()) {
        made.shared_gate = make_matrix({experts.shared_gate.weight.to(at::kFloat), {}}, std::nullopt);
      }
      for (std::size_t e = 0; e < experts.up.size(); ++e) {
        made.experts.push_back(
            make_mlp(experts.gate.empty() ? LinearWeights{} : experts.gate[e], experts.up[e], experts.down[e]));
      }
    }
    layers_.push_back(std::move(made));
  }
  // Beside weights in fewer bits, keys and values in full precision would only take time and memory.
  if (!layers_.empty() && layers_[0].attention_out.type != WeightType::fp32) layout_.type = KvType::bf16;
  embedding_norm_ = make_norm(model_.embedding_norm);
  final_norm_ = make_norm(model_.final_norm);
  if (model_.project_in.defined()) project_in_ = make_matrix(model_.project_in, std::nullopt);
  if (model_.project_out.defined()) project_out_ = make_matrix(model_.project_out, std::nullopt);
  head_ = make_matrix(model_.head, options.quantize ? std::optional(WeightType::int8) : std::nullopt);
  read_once_.reset();
  model_.position_embedding = as_float(model_.position_embedding);
  model_.token_embedding = model_.token_embedding;
}

Decoder::~Decoder() = default;

Decoder::Matrix Decoder::make_matrix(const LinearWeights& weights, std::optional<WeightType> quantize_to) {
  Matrix matrix;
  const std::optional<WeightType> kept = weights.quantized ? type_of(*weights.quantized) : std::nullopt;
  if (kept && quantize_to.value_or(*kept) == *kept) {
    if (const std::optional<WeightType> stored = stored_type_of(*weights.quantized)) {
      matrix.hold({weights.quantized->digits, {}, 0}, *stored);
      matrix.stored = weights.quantized;
    } else {
      matrix.hold(rearrange(*weights.quantized, pages_), *kept);
    }
  } else {
    const Array weight = weights.quantized ? weights.quantized->dequantize() : weights.weight;
    if (quantize_to) {
      matrix.hold(quantize(weight, *quantize_to, pages_, kernels_), *quantize_to);
      if (read_once_) read_once_->release(weight);
    } else {
      const bool half = weight.scalar_type() == at::kBFloat16;
      matrix.weight = weight.to(half ? at::kBFloat16 : at::kFloat);
      matrix.type = half ? WeightType::bf16 : WeightType::fp32;
    }
  }
  const std::int64_t num_out = weights.quantized ? weights.quantized->num_out : weights.weight.size(0);
  const std::int64_t num_in = weights.quantized ? weights.quantized->num_in : weights.weight.size(1);
  matrix.bias = as_float(weights.bias);
  matrix.module = weights.module;
  matrix.rows_of_module = weights.rows_of_module;
  matrix.view = {.data = matrix.weight.const_data_ptr(),
                 .scales = data(matrix.scales),
                 .stored_scales = matrix.stored ? stored_scales(*matrix.stored) : StoredScales{},
                 .bias = data(matrix.bias),
                 .num_out = num_out,
                 .num_in = num_in};
  return matrix;
}

Decoder::Norm Decoder::make_norm(const NormWeights& weights) {
  return {as_float(weights.weight), as_float(weights.bias)};
}

void Decoder::embed(std::span<const DecoderRow> rows) {
  const DecoderSpec& spec = model_.spec;
  const auto num_rows = static_cast<std::int64_t>(rows.size());
  const bool projected = project_in_.weight.defined();
  const std::int64_t width = projected ? project_in_.view.num_in : spec.hidden;
  float* x = x_.sized(num_rows * spec.hidden);
  float* embedded = projected ? normed_.sized(num_rows * width) : x;
  const auto scale = static_cast<float>(spec.embedding_scale);
  const Array& table = model_.token_embedding;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    float* out = embedded + static_cast<std::int64_t>(r) * width;
    if (table.scalar_type() == at::kBFloat16) {
      const at::BFloat16* vector = table.const_data_ptr<at::BFloat16>() + rows[r].token * width;
      for (std::int64_t i = 0; i < width; ++i) out[i] = static_cast<float>(vector[i]) * scale;
    } else {
      const Array wide = table.select(rows[r].token).to(at::kFloat);
      const float* vector = data(wide);
      for (std::int64_t i = 0; i < width; ++i) out[i] = vector[i] * scale;
    }
  }
  if (projected) multiply(embedded, num_rows, project_in_, x);
  if (model_.position_embedding.defined()) {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const float* position = data(model_.position_embedding) + rows[r].position * spec.hidden;
      float* out = x + static_cast<std::int64_t>(r) * spec.hidden;
      for (std::int64_t i = 0; i < spec.hidden; ++i) out[i] += position[i];
    }
  }
  if (embedding_norm_.weight.defined()) normalize(embedding_norm_, x, x, num_rows);
}

void Decoder::normalize(const Norm& norm, const float* x, float* out, std::int64_t num_rows) const {
  const DecoderSpec& spec = model_.spec;
  team_->run(num_rows, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* row = x + r * spec.hidden;
      if (spec.norm == NormKind::layer) {
        kernels_.layer_norm(row, data(norm.weight), data(norm.bias), spec.hidden, static_cast<float>(spec.norm_eps),
                            out + r * spec.hidden);
      } else {
        kernels_.rms_norm(row, data(norm.weight), static_cast<float>(spec.norm_offset), spec.hidden,
                          static_cast<float>(spec.norm_eps), out + r * spec.hidden);
      }
    }
  });
}

void Decoder::add_normalized(const Norm& norm, float* x, const float* addend, std::int64_t num_rows) {
  if (norm.weight.defined()) {
    float* scaled = last_.sized(num_rows * model_.spec.hidden);
    normalize(norm, addend, scaled, num_rows);
    addend = scaled;
  }
  team_->run(num_rows * model_.spec.hidden, 16384, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) x[i] += addend[i];
  });
}

void Decoder::multiply(const float* x, std::int64_t num_rows, std::span<const Matrix* const> matrices,
                       std::span<float* const> outs, std::span<const std::int64_t> strides) {
  const Matrix& first = *matrices[0];
  if (std::ranges::any_of(matrices, [&](const Matrix* matrix) { return matrix->type != first.type; })) {
    for (std::size_t m = 0; m < matrices.size(); ++m) {
      multiply(x, num_rows, matrices.subspan(m, 1), outs.subspan(m, 1), strides.subspan(m, 1));
    }
    return;
  }
  const MatmulKernel& kernel = kernels_.matmul[static_cast<int>(first.type)];
  const std::int64_t num_in = first.view.num_in;
  const std::size_t bytes = kernel.packed_bytes(num_rows, num_in);
  void* packed = packed_.sized(static_cast<std::int64_t>(bytes));
  const std::int64_t num_groups = (num_rows + kernel.pack_group - 1) / kernel.pack_group;
  const std::int64_t pack_piece = std::max<std::int64_t>(1, 4 / kernel.pack_group);
  team_->run(num_groups, pack_piece, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t row = begin * kernel.pack_group, count = std::min(end * kernel.pack_group, num_rows) - row;
    void* part = static_cast<std::byte*>(packed) + kernel.packed_bytes(row, num_in);
    kernel.pack(x + row * num_in, num_in, count, num_in, part);
  });
  // Outputs are dealt out in runs of kRun across all the matrices.
  std::int64_t num_runs = 0;
  for (const Matrix* matrix : matrices) num_runs += (matrix->view.num_out + kRun - 1) / kRun;
  team_->run(num_runs, runs_a_piece(num_rows), [&](std::int64_t begin, std::int64_t end) {
    std::int64_t passed = 0;
    for (std::size_t m = 0; m < matrices.size(); ++m) {
      const WeightView& view = matrices[m]->view;
      const std::int64_t runs = (view.num_out + kRun - 1) / kRun;
      const std::int64_t from = std::max<std::int64_t>(begin - passed, 0) * kRun;
      const std::int64_t to = std::min(std::min(end - passed, runs) * kRun, view.num_out);
      if (from < to) kernel.run(packed, num_rows, view, from, to, outs[m], strides[m]);
      passed += runs;
    }
  });
  if (row_adapters_.empty()) return;
  for (std::size_t m = 0; m < matrices.size(); ++m) apply_adapters(x, num_rows, *matrices[m], outs[m], strides[m]);
}

void Decoder::multiply(const float* x, std::int64_t num_rows, const Matrix& matrix, float* out) {
  const Matrix* const matrices[] = {&matrix};
  float* const outs[] = {out};
  const std::int64_t strides[] = {matrix.view.num_out};
  multiply(x, num_rows, matrices, outs, strides);
}

void Decoder::prepare_rotation(std::span<const DecoderRow> rows, const RotarySpec& rotary) {
  if (rotary.dim == 0) return;
  if (rotation_ != nullptr && rotation_->frequencies == rotary.frequencies &&
      rotation_->frequencies_at == rotary.frequencies_at && rotation_->amplitude == rotary.amplitude) {
    return;
  }
  rotation_ = &rotary;
  const std::int64_t half = rotary.dim / 2;
  const auto num_rows = static_cast<std::int64_t>(rows.size());
  float* cosine = cosine_.sized(num_rows * half);
  float* sine = sine_.sized(num_rows * half);
  std::vector<float> by_length;
  std::int64_t length_of_these = -1;
  for (std::int64_t r = 0; r < num_rows; ++r) {
    const DecoderRow& row = rows[static_cast<std::size_t>(r)];
    if (rotary.frequencies_at && row.rotary_length != length_of_these) {
      length_of_these = row.rotary_length;
      by_length = (*rotary.frequencies_at)(length_of_these);
    }
    const std::vector<float>& frequencies = rotary.frequencies_at ? by_length : rotary.frequencies;
    const auto position = static_cast<float>(row.position);
    for (std::int64_t i = 0; i < half; ++i) {
      const float angle = position * frequencies[static_cast<std::size_t>(i)];
      cosine[r * half + i] = std::cos(angle) * rotary.amplitude;
      sine[r * half + i] = std::sin(angle) * rotary.amplitude;
    }
  }
}

void Decoder::rotate(const RotarySpec& rotary, std::int64_t row, float* head) const {
  const std::int64_t half = rotary.dim / 2;
  const float* cosine = cosine_.data() + row * half;
  const float* sine = sine_.data() + row * half;
  for (std::int64_t i = 0; i < half; ++i) {
    float& a = rotary.interleaved ? head[2 * i] : head[i];
    float& b = rotary.interleaved ? head[2 * i + 1] : head[i + half];
    const float old = a;
    a = old * cosine[i] - b * sine[i];
    b = b * cosine[i] + old * sine[i];
  }
}

void Decoder::attention(const float* x, std::span<const DecoderRow> rows, std::size_t index) {
  const DecoderSpec& spec = model_.spec;
  const DecoderLayer& layer = model_.layers[index];
  const Layer& made = layers_[index];
  const auto num_rows = static_cast<std::int64_t>(rows.size());
  const std::int64_t query_width = spec.num_heads * spec.head_dim, kv_width = spec.num_kv_heads * spec.head_dim;
  const std::int64_t stride = query_width + 2 * kv_width;
  float* qkv = qkv_.sized(num_rows * stride);
  std::vector<const Matrix*> matrices;
  std::vector<float*> outs;
  std::vector<std::int64_t> strides;
  std::int64_t column = 0;
  for (const Matrix& matrix : made.qkv) {
    matrices.push_back(&matrix);
    outs.push_back(qkv + column);
    strides.push_back(stride);
    column += matrix.view.num_out;
  }
  multiply(x, num_rows, matrices, outs, strides);

  prepare_rotation(rows, layer.rotary);
  const auto finish_head = [&](float* head, const Norm& norm, std::int64_t row) {
    if (norm.weight.defined()) {
      kernels_.rms_norm(head, data(norm.weight), static_cast<float>(spec.norm_offset), spec.head_dim,
                        static_cast<float>(spec.norm_eps), head);
    }
    if (layer.rotary.dim > 0) rotate(layer.rotary, row, head);
  };
  team_->run(num_rows, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      float* base = qkv + r * stride;
      for (std::int64_t h = 0; h < spec.num_heads; ++h) {
        finish_head(base + h * spec.head_dim, made.query_norm, r);
      }
      for (std::int64_t h = 0; h < spec.num_kv_heads; ++h) {
        finish_head(base + query_width + h * spec.head_dim, made.key_norm, r);
      }
    }
  });
  // Positions of one sequence come in order, and the first of a block clears it: one thread a head.
  const std::int64_t write_grain = std::max<std::int64_t>(1, 128 / num_rows);
  team_->run(spec.num_kv_heads, write_grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const DecoderRow& row = rows[static_cast<std::size_t>(r)];
      const float* base = qkv + r * stride + query_width;
      for (std::int64_t h = begin; h < end; ++h) {
        row.sequence->write(layout_, row.position, static_cast<std::int64_t>(index), h, base + h * spec.head_dim,
                            base + kv_width + h * spec.head_dim);
      }
    }
  });

  float* attended = attended_.sized(num_rows * query_width);
  // With ALiBi every query head has a slope of its own.
  const std::int64_t group = layer.alibi_slopes.empty() ? spec.num_heads / spec.num_kv_heads : 1;
  const std::int64_t num_groups = spec.num_heads / group;
  // Rows of one text that follow one another read its keys and values together. Dealt out group by group: later rows see
  // more, so threads that shared the rows would wait for one another.
  constexpr std::int64_t kMaxRun = 64;
  runs_.clear();
  for (std::int64_t r = 0; r < num_rows; ++r) {
    const DecoderRow& row = rows[static_cast<std::size_t>(r)];
    if (!runs_.empty() && r - runs_.back() < kMaxRun) {
      const DecoderRow& before = rows[static_cast<std::size_t>(r - 1)];
      if (before.sequence == row.sequence && before.position + 1 == row.position) continue;
    }
    runs_.push_back(r);
  }
  const auto num_runs = static_cast<std::int64_t>(runs_.size());
  team_->run(num_runs * num_groups, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t run = item % num_runs, head = item / num_runs * group;
      const std::int64_t r = runs_[static_cast<std::size_t>(run)];
      const DecoderRow& row = rows[static_cast<std::size_t>(r)];
      AttentionTask task;
      task.query = qkv + r * stride + head * spec.head_dim;
      task.out = attended + r * query_width + head * spec.head_dim;
      task.num_rows = (run + 1 < num_runs ? runs_[static_cast<std::size_t>(run + 1)] : num_rows) - r;
      task.query_stride = stride;
      task.out_stride = query_width;
      task.num_query_heads = group;
      task.head_dim = spec.head_dim;
      task.scale = static_cast<float>(layer.attention_scale);
      task.softcap = static_cast<float>(spec.attention_softcap);
      if (!layer.alibi_slopes.empty()) task.alibi_slope = layer.alibi_slopes[static_cast<std::size_t>(head)];
      task.type = layout_.type;
      task.blocks = row.sequence->blocks();
      task.offset = layout_.offset(static_cast<std::int64_t>(index), head * spec.num_kv_heads / spec.num_heads);
      task.last = row.position;
      task.window = layer.window;
      kernels_.attend(task);
    }
  });
  multiply(attended, num_rows, made.attention_out, out_.sized(num_rows * spec.hidden));
}

void Decoder::run_mlp(const Mlp& mlp, const float* x, std::int64_t num_rows, float* out) {
  const Activation activation = model_.spec.activation;
  const std::int64_t inner = mlp.up.view.num_out;
  float* up = inner_.sized(num_rows * inner);
  if (mlp.gate.weight.defined()) {
    float* gate = gate_.sized(num_rows * inner);
    const Matrix* const matrices[] = {&mlp.gate, &mlp.up};
    float* const outs[] = {gate, up};
    const std::int64_t strides[] = {inner, inner};
    multiply(x, num_rows, matrices, outs, strides);
    team_->run(num_rows * inner, 16384, [&](std::int64_t begin, std::int64_t end) {
      kernels_.activate(activation, gate + begin, end - begin);
      for (std::int64_t i = begin; i < end; ++i) up[i] *= gate[i];
    });
  } else {
    multiply(x, num_rows, mlp.up, up);
    team_->run(num_rows * inner, 16384,
               [&](std::int64_t begin, std::int64_t end) { kernels_.activate(activation, up + begin, end - begin); });
  }
  multiply(up, num_rows, mlp.down, out);
}

void Decoder::mlp(const float* x, std::size_t index, std::int64_t num_rows) {
  const Layer& made = layers_[index];
  const std::int64_t hidden = model_.spec.hidden;
  float* out = mlp_out_.sized(num_rows * hidden);
  if (made.mlp.up.weight.defined()) {
    run_mlp(made.mlp, x, num_rows, out);
  } else {
    std::fill_n(out, num_rows * hidden, 0.0f);
  }
  if (made.shared_gate.weight.defined()) {
    float* share = router_.sized(num_rows);
    multiply(x, num_rows, made.shared_gate, share);
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const float factor = 1.0f / (1.0f + std::exp(-share[r]));
      for (std::int64_t i = 0; i < hidden; ++i) out[r * hidden + i] *= factor;
    }
  }
  if (!made.experts.empty()) add_experts(x, index, num_rows, out);
}

void Decoder::add_experts(const float* x, std::size_t index, std::int64_t num_rows, float* out) {
  const Layer& made = layers_[index];
  const DecoderExperts& spec = *model_.layers[index].experts;
  const std::int64_t hidden = model_.spec.hidden;
  const auto num_experts = static_cast<std::int64_t>(made.experts.size());
  float* scores = router_.sized(num_rows * num_experts);
  multiply(x, num_rows, made.router, scores);
  struct Share {
    std::int64_t row;
    float weight;
  };
  std::vector<std::vector<Share>> shares(made.experts.size());
  std::vector<std::int64_t> order(made.experts.size());
  for (std::int64_t r = 0; r < num_rows; ++r) {
    float* row = scores + r * num_experts;
    const float top = *std::max_element(row, row + num_experts);
    float total = 0;
    for (std::int64_t e = 0; e < num_experts; ++e) total += row[e] = std::exp(row[e] - top);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [row](std::int64_t a, std::int64_t b) { return row[a] > row[b]; });
    if (spec.normalize) {
      total = 0;
      for (std::int64_t k = 0; k < spec.num_chosen; ++k) total += row[order[static_cast<std::size_t>(k)]];
    }
    for (std::int64_t k = 0; k < spec.num_chosen; ++k) {
      const std::int64_t e = order[static_cast<std::size_t>(k)];
      shares[static_cast<std::size_t>(e)].push_back({r, row[e] / total});
    }
  }
  // Experts come in their own order, so that a row's sum doesn't depend on the rows beside it.
  for (std::size_t e = 0; e < shares.size(); ++e) {
    if (shares[e].empty()) continue;
    const auto count = static_cast<std::int64_t>(shares[e].size());
    float* in = expert_in_.sized(count * hidden);
    float* result = expert_out_.sized(count * hidden);
    for (std::int64_t i = 0; i < count; ++i) {
      std::copy_n(x + shares[e][static_cast<std::size_t>(i)].row * hidden, hidden, in + i * hidden);
    }
    std::vector<int> all_adapters;
    if (!row_adapters_.empty()) {
      for (const Share& share : shares[e]) all_adapters.push_back(row_adapters_[static_cast<std::size_t>(share.row)]);
      std::swap(all_adapters, row_adapters_);
    }
    run_mlp(made.experts[e], in, count, result);
    if (!row_adapters_.empty()) std::swap(all_adapters, row_adapters_);
    for (std::int64_t i = 0; i < count; ++i) {
      const Share& share = shares[e][static_cast<std::size_t>(i)];
      for (std::int64_t c = 0; c < hidden; ++c) out[share.row * hidden + c] += share.weight * result[i * hidden + c];
    }
  }
}

void Decoder::release_rows() noexcept {
  for (AlignedBuffer<float>* buffer :
       {&x_, &normed_, &qkv_, &attended_, &inner_, &gate_, &out_, &mlp_out_, &last_, &logits_, &router_, &expert_in_,
        &expert_out_, &cosine_, &sine_, &adapter_in_, &adapter_base_, &adapter_inner_, &adapter_out_}) {
    buffer->release();
  }
  packed_.release();
}

std::span<const float> Decoder::forward(std::span<const DecoderRow> rows) {
  const DecoderSpec& spec = model_.spec;
  const auto num_rows = static_cast<std::int64_t>(rows.size());
  for (const DecoderRow& row : rows) row.sequence->reserve(layout_, row.position + 1);
  if (team_ == nullptr) team_ = std::make_unique<ThreadTeam>(num_threads_);
  // A prompt's rows take tens of megabytes, which the tokens after it don't need.
  if (has_many_rows_ && num_rows <= kManyRows) release_rows();
  has_many_rows_ = num_rows > kManyRows;
  rotation_ = nullptr;
  row_adapters_.clear();
  if (std::ranges::any_of(rows, [](const DecoderRow& row) { return row.adapter >= 0; })) {
    for (const DecoderRow& row : rows) row_adapters_.push_back(row.adapter);
  }
  embed(rows);
  float* x = x_.data();
  float* normed = normed_.sized(num_rows * spec.hidden);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const auto add_attention = [&] { add_normalized(layer.attention_out_norm, x, out_.data(), num_rows); };
    const auto add_mlp = [&] { add_normalized(layer.mlp_out_norm, x, mlp_out_.data(), num_rows); };
    switch (spec.residual) {
      case Residual::input:
        normalize(layer.attention_norm, x, normed, num_rows);
        attention(normed, rows, i);
        add_attention();
        normalize(layer.mlp_norm, x, normed, num_rows);
        mlp(normed, i, num_rows);
        add_mlp();
        break;
      case Residual::shared:
        normalize(layer.attention_norm, x, normed, num_rows);
        attention(normed, rows, i);
        // The MLP reads x before attention is added, through its own norm or attention's.
        if (layer.mlp_norm.weight.defined()) normalize(layer.mlp_norm, x, normed, num_rows);
        mlp(normed, i, num_rows);
        add_attention();
        add_mlp();
        break;
      case Residual::normed:
        normalize(layer.attention_norm, x, x, num_rows);
        attention(x, rows, i);
        add_attention();
        normalize(layer.mlp_norm, x, x, num_rows);
        mlp(x, i, num_rows);
        add_mlp();
        break;
      case Residual::sum_norm:
        attention(x, rows, i);
        add_attention();
        normalize(layer.attention_norm, x, x, num_rows);
        mlp(x, i, num_rows);
        add_mlp();
        normalize(layer.mlp_norm, x, x, num_rows);
        break;
    }
  }
  std::int64_t wanted = 0;
  for (std::int64_t r = 0; r < num_rows; ++r) {
    if (!rows[static_cast<std::size_t>(r)].wants_logits) continue;
    if (!row_adapters_.empty()) {
      row_adapters_[static_cast<std::size_t>(wanted)] = row_adapters_[static_cast<std::size_t>(r)];
    }
    std::copy_n(x + r * spec.hidden, spec.hidden, normed + wanted++ * spec.hidden);
  }
  if (wanted == 0) return {};
  if (spec.has_final_norm) normalize(final_norm_, normed, normed, wanted);
  const float* last = normed;
  if (project_out_.weight.defined()) {
    float* narrow = last_.sized(wanted * project_out_.view.num_out);
    multiply(normed, wanted, project_out_, narrow);
    last = narrow;
  }
  float* logits = logits_.sized(wanted * spec.vocab_size);
  multiply(last, wanted, head_, logits);
  if (spec.logit_scale != 1.0) {
    for (std::int64_t i = 0; i < wanted * spec.vocab_size; ++i) logits[i] *= static_cast<float>(spec.logit_scale);
  }
  if (spec.logit_softcap > 0) {
    const auto cap = static_cast<float>(spec.logit_softcap);
    for (std::int64_t i = 0; i < wanted * spec.vocab_size; ++i) logits[i] = cap * std::tanh(logits[i] / cap);
  }
  return {logits, static_cast<std::size_t>(wanted * spec.vocab_size)};
}

}  // namespace mobula::nn

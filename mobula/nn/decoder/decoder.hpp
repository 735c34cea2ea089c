/// Runs a DecoderModel on rows of tokens that may belong to many sequences at many positions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "mobula/nn/decoder/cpu_kernels.hpp"
#include "mobula/nn/decoder/kv_cache.hpp"
#include "mobula/nn/decoder/spec.hpp"

namespace mobula::nn {

/// One token to be read.
struct DecoderRow {
  TokenId token = 0;
  std::int64_t position = 0;
  KvSequence* sequence = nullptr;  ///< holds all earlier positions, or they stand earlier in the same call
  bool wants_logits = false;
  std::span<const TokenId> text = {};  ///< the whole sequence so far; read by WholeSequenceDecoder alone
};

struct DecoderOptions {
  const CpuKernels* kernels = nullptr;  ///< null: those of this machine
  /// int8 or int4: rounds the weight matrices when the decoder is made. The head keeps at least 8 bits, embeddings and
  /// norms their own type.
  std::optional<WeightType> quantize;
};

/// Computes next-token scores step by step. A row's result doesn't depend on the rows beside it, bit for bit. Keeps the
/// model's tensors alive. Not thread-safe; uses libtorch's threads.
class Decoder {
 public:
  /// Throws Error(unsupported) for shapes that the kernels can't run.
  explicit Decoder(DecoderModel model, const DecoderOptions& options = {});
  ~Decoder();

  const DecoderSpec& spec() const noexcept { return model_.spec; }
  const KvLayout& layout() const noexcept { return layout_; }

  /// Reads the rows, extends their sequences' caches, and returns the scores of those that want them: one row of
  /// vocab_size floats each, in order, valid until the next call.
  std::span<const float> forward(std::span<const DecoderRow> rows);

 private:
  struct Matrix {
    WeightView view;
    WeightType type = WeightType::fp32;
    at::Tensor weight, scales, bias;  // keep the memory alive
  };
  struct Norm {
    at::Tensor weight, bias;  // fp32, contiguous
  };
  struct Mlp {
    Matrix gate, up, down;  // gate undefined: none; up undefined: no MLP
  };
  struct Layer {
    Norm attention_norm, query_norm, key_norm, attention_out_norm, mlp_norm, mlp_out_norm;
    std::vector<Matrix> qkv;
    Matrix attention_out;
    Mlp mlp;
    Matrix router, shared_gate;
    std::vector<Mlp> experts;
  };

  static Matrix make_matrix(const LinearWeights& weights, std::optional<WeightType> quantize);
  static Norm make_norm(const NormWeights& weights);
  void embed(std::span<const DecoderRow> rows);
  void normalize(const Norm& norm, const float* x, float* out, std::int64_t num_rows) const;
  void add_normalized(const Norm& norm, float* x, const float* addend, std::int64_t num_rows);
  /// Multiplies `num_rows` rows of x by each matrix; matrix i writes to outs[i].
  void multiply(const float* x, std::int64_t num_rows, std::span<const Matrix* const> matrices,
                std::span<float* const> outs, std::span<const std::int64_t> strides);
  void multiply(const float* x, std::int64_t num_rows, const Matrix& matrix, float* out);
  void attention(std::span<const DecoderRow> rows, std::size_t index);
  /// Computes cosines and sines of every row's position, unless those of the last call serve.
  void prepare_rotation(std::span<const DecoderRow> rows, const RotarySpec& rotary);
  void rotate(const RotarySpec& rotary, std::int64_t row, float* head) const;
  void run_mlp(const Mlp& mlp, const float* x, std::int64_t num_rows, float* out);
  /// Writes what the layer's MLP or experts add to mlp_out_.
  void mlp(const float* x, std::size_t index, std::int64_t num_rows);
  void add_experts(const float* x, std::size_t index, std::int64_t num_rows, float* out);

  DecoderModel model_;
  const CpuKernels& kernels_;
  KvLayout layout_;
  std::vector<Layer> layers_;
  Norm embedding_norm_, final_norm_;
  Matrix head_;
  std::vector<float> x_, normed_, qkv_, attended_, inner_, gate_, out_, mlp_out_, last_, logits_;
  std::vector<float> router_, expert_in_, expert_out_;
  std::vector<float> cosine_, sine_;      // [row][dim / 2]
  const RotarySpec* rotation_ = nullptr;  // what they are of, in this call of forward()
  std::vector<std::byte> packed_;
};

}  // namespace mobula::nn

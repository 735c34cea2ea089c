/// Runs a DecoderModel on rows of tokens that may belong to many sequences at many positions.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/decoder/aligned_buffer.hpp"
#include "mobula/nn/decoder/cpu_kernels.hpp"
#include "mobula/nn/decoder/kv_cache.hpp"
#include "mobula/nn/decoder/mapped_pages.hpp"
#include "mobula/nn/decoder/quantize.hpp"
#include "mobula/nn/decoder/spec.hpp"
#include "mobula/nn/decoder/thread_team.hpp"

namespace mobula::nn {

/// One token to be read.
struct DecoderRow {
  TokenId token = 0;
  std::int64_t position = 0;
  KvSequence* sequence = nullptr;  ///< holds all earlier positions, or they stand earlier in the same call
  bool wants_logits = false;
  std::int64_t rotary_length = 1;      ///< Decoder::rotary_length of the text's length; one for all of its rows
  int adapter = -1;                    ///< what Decoder::add_adapter returned; -1: none
  std::span<const TokenId> text = {};  ///< the whole sequence so far; read by WholeSequenceDecoder alone
};

struct DecoderOptions {
  const CpuKernels* kernels = nullptr;  ///< null: those of this machine
  /// int8 or int4: rounds the weight matrices when the decoder is made. The head keeps at least 8 bits; embeddings, their
  /// projections and norms keep their own type. What is quantized that way already stays as it is; without a value, all that is quantized
  /// does (NF4 becomes the type that it stands for).
  std::optional<WeightType> quantize;
  int num_threads = 0;  ///< that compute; 0: default_num_threads()
};

/// Computes next-token scores step by step. A row's result doesn't depend on the rows beside it, bit for bit. Keeps the
/// model's arrays alive. Not thread-safe; has threads of its own.
class Decoder {
 public:
  /// Throws Error(unsupported) for shapes that the kernels can't run.
  explicit Decoder(DecoderModel model, const DecoderOptions& options = {});
  ~Decoder();

  const DecoderSpec& spec() const noexcept { return model_.spec; }
  const KvLayout& layout() const noexcept { return layout_; }

  /// Returns the shortest length whose texts turn their positions by the same angles as those of `length`. Keys kept under
  /// another answer are worthless.
  std::int64_t rotary_length(std::int64_t length) const {
    return model_.rotary_length ? model_.rotary_length(length) : 1;
  }

  /// Adds an adapter that rows may name; returns its number, counted from 0. The base's weights stay as they are, and rows
  /// with other adapters and without any run beside one another. Throws Error(invalid_argument) for a module that the
  /// model lacks or a shape that doesn't fit, Error(unsupported) for what only merging does: changed embeddings and
  /// replaced parameters.
  int add_adapter(const Adapter& adapter);

  /// Reads the rows, extends their sequences' caches, and returns the scores of those that want them: one row of
  /// vocab_size floats each, in order, valid until the next call.
  std::span<const float> forward(std::span<const DecoderRow> rows);

 private:
  /// What an adapter does to one matrix: y = f · (W(g · x) + s · B(A(x))) + bias; without LoRA, f scales the bias too.
  struct MatrixAdapter {
    Array a, b;            // fp32; undefined: no LoRA
    float scale = 1.0f;    // s
    Array output_factors;  // f; undefined: 1
    Array input_factors;   // g; undefined: 1
  };
  struct Matrix {
    WeightView view;
    WeightType type = WeightType::fp32;
    Array weight, scales, bias;                     // keep the memory alive
    std::shared_ptr<const QuantizedMatrix> stored;  // where the weights are read as the checkpoint has them
    std::string module;
    std::function<Array(const Array&)> rows_of_module;
    std::vector<std::optional<MatrixAdapter>> adapters;  // by number; may be shorter than that of all

    void hold(QuantizedWeight&& quantized, WeightType as) {
      weight = std::move(quantized.data);
      scales = std::move(quantized.scales);
      type = as;
    }
  };
  struct Norm {
    Array weight, bias;  // fp32, contiguous
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

  Matrix make_matrix(const LinearWeights& weights, std::optional<WeightType> quantize);
  /// Returns the numbers [out, in] that the matrix stands for.
  static Array numbers_of(const Matrix& matrix);
  static Norm make_norm(const NormWeights& weights);
  void embed(std::span<const DecoderRow> rows);
  void normalize(const Norm& norm, const float* x, float* out, std::int64_t num_rows) const;
  void add_normalized(const Norm& norm, float* x, const float* addend, std::int64_t num_rows);
  /// Multiplies `num_rows` rows of x by each matrix; matrix i writes to outs[i].
  void multiply(const float* x, std::int64_t num_rows, std::span<const Matrix* const> matrices,
                std::span<float* const> outs, std::span<const std::int64_t> strides);
  void multiply(const float* x, std::int64_t num_rows, const Matrix& matrix, float* out);
  /// Multiplies packed rows by outputs of one matrix, which all threads share.
  void run_matrix(WeightType type, const WeightView& view, const float* x, std::int64_t num_rows, float* out);
  /// Adds to `out`, the matrix's results, what the rows' adapters change.
  void apply_adapters(const float* x, std::int64_t num_rows, const Matrix& matrix, float* out, std::int64_t stride);
  void apply_adapter(const MatrixAdapter& adapter, const float* x, std::span<const std::int64_t> rows,
                     const Matrix& matrix, float* out, std::int64_t stride);
  void for_each_matrix(const std::function<void(Matrix&)>& visit);
  /// Writes what the layer's attention over x adds to out_.
  void attention(const float* x, std::span<const DecoderRow> rows, std::size_t index);
  /// Computes cosines and sines of every row's position, unless those of the last call serve.
  void prepare_rotation(std::span<const DecoderRow> rows, const RotarySpec& rotary);
  void rotate(const RotarySpec& rotary, std::int64_t row, float* head) const;
  void run_mlp(const Mlp& mlp, const float* x, std::int64_t num_rows, float* out);
  /// Writes what the layer's MLP or experts add to mlp_out_.
  void mlp(const float* x, std::size_t index, std::int64_t num_rows);
  void add_experts(const float* x, std::size_t index, std::int64_t num_rows, float* out);

  /// Gives the memory of a step's rows back.
  void release_rows() noexcept;

  static constexpr std::int64_t kRun = 32;       // outputs that are dealt out together
  static constexpr std::int64_t kManyRows = 64;  // after a step of more, a step of fewer gives memory back

  DecoderModel model_;
  int num_threads_;
  std::unique_ptr<ThreadTeam> team_;      // from the first call of forward() on
  HugePages pages_;                       // of what isn't mapped
  std::optional<MappedPages> read_once_;  // while matrices are rounded
  const CpuKernels& kernels_;
  KvLayout layout_;
  std::vector<Layer> layers_;
  Norm embedding_norm_, final_norm_;
  Matrix project_in_, project_out_, head_;
  AlignedBuffer<float> x_, normed_, qkv_, attended_, inner_, gate_, out_, mlp_out_, last_, logits_;
  AlignedBuffer<float> router_, expert_in_, expert_out_;
  AlignedBuffer<float> cosine_, sine_;    // [row][dim / 2]
  const RotarySpec* rotation_ = nullptr;  // what they are of, in this call of forward()
  AlignedBuffer<std::byte> packed_;
  std::vector<std::int64_t> runs_;  // where rows of one text that follow one another begin
  bool has_many_rows_ = false;      // there is memory for more than kManyRows rows
  int num_adapters_ = 0;
  std::vector<int> row_adapters_;  // of the rows at hand; empty: none has one
  AlignedBuffer<float> adapter_in_, adapter_base_, adapter_inner_, adapter_out_;
};

}  // namespace mobula::nn

/// The arithmetic of decoding on CPUs, compiled for several instruction sets and chosen at run time.
///
/// Every result depends on its own row and its own weights only, added up in an order that neither the number of rows nor
/// the number of threads changes: a request gets the same bits alone and in a batch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "mobula/nn/layers/activation_kind.hpp"

namespace mobula::nn {

/// int8 and int4 hold groups of kQuantGroup inputs with one scale each; x is rounded to 8 bits in the same groups, and the
/// products within a group are exact. The stored ones are the same numbers in a checkpoint's order.
enum class WeightType { fp32, bf16, int8, int4, stored_int8, stored_int4 };
inline constexpr int kNumWeightTypes = 6;
inline constexpr std::int64_t kQuantGroup = 64;

/// What a checkpoint keeps scales as.
enum class ScaleType { fp32, bf16, fp16 };

/// The scales of a stored matrix as they lie in its checkpoint: output after output, one a run of `groups_each` groups.
struct StoredScales {
  const void* data = nullptr;
  ScaleType type = ScaleType::fp32;
  std::int64_t num_runs = 0;  ///< of an output
  std::int64_t groups_each = 1;
};

/// A weight matrix as kernels see it: `num_out` rows of `num_in` numbers, one after the other. int8 and int4 lie in blocks of
/// 16 outputs (the last one filled up), a block in groups, a group in vectors of four inputs of each output: int8 as bytes of
/// 128 + value, int4 as 8 + value, inputs 0..31 of a group in the low halves of the bytes and 32..63 in the high ones. stored_int8
/// and stored_int4 lie output after output, bytes of 128 + value or two numbers 8 + value, the first in the low half; their
/// inputs are a multiple of kQuantGroup and their outputs one of 16, and their scales are those of the checkpoint.
struct WeightView {
  const void* data = nullptr;
  const float* scales = nullptr;  ///< of int8 and int4: block after block, group after group, 16 each
  StoredScales stored_scales = {};
  const float* bias = nullptr;  ///< num_out numbers, or null
  std::int64_t num_out = 0;
  std::int64_t num_in = 0;
};

/// y = x · Wᵀ + bias in two steps: the rows of x are packed once, then any range of outputs can be computed.
struct MatmulKernel {
  /// Rows may be packed by several threads in groups of so many: those from row r on go to packed_bytes(r, num_in).
  std::int64_t pack_group = 1;
  /// Returns the bytes that packing `num_rows` rows takes.
  std::size_t (*packed_bytes)(std::int64_t num_rows, std::int64_t num_in) = nullptr;
  /// Packs rows of `x`, each `stride` floats after the last.
  void (*pack)(const float* x, std::int64_t stride, std::int64_t num_rows, std::int64_t num_in, void* packed) = nullptr;
  /// Writes outputs [begin, end) of every row to `y`, rows `y_stride` floats apart; `begin` is a multiple of 16.
  void (*run)(const void* packed, std::int64_t num_rows, const WeightView& weight, std::int64_t begin, std::int64_t end,
              float* y, std::int64_t y_stride) = nullptr;
};

/// What keys and values are kept as.
enum class KvType { fp32, bf16 };
/// Positions that one block of the key-value cache holds.
inline constexpr std::int64_t kKvBlock = 32;
inline constexpr std::int64_t kMaxHeadDim = 512;

/// Positions of one sequence that follow one another, and one key-value head with the query heads that share it.
///
/// A head's part of a block is keys, then values, 32 * padded head_dim numbers each (padded to a multiple of 16); the next head's
/// follows. fp32: keys [dimension][position], values [position][dimension]. bf16: pairs that lie together, keys [dimension / 2]
/// [position][2], values [position / 2][dimension][2]; what is padded or was never written is 0.
struct AttentionTask {
  const float* query = nullptr;  ///< of the first row: head after head, head_dim floats each
  float* out = nullptr;          ///< as `query`
  std::int64_t num_rows = 1;
  std::int64_t query_stride = 0;  ///< floats from one row's query to the next one's
  std::int64_t out_stride = 0;
  std::int64_t num_query_heads = 1;
  std::int64_t head_dim = 0;
  float scale = 1.0f;
  float softcap = 0.0f;      ///< scores become softcap * tanh(score / softcap); 0: left as they are
  float alibi_slope = 0.0f;  ///< added per position of distance (negated); of the first query head
  KvType type = KvType::fp32;
  const void* const* blocks = nullptr;  ///< the sequence's cache blocks, of numbers of `type`
  std::int64_t offset = 0;              ///< at which number of a block this layer and head begin
  std::int64_t last = 0;    ///< the first row's own position, the last one it sees; the next row's is the next
  std::int64_t window = 0;  ///< a row sees this many positions, its own included; 0: all

  /// Returns the last position that a row sees, and the first.
  std::int64_t last_of(std::int64_t row) const { return last + row; }
  std::int64_t first_of(std::int64_t row) const {
    const std::int64_t first = window > 0 ? last + row - window + 1 : 0;
    return first > 0 ? first : 0;
  }
};

/// Rounds up to 16 outputs of `num_in` weights each, bfloat16 or fp32, to the nearest multiples of one scale a group: the largest
/// magnitude over 127 (int8), or the largest value over -8 (int4, so that it is met exactly). `data` and `scales` get one block
/// as WeightView says; a group with a number that isn't finite has a scale of NaN.
using RoundBlock = void (*)(const void* weights, bool half, std::int64_t num_outs, std::int64_t num_in,
                            std::uint8_t* data, float* scales);

struct CpuKernels {
  std::string_view name;
  MatmulKernel matmul[kNumWeightTypes];
  RoundBlock round_to_int8, round_to_int4;
  void (*attend)(const AttentionTask& task);
  /// Normalises one row of n floats; `weight` and `bias` may be null. `out` may be `x`.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, std::int64_t n, float eps, float* out);
  /// x / sqrt(mean(x²) + eps) * (weight + offset).
  void (*rms_norm)(const float* x, const float* weight, float offset, std::int64_t n, float eps, float* out);
  void (*activate)(Activation activation, float* x, std::int64_t n);
  /// Returns log(sum(exp(x))).
  double (*log_sum_exp)(const float* x, std::int64_t n);
};

/// Returns the kernels for this machine: the first of amx, avx512, avx2, baseline that it can run, or the one that
/// $MOBULA_CPU_KERNELS names. Throws Error(invalid_argument) for a name the machine can't run.
const CpuKernels& cpu_kernels();

/// Returns the kernels of that name, or null where this machine can't run them.
const CpuKernels* find_cpu_kernels(std::string_view name);

}  // namespace mobula::nn

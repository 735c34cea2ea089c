// Causal attention of one head, a block of queries at a time: a block's scores stay in the cache, and keys
// beyond the block are never touched. Included by simd_kernels.inl only.

constexpr std::int64_t kQueryBlock = 32;

MOBULA_INLINE std::int64_t padded(std::int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

std::int64_t attention_scratch(const AttentionHead& head) {
  return padded(head.positions) * (2 * head.head_width + 2 * kQueryBlock);
}

MOBULA_INLINE Vi positions_from(std::int64_t j) {
  std::int32_t numbers[kLanes];
  for (std::int64_t i = 0; i < kLanes; ++i) numbers[i] = static_cast<std::int32_t>(j + i);
  Vi v;
  __builtin_memcpy(&v, numbers, sizeof v);
  return v;
}

// rows [T, d] at a stride -> columns [d, padded T], zeros beyond T.
MOBULA_INLINE void transpose_rows(const AttentionHead& head, const float* in, float* out) {
  const std::int64_t ld = padded(head.positions);
  transpose(head.positions, head.head_width, in, head.qkv_stride, out, ld);
  for (std::int64_t i = 0; i < head.head_width; ++i) {
    for (std::int64_t j = head.positions; j < ld; ++j) out[i * ld + j] = 0;
  }
}

void attention(const AttentionHead& head, const float* q, const float* k, const float* v, float* out, float* log_sum,
               float* scratch) {
  const std::int64_t num_keys = padded(head.positions);
  const std::int64_t d = head.head_width;
  float* keys = scratch;
  float* weights = keys + num_keys * d;
  transpose_rows(head, k, keys);
  const Vi lane = positions_from(0);
  for (std::int64_t begin = 0; begin < head.positions; begin += kQueryBlock) {
    const std::int64_t rows = smaller(kQueryBlock, head.positions - begin);
    const std::int64_t columns = begin + rows;
    gemm_as<false>(rows, padded(columns), d, q + begin * head.qkv_stride, head.qkv_stride, keys, num_keys, weights,
                   num_keys, false);
    for (std::int64_t r = 0; r < rows; ++r) {
      float* row = weights + r * num_keys;
      const std::int32_t last = static_cast<std::int32_t>(begin + r);
      Vf highest = broadcast(-3.0e38f);
      for (std::int64_t j = 0; j < columns; j += kLanes) {
        const Vi at = lane + static_cast<std::int32_t>(j);
        const Vf score = at <= last ? load(row + j) * head.scale : broadcast(-3.0e38f);
        store(row + j, score);
        highest = max(highest, score);
      }
      const float top = max_lanes(highest);
      Vf total = {};
      for (std::int64_t j = 0; j < columns; j += kLanes) {
        const Vi at = lane + static_cast<std::int32_t>(j);
        const Vf e = at <= last ? exponential(load(row + j) - top) : Vf{};
        store(row + j, e);
        total += e;
      }
      const float sum = sum_lanes(total);
      const float inverse = 1.0f / sum;
      for (std::int64_t j = 0; j < columns; j += kLanes) store(row + j, load(row + j) * inverse);
      log_sum[begin + r] = top + __builtin_logf(sum);
    }
    gemm_as<false>(rows, d, columns, weights, num_keys, v, head.qkv_stride, out + begin * head.out_stride,
                   head.out_stride, false);
  }
}

void attention_backward(const AttentionHead& head, const float* q, const float* k, const float* v, const float* dout,
                        const float* log_sum, float* dq, float* dk, float* dv, float* scratch) {
  const std::int64_t num_keys = padded(head.positions);
  const std::int64_t d = head.head_width;
  float* keys = scratch;
  float* values = keys + num_keys * d;
  float* weights = values + num_keys * d;
  float* grads = weights + num_keys * kQueryBlock;
  transpose_rows(head, k, keys);
  transpose_rows(head, v, values);
  const Vi lane = positions_from(0);
  const std::int64_t num_blocks = (head.positions + kQueryBlock - 1) / kQueryBlock;
  // The last block sees every key, so that it sets dk and dv and the others add to them.
  for (std::int64_t block = num_blocks - 1; block >= 0; --block) {
    const std::int64_t begin = block * kQueryBlock;
    const std::int64_t rows = smaller(kQueryBlock, head.positions - begin);
    const std::int64_t columns = begin + rows;
    const bool add = block + 1 < num_blocks;
    const float* queries = q + begin * head.qkv_stride;
    const float* out_grads = dout + begin * head.out_stride;
    gemm_as<false>(rows, padded(columns), d, queries, head.qkv_stride, keys, num_keys, weights, num_keys, false);
    gemm_as<false>(rows, padded(columns), d, out_grads, head.out_stride, values, num_keys, grads, num_keys, false);
    for (std::int64_t r = 0; r < rows; ++r) {
      float* row = weights + r * num_keys;
      float* grad = grads + r * num_keys;
      const std::int32_t last = static_cast<std::int32_t>(begin + r);
      Vf dots = {};
      for (std::int64_t j = 0; j < columns; j += kLanes) {
        const Vi at = lane + static_cast<std::int32_t>(j);
        const Vf weight = at <= last ? exponential(load(row + j) * head.scale - log_sum[begin + r]) : Vf{};
        store(row + j, weight);
        dots += weight * load(grad + j);
      }
      const float dot = sum_lanes(dots);
      for (std::int64_t j = 0; j < columns; j += kLanes) {
        store(grad + j, load(row + j) * (load(grad + j) - dot) * head.scale);
      }
    }
    gemm_as<true>(columns, d, rows, weights, num_keys, out_grads, head.out_stride, dv, head.qkv_stride, add);
    gemm_as<true>(columns, d, rows, grads, num_keys, queries, head.qkv_stride, dk, head.qkv_stride, add);
    gemm_as<false>(rows, d, columns, grads, num_keys, k, head.qkv_stride, dq + begin * head.qkv_stride, head.qkv_stride,
                   false);
  }
}

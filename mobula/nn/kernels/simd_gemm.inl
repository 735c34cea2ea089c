// Matrix products out of register tiles: rows of A are broadcast against whole vectors of B, so that neither
// operand needs packing while B's panel of one depth block stays in the first-level cache. Included by
// simd_kernels.inl only.

constexpr std::int64_t kDepthBlock = 128;
constexpr std::int64_t kRowBlock = 768;

template <int Rows, int Vectors, bool Transposed>
MOBULA_INLINE void tile(std::int64_t k, const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float* c,
                        std::int64_t ldc, bool accumulate) {
  Vf sums[Rows][Vectors];
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < Vectors; ++j) sums[i][j] = accumulate ? load(c + i * ldc + j * kLanes) : Vf{};
  }
  for (std::int64_t p = 0; p < k; ++p) {
    Vf right[Vectors];
#pragma GCC unroll 16
    for (int j = 0; j < Vectors; ++j) right[j] = load(b + p * ldb + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < Rows; ++i) {
      const Vf left = broadcast(Transposed ? a[p * lda + i] : a[i * lda + p]);
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) sums[i][j] += left * right[j];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < Vectors; ++j) store(c + i * ldc + j * kLanes, sums[i][j]);
  }
}

// One function a tile's shape, so that the rows left over choose theirs by number.
template <int Rows, int Vectors, bool Transposed>
void tile_rows(std::int64_t rows, std::int64_t k, const float* a, std::int64_t lda, const float* b, std::int64_t ldb,
               float* c, std::int64_t ldc, bool accumulate) {
  if (rows == Rows) {
    tile<Rows, Vectors, Transposed>(k, a, lda, b, ldb, c, ldc, accumulate);
  } else if constexpr (Rows > 1) {
    tile_rows<Rows - 1, Vectors, Transposed>(rows, k, a, lda, b, ldb, c, ldc, accumulate);
  }
}

template <int Vectors, bool Transposed>
void panel(std::int64_t m, std::int64_t k, const float* a, std::int64_t lda, const float* b, std::int64_t ldb, float* c,
           std::int64_t ldc, bool accumulate) {
  // Of the registers, Rows * Vectors hold sums, Vectors hold B and one A.
  constexpr int kRows =
      (MOBULA_SIMD_REGISTERS - Vectors - 2) / Vectors < 12 ? (MOBULA_SIMD_REGISTERS - Vectors - 2) / Vectors : 12;
  std::int64_t i = 0;
  for (; i + kRows <= m; i += kRows) {
    tile<kRows, Vectors, Transposed>(k, Transposed ? a + i : a + i * lda, lda, b, ldb, c + i * ldc, ldc, accumulate);
  }
  if (i < m) {
    tile_rows<kRows, Vectors, Transposed>(m - i, k, Transposed ? a + i : a + i * lda, lda, b, ldb, c + i * ldc, ldc,
                                          accumulate);
  }
}

// The columns that don't fill a vector: through zero-padded copies.
template <bool Transposed>
void ragged_panel(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
                  std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  float right[kDepthBlock * kLanes];
  for (std::int64_t p = 0; p < k; ++p) store(right + p * kLanes, load_part(b + p * ldb, n));
  constexpr int kRows = 8;
  float sums[kRows * kLanes];
  for (std::int64_t i = 0; i < m; i += kRows) {
    const std::int64_t rows = smaller(kRows, m - i);
    if (accumulate) {
      for (std::int64_t r = 0; r < rows; ++r) store(sums + r * kLanes, load_part(c + (i + r) * ldc, n));
    }
    tile_rows<kRows, 1, Transposed>(rows, k, Transposed ? a + i : a + i * lda, lda, right, kLanes, sums, kLanes,
                                    accumulate);
    for (std::int64_t r = 0; r < rows; ++r) store_part(c + (i + r) * ldc, load(sums + r * kLanes), n);
  }
}

template <bool Transposed>
void gemm_as(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, const float* b,
             std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  constexpr std::int64_t kWide = MOBULA_SIMD_VECTORS * kLanes;
  for (std::int64_t i = 0; i < m; i += kRowBlock) {
    const std::int64_t rows = smaller(kRowBlock, m - i);
    for (std::int64_t p = 0; p < k; p += kDepthBlock) {
      const std::int64_t depth = smaller(kDepthBlock, k - p);
      const float* left = Transposed ? a + p * lda + i : a + i * lda + p;
      const float* right = b + p * ldb;
      float* out = c + i * ldc;
      const bool add = accumulate || p > 0;
      std::int64_t j = 0;
      for (; j + kWide <= n; j += kWide) {
        panel<MOBULA_SIMD_VECTORS, Transposed>(rows, depth, left, lda, right + j, ldb, out + j, ldc, add);
      }
      if constexpr (MOBULA_SIMD_VECTORS > 2) {
        for (; j + 2 * kLanes <= n; j += 2 * kLanes) {
          panel<2, Transposed>(rows, depth, left, lda, right + j, ldb, out + j, ldc, add);
        }
      }
      for (; j + kLanes <= n; j += kLanes) {
        panel<1, Transposed>(rows, depth, left, lda, right + j, ldb, out + j, ldc, add);
      }
      if (j < n) ragged_panel<Transposed>(rows, n - j, depth, left, lda, right + j, ldb, out + j, ldc, add);
    }
  }
}

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const float* a, std::int64_t lda, bool a_transposed,
          const float* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  if (k == 0 && !accumulate) {
    for (std::int64_t i = 0; i < m; ++i) __builtin_memset(c + i * ldc, 0, 4 * static_cast<std::size_t>(n));
    return;
  }
  if (a_transposed) {
    gemm_as<true>(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  } else {
    gemm_as<false>(m, n, k, a, lda, b, ldb, c, ldc, accumulate);
  }
}

void gemm_bf16_panel(std::int64_t m, std::int64_t n, std::int64_t k, const Bf16Bits* a, std::int64_t lda,
                     const Bf16Bits* b, std::int64_t ldb, float* c, std::int64_t ldc, bool accumulate) {
  constexpr std::int64_t kRows = 16;
  float left[kRows * kDepthBlock];
  float right[kDepthBlock * kLanes];
  for (std::int64_t i = 0; i < m; i += kRows) {
    const std::int64_t rows = smaller(kRows, m - i);
    for (std::int64_t p = 0; p < k; p += kDepthBlock) {
      const std::int64_t depth = smaller(kDepthBlock, k - p);
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t q = 0; q < depth; ++q) left[r * kDepthBlock + q] = from_bf16(a[(i + r) * lda + p + q]);
      }
      for (std::int64_t j = 0; j < n; j += kLanes) {
        const std::int64_t columns = smaller(kLanes, n - j);
        for (std::int64_t q = 0; q < depth; ++q) {
          for (std::int64_t s = 0; s < columns; ++s) {
            right[q * kLanes + s] = from_bf16(b[((p + q) / 2) * 2 * ldb + (j + s) * 2 + ((p + q) & 1)]);
          }
        }
        gemm_as<false>(rows, columns, depth, left, kDepthBlock, right, kLanes, c + i * ldc + j, ldc,
                       accumulate || p > 0);
      }
    }
  }
}

MOBULA_INLINE Vf load_lanes(const float* p) {
  return load(p);
}
MOBULA_INLINE Vf load_lanes(const Bf16Bits* p) {
  Vh h;
  __builtin_memcpy(&h, p, sizeof h);
  return reinterpret_cast<Vf>(__builtin_convertvector(h, Vu));
}
MOBULA_INLINE void store_lanes(float* p, Vf v) {
  store(p, v);
}
MOBULA_INLINE void store_lanes(Bf16Bits* p, Vf v) {
  const Vh h = __builtin_convertvector(reinterpret_cast<Vu>(v), Vh);
  __builtin_memcpy(p, &h, sizeof h);
}

// Squares of kLanes through registers, what is left over number by number.
template <class T>
MOBULA_INLINE void transpose_as(std::int64_t m, std::int64_t n, const T* in, std::int64_t ldi, T* out,
                                std::int64_t ldo) {
  const std::int64_t whole_rows = m / kLanes * kLanes, whole_columns = n / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole_rows; i += kLanes) {
    for (std::int64_t j = 0; j < whole_columns; j += kLanes) {
      Vf square[kLanes];
#pragma GCC unroll 16
      for (std::int64_t r = 0; r < kLanes; ++r) square[r] = load_lanes(in + (i + r) * ldi + j);
      transpose_lanes<kLanes / 2>(square);
#pragma GCC unroll 16
      for (std::int64_t r = 0; r < kLanes; ++r) store_lanes(out + (j + r) * ldo + i, square[r]);
    }
  }
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = i < whole_rows ? whole_columns : 0; j < n; ++j) out[j * ldo + i] = in[i * ldi + j];
  }
}

void transpose(std::int64_t m, std::int64_t n, const float* in, std::int64_t ldi, float* out, std::int64_t ldo) {
  transpose_as(m, n, in, ldi, out, ldo);
}
void transpose_bf16(std::int64_t m, std::int64_t n, const Bf16Bits* in, std::int64_t ldi, Bf16Bits* out,
                    std::int64_t ldo) {
  transpose_as(m, n, in, ldi, out, ldo);
}
void copy_block(std::int64_t m, std::int64_t n, const float* in, std::int64_t ldi, float* out, std::int64_t ldo) {
  for (std::int64_t i = 0; i < m; ++i) {
    for_vectors(n, [&](std::int64_t j, std::int64_t lanes)
                       MOBULA_LAMBDA { store(out + i * ldo + j, load(in + i * ldi + j, lanes), lanes); });
  }
}

void to_bf16(std::int64_t n, const float* in, Bf16Bits* out) {
  for_vectors(n, [&](std::int64_t j, std::int64_t lanes) MOBULA_LAMBDA { store(out + j, load(in + j, lanes), lanes); });
}

void pack_bf16_panel(std::int64_t k, std::int64_t n, const float* in, std::int64_t ldi, std::int64_t width,
                     Bf16Bits* out) {
  for (std::int64_t p = 0; p < k; p += 2) {
    const float* first = in + p * ldi;
    Bf16Bits* pairs = out + p * width;
    if (p + 1 < k) {
      const float* second = first + ldi;
      for_vectors(n, [&](std::int64_t j, std::int64_t lanes) MOBULA_LAMBDA {
        // One 32-bit word holds both halves: the first row's in the low bits.
        const Vu low = __builtin_convertvector(round_to_bf16(load(first + j, lanes)), Vu);
        const Vu high = __builtin_convertvector(round_to_bf16(load(second + j, lanes)), Vu);
        const Vu both = low | (high << 16);
        __builtin_memcpy(pairs + 2 * j, &both, 4 * static_cast<std::size_t>(lanes));
      });
    } else {
      for (std::int64_t j = 0; j < n; ++j) {
        pairs[2 * j] = round_to_bf16(first[j]);
        pairs[2 * j + 1] = 0;
      }
    }
    for (std::int64_t j = 2 * n; j < 2 * width; ++j) pairs[j] = 0;
  }
}

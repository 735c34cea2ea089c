// Vectors of kLanes numbers through the compiler's vector extension, which every instruction set lowers by
// itself. Included by simd_kernels.inl only.
//
// Nothing here may call an inline function or template of the standard library: the linker keeps one copy of
// those for the whole program and could keep the one compiled for a processor that isn't there.

constexpr std::int64_t kLanes = MOBULA_SIMD_LANES;
typedef float Vf __attribute__((vector_size(4 * MOBULA_SIMD_LANES)));
typedef std::int32_t Vi __attribute__((vector_size(4 * MOBULA_SIMD_LANES)));
typedef std::uint32_t Vu __attribute__((vector_size(4 * MOBULA_SIMD_LANES)));
typedef std::uint16_t Vh __attribute__((vector_size(2 * MOBULA_SIMD_LANES)));

#define MOBULA_INLINE inline __attribute__((always_inline))

MOBULA_INLINE std::int64_t smaller(std::int64_t a, std::int64_t b) {
  return a < b ? a : b;
}
MOBULA_INLINE Vf load(const float* p) {
  Vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
MOBULA_INLINE void store(float* p, Vf v) {
  __builtin_memcpy(p, &v, sizeof v);
}
MOBULA_INLINE Vf load_part(const float* p, std::int64_t lanes) {
  Vf v = {};
  __builtin_memcpy(&v, p, 4 * static_cast<std::size_t>(lanes));
  return v;
}
MOBULA_INLINE void store_part(float* p, Vf v, std::int64_t lanes) {
  __builtin_memcpy(p, &v, 4 * static_cast<std::size_t>(lanes));
}
// A whole vector, or the first `lanes` numbers and zeros; `lanes` is a constant in all but the last round.
MOBULA_INLINE Vf load(const float* p, std::int64_t lanes) {
  return lanes == kLanes ? load(p) : load_part(p, lanes);
}
MOBULA_INLINE void store(float* p, Vf v, std::int64_t lanes) {
  if (lanes == kLanes) {
    store(p, v);
  } else {
    store_part(p, v, lanes);
  }
}
MOBULA_INLINE Vf broadcast(float s) {
  return s - Vf{};
}
MOBULA_INLINE Vf max(Vf a, Vf b) {
  return a > b ? a : b;
}
MOBULA_INLINE Vf min(Vf a, Vf b) {
  return a < b ? a : b;
}

MOBULA_INLINE Vh round_to_bf16(Vf v) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<Vh>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(v)));
#else
  const Vu nan = reinterpret_cast<Vu>(v != v);
  Vu bits = reinterpret_cast<Vu>(v);
  bits += 0x7fffu + ((bits >> 16) & 1u);
  bits = (bits & ~nan) | (nan & 0x7fc00000u);
  return __builtin_convertvector(bits >> 16, Vh);
#endif
}
MOBULA_INLINE void store(Bf16Bits* p, Vf v, std::int64_t lanes) {
  const Vh h = round_to_bf16(v);
  if (lanes == kLanes) {
    __builtin_memcpy(p, &h, sizeof h);
  } else {
    __builtin_memcpy(p, &h, 2 * static_cast<std::size_t>(lanes));
  }
}
MOBULA_INLINE Bf16Bits round_to_bf16(float f) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &f, sizeof bits);
  if (f != f) return 0x7fc0;
  return static_cast<Bf16Bits>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
MOBULA_INLINE float from_bf16(Bf16Bits h) {
  const std::uint32_t bits = static_cast<std::uint32_t>(h) << 16;
  float f;
  __builtin_memcpy(&f, &bits, sizeof f);
  return f;
}

// Sums and maxima over the lanes, in halves: the order depends on kLanes only.
MOBULA_INLINE float sum_lanes(Vf v) {
  float a[kLanes];
  __builtin_memcpy(a, &v, sizeof v);
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::int64_t i = 0; i < half; ++i) a[i] += a[i + half];
  }
  return a[0];
}
MOBULA_INLINE float max_lanes(Vf v) {
  float a[kLanes];
  __builtin_memcpy(a, &v, sizeof v);
  for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (std::int64_t i = 0; i < half; ++i) a[i] = a[i] > a[i + half] ? a[i] : a[i + half];
  }
  return a[0];
}

// Exchanges quarters, then eighths ...: after the last round, row i holds what was column i.
template <std::int64_t Half>
MOBULA_INLINE void transpose_lanes(Vf* rows) {
  Vi low, high;
#pragma GCC unroll 16
  for (std::int64_t l = 0; l < kLanes; ++l) {
    low[l] = static_cast<std::int32_t>((l & Half) != 0 ? kLanes + l - Half : l);
    high[l] = static_cast<std::int32_t>((l & Half) != 0 ? kLanes + l : l + Half);
  }
#pragma GCC unroll 16
  for (std::int64_t i = 0; i < kLanes; ++i) {
    if ((i & Half) != 0) continue;
    const Vf a = rows[i], b = rows[i + Half];
    rows[i] = __builtin_shuffle(a, b, low);
    rows[i + Half] = __builtin_shuffle(a, b, high);
  }
  if constexpr (Half > 1) transpose_lanes<Half / 2>(rows);
}

// Calls f(first index, number of lanes) over n numbers.
template <class F>
MOBULA_INLINE void for_vectors(std::int64_t n, F&& f) {
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) f(j, kLanes);
  if (j < n) f(j, n - j);
}

// The exponential, within 1 ulp or so on [-87, 88]; smaller and larger arguments are taken as the ends.
// Range reduction and polynomial of Cephes (Moshier), as everywhere.
MOBULA_INLINE Vf exponential(Vf x) {
  x = min(max(x, broadcast(-87.3f)), broadcast(88.3f));
  const Vf shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5 * 2^23: the fraction bits hold round(...)
  const Vi n = reinterpret_cast<Vi>(shifted) - 0x4B400000;
  const Vf nf = shifted - 12582912.0f;
  Vf r = x - nf * 0.693359375f;
  r = r - nf * -2.12194440e-4f;
  Vf p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * reinterpret_cast<Vf>((n + 127) << 23);
}

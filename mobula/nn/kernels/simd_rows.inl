// Norms, activations, losses and optimizer steps over rows. Included by simd_kernels.inl only.

void fill_rows(std::int64_t rows, std::int64_t n, const float* bias, const float* residual, float* out,
               std::int64_t ldo) {
  for (std::int64_t i = 0; i < rows; ++i) {
    float* row = out + i * ldo;
    if (residual == nullptr) {
      __builtin_memcpy(row, bias, 4 * static_cast<std::size_t>(n));
    } else {
      const float* other = residual + i * ldo;
      for_vectors(n, [&](std::int64_t j, std::int64_t lanes)
                         MOBULA_LAMBDA { store(row + j, load(bias + j, lanes) + load(other + j, lanes), lanes); });
    }
  }
}

void column_sum(std::int64_t rows, std::int64_t n, const float* in, std::int64_t ldi, float* out, bool accumulate) {
  for_vectors(n, [&](std::int64_t j, std::int64_t lanes) MOBULA_LAMBDA {
    Vf sum = accumulate ? load(out + j, lanes) : Vf{};
    for (std::int64_t i = 0; i < rows; ++i) sum += load(in + i * ldi + j, lanes);
    store(out + j, sum, lanes);
  });
}

void layer_norm(const LayerNormShape& shape, const float* x, const float* gamma, const float* beta, float* y,
                Bf16Bits* y_bf16, float* mean, float* inverse_deviation) {
  const std::int64_t n = shape.width;
  const float share = 1.0f / static_cast<float>(n);
  for (std::int64_t i = 0; i < shape.rows; ++i) {
    const float* row = x + i * n;
    Vf total = {};
    for_vectors(n, [&](std::int64_t j, std::int64_t lanes) MOBULA_LAMBDA { total += load(row + j, lanes); });
    const float centre = sum_lanes(total) * share;
    Vf squares = {};
    std::int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      const Vf d = load(row + j) - centre;
      squares += d * d;
    }
    float variance = sum_lanes(squares);
    for (; j < n; ++j) variance += (row[j] - centre) * (row[j] - centre);
    const float inverse = 1.0f / __builtin_sqrtf(variance * share + shape.epsilon);
    mean[i] = centre;
    inverse_deviation[i] = inverse;
    for_vectors(n, [&](std::int64_t k, std::int64_t lanes) MOBULA_LAMBDA {
      const Vf normal = (load(row + k, lanes) - centre) * inverse;
      const Vf result = normal * load(gamma + k, lanes) + load(beta + k, lanes);
      if (y_bf16 != nullptr) {
        store(y_bf16 + i * n + k, result, lanes);
      } else {
        store(y + i * n + k, result, lanes);
      }
    });
  }
}

void layer_norm_backward(const LayerNormShape& shape, const float* dy, const float* x, const float* mean,
                         const float* inverse_deviation, const float* gamma, const float* residual, float* dx,
                         float* dgamma, float* dbeta) {
  const std::int64_t n = shape.width;
  const float share = 1.0f / static_cast<float>(n);
  for (std::int64_t i = 0; i < shape.rows; ++i) {
    const float* row = x + i * n;
    const float* grad = dy + i * n;
    const float centre = mean[i];
    const float inverse = inverse_deviation[i];
    Vf sum_grad = {};
    Vf sum_product = {};
    for_vectors(n, [&](std::int64_t j, std::int64_t lanes) MOBULA_LAMBDA {
      const Vf normal = (load(row + j, lanes) - centre) * inverse;
      const Vf g = load(grad + j, lanes);
      const Vf scaled = g * load(gamma + j, lanes);  // zero in the lanes beyond the row
      sum_grad += scaled;
      sum_product += scaled * normal;
      store(dgamma + j, load(dgamma + j, lanes) + g * normal, lanes);
      store(dbeta + j, load(dbeta + j, lanes) + g, lanes);
    });
    const float mean_grad = sum_lanes(sum_grad) * share;
    const float mean_product = sum_lanes(sum_product) * share;
    for_vectors(n, [&](std::int64_t j, std::int64_t lanes) MOBULA_LAMBDA {
      const Vf normal = (load(row + j, lanes) - centre) * inverse;
      Vf result = (load(grad + j, lanes) * load(gamma + j, lanes) - mean_grad - normal * mean_product) * inverse;
      if (residual != nullptr) result += load(residual + i * n + j, lanes);
      store(dx + i * n + j, result, lanes);
    });
  }
}

// gelu(x) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): the tanh form written with one exponential.
constexpr float kGeluLinear = 1.5957691216057308f;  // 2 sqrt(2/pi)
constexpr float kGeluCubic = 0.07135481627362227f;  // 2 sqrt(2/pi) 0.044715

void gelu(std::int64_t n, const float* x, float* y, Bf16Bits* y_bf16) {
  for_vectors(n, [&](std::int64_t j, std::int64_t lanes) MOBULA_LAMBDA {
    const Vf v = load(x + j, lanes);
    const Vf result = v / (1.0f + exponential(-v * (kGeluLinear + kGeluCubic * v * v)));
    if (y_bf16 != nullptr) {
      store(y_bf16 + j, result, lanes);
    } else {
      store(y + j, result, lanes);
    }
  });
}

void gelu_backward(std::int64_t n, const float* dy, const float* x, float* dx, Bf16Bits* dx_bf16) {
  for_vectors(n, [&](std::int64_t j, std::int64_t lanes) MOBULA_LAMBDA {
    const Vf v = load(x + j, lanes);
    const Vf square = v * v;
    const Vf gate = 1.0f / (1.0f + exponential(-v * (kGeluLinear + kGeluCubic * square)));
    const Vf slope = gate + v * gate * (1.0f - gate) * (kGeluLinear + 3.0f * kGeluCubic * square);
    const Vf result = load(dy + j, lanes) * slope;
    store(dx + j, result, lanes);
    if (dx_bf16 != nullptr) store(dx_bf16 + j, result, lanes);
  });
}

double cross_entropy(std::int64_t rows, std::int64_t n, std::int64_t ld, const std::int64_t* targets, float scale,
                     float* scores) {
  double loss = 0;
  for (std::int64_t i = 0; i < rows; ++i) {
    float* row = scores + i * ld;
    const std::int64_t target = targets[i];
    if (target < 0) {
      __builtin_memset(row, 0, 4 * static_cast<std::size_t>(ld));
      continue;
    }
    float highest = row[0];
    std::int64_t j = 0;
    Vf highest_lanes = broadcast(row[0]);
    for (; j + kLanes <= n; j += kLanes) highest_lanes = max(highest_lanes, load(row + j));
    highest = max_lanes(highest_lanes);
    for (; j < n; ++j) highest = highest > row[j] ? highest : row[j];
    const float chosen = row[target];
    Vf total = {};
    float rest = 0;
    for (j = 0; j + kLanes <= n; j += kLanes) {
      const Vf e = exponential(load(row + j) - highest);
      total += e;
      store(row + j, e);
    }
    for (; j < n; ++j) {
      row[j] = exponential(broadcast(row[j] - highest))[0];
      rest += row[j];
    }
    const float sum = sum_lanes(total) + rest;
    loss += static_cast<double>(__builtin_logf(sum)) + static_cast<double>(highest - chosen);
    const float factor = scale / sum;
    for_vectors(n, [&](std::int64_t c, std::int64_t lanes)
                       MOBULA_LAMBDA { store(row + c, load(row + c, lanes) * factor, lanes); });
    row[target] -= scale;
    for (j = n; j < ld; ++j) row[j] = 0;
  }
  return loss;
}

void scale(std::int64_t n, float factor, float* x) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

void add(std::int64_t n, const float* __restrict x, float* __restrict y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

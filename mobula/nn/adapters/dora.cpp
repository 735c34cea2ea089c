#include <algorithm>
#include <cmath>
#include <vector>

#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/parallel_for.hpp"

namespace mobula::nn {

Array dora_factors(const AdapterModule& module, const Array& weight) {
  const Array w = weight.to(at::kFloat), a = module.a.to(at::kFloat), b = module.b.to(at::kFloat);
  const Array lengths = module.magnitude.to(at::kFloat);
  const std::int64_t num_out = w.size(0), num_in = w.size(1), rank = a.size(0);
  Array factors = Array::empty({num_out}, at::kFloat);
  auto* const out = factors.data_ptr<float>();
  parallel_for(num_out, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> low_rank(static_cast<std::size_t>(num_in));
    for (std::int64_t o = begin; o < end; ++o) {
      std::fill(low_rank.begin(), low_rank.end(), 0.0f);
      for (std::int64_t r = 0; r < rank; ++r) {
        const float factor = b.const_data_ptr<float>()[o * rank + r];
        const float* row = a.const_data_ptr<float>() + r * num_in;
        for (std::size_t i = 0; i < low_rank.size(); ++i) low_rank[i] += factor * row[i];
      }
      const float* row = w.const_data_ptr<float>() + o * num_in;
      double squares = 0;
      for (std::size_t i = 0; i < low_rank.size(); ++i) {
        const double sum = static_cast<double>(row[i]) + module.scale * static_cast<double>(low_rank[i]);
        squares += sum * sum;
      }
      out[o] = static_cast<float>(static_cast<double>(lengths.const_data_ptr<float>()[o]) / std::sqrt(squares));
    }
  });
  return factors;
}

}  // namespace mobula::nn

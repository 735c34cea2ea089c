/// What the tests against transformers share: running reference.py and comparing tensors.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "mobula/base/subprocess.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/tensor_array.hpp"

namespace mobula::models::testing_reference {

/// Largest difference that fp32 results may have, absolute for outputs and relative for gradients.
inline constexpr double kTolerance = 1e-4;

/// Runs a script of mobula/models, reference.py unless told; returns its exit status.
inline int reference(const std::vector<std::string>& arguments, const std::string& script = "reference.py") {
  const std::string python = MOBULA_TEST_PYTHON;
  if (!std::filesystem::exists(python)) {
    ADD_FAILURE() << python << " is missing: ./dev setup installs the Python peers that tests compare with";
    return 1;
  }
  std::vector<std::string> command = {python, std::string(MOBULA_TEST_SOURCE "/mobula/models/") + script};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return Subprocess(command).wait();
}

/// What a script wrote, as tensors over the file.
class Expected {
 public:
  explicit Expected(const std::filesystem::path& path) : file_(path) {}
  at::Tensor tensor(const std::string& name) const { return nn::to_tensor(file_.tensor(name)); }
  const std::vector<nn::SafetensorsEntry>& entries() const noexcept { return file_.entries(); }
  const nn::SafetensorsEntry* find(const std::string& name) const { return file_.find(name); }
  const std::vector<nn::TensorInfo>& tensors() const noexcept { return file_.tensors(); }

 private:
  nn::SafetensorsFile file_;
};

/// Returns the largest absolute difference of two tensors.
inline double difference(const at::Tensor& a, const at::Tensor& b) {
  return a.to(at::kFloat).sub(b).abs().max().item<double>();
}

/// Returns how far single-precision results may be from the reference's: kTolerance, or where rounding alone moves the
/// reference's own further (`what`rounding in its file), four times as far.
inline double tolerance_of(const Expected& expected, const std::string& what = "") {
  return std::max(kTolerance, 4 * expected.tensor(what + "rounding").item<double>());
}

}  // namespace mobula::models::testing_reference

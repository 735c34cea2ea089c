#include "mobula/nn/tensor_file.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::nn {

TensorFile::~TensorFile() = default;

void throw_no_tensor(const TensorFile& file, std::string_view name) {
  std::vector<std::string> names;
  for (const TensorInfo& known : file.tensors()) names.push_back(known.name);
  throw Error(ErrorCode::not_found, fmt::format("{}: no tensor '{}'", file.path().string(), name),
              suggest(name, names));
}

}  // namespace mobula::nn

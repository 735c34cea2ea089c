#include "mobula/models/model_folder.hpp"

#include "mobula/base/files.hpp"
#include "mobula/nn/safetensors_writer.hpp"

namespace mobula::models {

void write_model_folder(Json config, const std::vector<nn::NamedTensor>& parameters,
                        const std::filesystem::path& directory) {
  const at::ScalarType type = parameters.front().tensor.scalar_type();
  config["dtype"] = type == at::kBFloat16 ? "bfloat16" : type == at::kHalf ? "float16" : "float32";
  config.erase("torch_dtype");  // the old name of the same
  nn::write_safetensors(directory / "model.safetensors", parameters);
  write_file_atomic(directory / "config.json", config.dump(2) + "\n");
}

}  // namespace mobula::models

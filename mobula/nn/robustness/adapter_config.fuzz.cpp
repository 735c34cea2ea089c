// adapter_config.json beside sound tensors.
#include "mobula/base/files.hpp"
#include "mobula/base/testing/fuzz.hpp"
#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/testing/sample_files.hpp"

using namespace mobula;
using namespace mobula::nn;
using namespace mobula::nn::testing_samples;

extern "C" int LLVMFuzzerInitialize(int* num_arguments, char*** arguments) {
  return seed_corpus(
      *num_arguments, *arguments,
      {R"({"peft_type":"LORA","r":2,"lora_alpha":4,"use_rslora":true,"alpha_pattern":{"q_proj":3,"^x.*$":1},"rank_pattern":{}})",
       R"({"peft_type":"LORA","r":2,"lora_alpha":4,"use_dora":false,"bias":"none","fan_in_fan_out":true,"target_modules":["q_proj"]})",
       R"({"peft_type":"IA3","feedforward_modules":["q_proj"],"target_modules":"q_proj","modules_to_save":null})"});
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const TemporaryDirectory folder("fuzz-adapter");
  static const bool written = [] {
    std::ofstream(folder.path() / "adapter_model.safetensors", std::ios::binary) << safetensors(
        R"({"base_model.model.q_proj.lora_A.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[0,32]},)"
        R"("base_model.model.q_proj.lora_B.weight":{"dtype":"F32","shape":[6,2],"data_offsets":[32,80]}})",
        80);
    return true;
  }();
  (void)written;
  std::ofstream(folder.path() / "adapter_config.json", std::ios::binary) << fuzz_text(data, size);
  return expect_error_or_answer([&] { (void)load_adapter(folder.path()); });
}

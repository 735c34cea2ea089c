#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/cli/language_model.hpp"
#include "mobula/cli/torch_engine.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/models/t5/engine.hpp"
#include "mobula/models/t5/load.hpp"
#include "mobula/nn/generate/causal_lm_engine.hpp"

namespace mobula::cli {
namespace {

std::unique_ptr<nn::GenerationEngine> make(const TorchEngineRequest& request) {
  models::LoadOptions load;
  load.type = parse_type(request.dtype);
  if (!is_t5(request.model)) {
    return nn::make_generation_engine(models::load_causal_lm(request.model, load), request.options);
  }
  if (request.options.quantize) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: T5 runs in fp32 or bf16, not in 8 or 4 bits", request.model),
                "--dtype bf16 takes half of fp32's memory");
  }
  models::T5EngineOptions options;
  for (const nn::EngineAdapter& one : request.options.adapters) {
    options.adapters.push_back({one.name, models::load_t5(request.model, load, one.adapter.get())});
  }
  return models::make_t5_engine(models::load_t5(request.model, load), options);
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_make_torch_engine(const void* request, const void*) {
  const auto& asked = *static_cast<const mobula::cli::TorchEngineRequest*>(request);
  *asked.engine = mobula::cli::make(asked);
  return 0;
}

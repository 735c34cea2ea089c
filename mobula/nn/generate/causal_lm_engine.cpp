#include "mobula/nn/generate/causal_lm_engine.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/nn/generate/whole_sequence.hpp"

namespace mobula::nn {

std::unique_ptr<GenerationEngine> make_generation_engine(std::shared_ptr<CausalLm> model, EngineOptions options) {
  const CausalLmInfo& info = model->info();
  const EngineInfo engine_info = {.family = info.family,
                                  .vocab_size = static_cast<std::size_t>(info.vocab_size),
                                  .context = static_cast<std::size_t>(info.context),
                                  .eos_ids = info.eos_ids};
  if (options.num_threads == 0) options.num_threads = at::get_num_threads();
  try {
    return make_generation_engine(engine_info, model->decoder_model(), options);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::unsupported || options.quantize) throw;
    if (!options.adapters.empty()) {
      throw Error(ErrorCode::unsupported, fmt::format("{}, so adapters can't be added at run time", error.message()),
                  "merge it: mobula model merge MODEL OUT --adapter DIR");
    }
    log_warning("{}; the whole text is read for every token", error.message());
  }
  const auto whole = std::make_shared<WholeSequenceDecoder>(std::move(model));
  return make_generation_engine(
      engine_info, [whole](std::span<const DecoderRow> rows) { return whole->forward(rows); }, options);
}

}  // namespace mobula::nn

#include "mobula/nn/generate/whole_sequence.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

namespace mobula::nn {

std::span<const float> WholeSequenceDecoder::forward(std::span<const DecoderRow> rows) {
  const at::NoGradGuard no_grad;
  logits_.clear();
  while (!rows.empty()) {
    const std::span<const TokenId> text = rows.front().text;
    const auto end = std::ranges::find_if(rows, [&](const DecoderRow& row) { return row.text.data() != text.data(); });
    const auto mine = rows.first(static_cast<std::size_t>(end - rows.begin()));
    rows = rows.subspan(mine.size());
    if (std::ranges::none_of(mine, [](const DecoderRow& row) { return row.wants_logits; })) continue;
    const std::vector<std::int64_t> ids(text.begin(), text.end());
    const at::Tensor scores_TV =
        model_->logits(at::tensor(ids, at::kLong).unsqueeze(0)).squeeze(0).to(at::kFloat).contiguous();
    const std::int64_t width = scores_TV.size(1);
    for (const DecoderRow& row : mine) {
      if (!row.wants_logits) continue;
      const float* begin = scores_TV.const_data_ptr<float>() + row.position * width;
      logits_.insert(logits_.end(), begin, begin + width);
    }
  }
  return logits_;
}

}  // namespace mobula::nn

/// What the commands on encoders share: the model, its tokenizer, rows of ids as input, numbers as output.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mobula/models/encoder/encoder.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {

using Ids = std::vector<text::TokenId>;

/// Loads an encoder's folder in `dtype` (fp32, bf16, or empty: its own). Throws Error that names what is wrong.
std::unique_ptr<models::Encoder> load_text_encoder(const std::string& model, const std::string& dtype);
/// Loads the tokenizer of the folder with truncation to `max_tokens` and no padding, whatever its file says: padding depends on
/// the batch, and the length on the model.
std::shared_ptr<const text::Tokenizer> load_encoder_tokenizer(const std::string& model, std::int64_t max_tokens,
                                                              std::int64_t vocab_size);
/// Makes one batch of rows, padded at their ends.
models::EncoderInput pad_rows(const std::vector<Ids>& rows, std::int64_t pad_id);
/// Returns all numbers of a tensor.
std::vector<float> to_vector(const at::Tensor& values);
/// Returns the probability of each label, as transformers' pipelines choose it.
at::Tensor label_probabilities(const at::Tensor& scores, const models::EncoderConfig& config);

}  // namespace mobula::cli

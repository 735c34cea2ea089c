#include "mobula/cli/encode.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/models/encoder/registry.hpp"
#include "mobula/models/encoder/sentence_embedding.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;
using models::Encoder;

constexpr std::size_t kBatch = 32;

using Ids = std::vector<text::TokenId>;

std::unique_ptr<Encoder> load_model(const EncodeOptions& options) {
  models::LoadOptions load;
  if (options.dtype == "fp32") {
    load.type = at::kFloat;
  } else if (options.dtype == "bf16") {
    load.type = at::kBFloat16;
  } else if (!options.dtype.empty()) {
    throw_invalid(fmt::format("--dtype {} is unknown here", options.dtype), "use fp32 or bf16");
  }
  if (!fs::is_directory(options.model)) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no such folder", options.model),
                "--model names the folder of a checkpoint: config.json, model.safetensors, tokenizer.json");
  }
  return models::load_encoder(options.model, load);
}

/// The tokenizer of the folder with truncation to `max_tokens` and no padding, whatever its file says: padding depends on
/// the batch, and the length on the model.
std::shared_ptr<const text::Tokenizer> load_tokenizer(const std::string& model, std::int64_t max_tokens,
                                                      std::int64_t vocab_size) {
  const fs::path path = fs::path(model) / "tokenizer.json";
  if (!fs::exists(path)) throw Error(ErrorCode::not_found, fmt::format("{}: no tokenizer.json", model), "use --ids");
  nlohmann::json file =
      nlohmann::json::parse(read_file(path, std::size_t{1} << 30), nullptr, /*allow_exceptions=*/false);
  if (!file.is_object()) throw Error(ErrorCode::corrupt, fmt::format("{}: expected a JSON object", path.string()));
  file["truncation"] = {
      {"direction", "Right"}, {"max_length", max_tokens}, {"strategy", "LongestFirst"}, {"stride", 0}};
  file["padding"] = nullptr;
  auto tokenizer = text::Tokenizer::parse(file.dump(), path.string());
  if (static_cast<std::int64_t>(tokenizer->vocab_size()) > vocab_size) {
    throw_invalid(fmt::format("{}: the tokenizer has {} ids, the model's vocabulary {}", path.string(),
                              tokenizer->vocab_size(), vocab_size),
                  "tokenizer and model belong to different checkpoints");
  }
  return tokenizer;
}

/// Reads what was given as rows of ids and hands them on in batches.
void for_each_batch(const EncodeOptions& options, const Encoder& model, std::int64_t max_tokens,
                    const text::Tokenizer* tokenizer, const std::function<void(const std::vector<Ids>&)>& use) {
  std::vector<Ids> batch;
  const auto add = [&](Ids ids, const std::string& name) {
    if (ids.empty()) throw_invalid(fmt::format("{} is empty", name), "give at least one token");
    for (const text::TokenId id : ids) {
      if (id < 0 || id >= model.description().vocab_size) {
        throw_invalid(fmt::format("token id {} is outside the vocabulary of {}", id, model.description().vocab_size));
      }
    }
    if (static_cast<std::int64_t>(ids.size()) > max_tokens) {
      throw_invalid(
          fmt::format("{} of {} tokens is longer than the model's context of {}", name, ids.size(), max_tokens));
    }
    batch.push_back(std::move(ids));
    if (batch.size() < kBatch) return;
    use(batch);
    batch.clear();
  };
  if (!options.ids.empty()) add({options.ids.begin(), options.ids.end()}, "--ids");
  for (const std::string& text : options.texts) add(tokenizer->encode(text), "the text");
  if (!options.input.empty()) {
    std::ifstream file(options.input);
    if (!file) throw Error(ErrorCode::not_found, fmt::format("{}: can't be opened", options.input));
    std::string line;
    for (std::size_t number = 1; std::getline(file, line); ++number) {
      add(tokenizer->encode(line), fmt::format("{}:{}", options.input, number));
    }
  }
  if (!batch.empty()) use(batch);
}

models::EncoderInput pad(const std::vector<Ids>& rows, std::int64_t pad_id) {
  std::size_t longest = 0;
  for (const Ids& ids : rows) longest = std::max(longest, ids.size());
  const std::array<std::int64_t, 2> shape = {static_cast<std::int64_t>(rows.size()),
                                             static_cast<std::int64_t>(longest)};
  models::EncoderInput input{at::full(shape, pad_id, at::kLong), at::zeros(shape, at::kBool), {}};
  for (std::size_t row = 0; row < rows.size(); ++row) {
    auto* ids = input.ids_BT.mutable_data_ptr<std::int64_t>() + row * longest;
    auto* mask = input.mask_BT.mutable_data_ptr<bool>() + row * longest;
    for (std::size_t i = 0; i < rows[row].size(); ++i) {
      ids[i] = rows[row][i];
      mask[i] = true;
    }
  }
  return input;
}

void check_one_source(const EncodeOptions& options) {
  if (!options.texts.empty() + !options.ids.empty() + !options.input.empty() != 1) {
    throw_invalid("give one of --text, --ids and --input");
  }
}

std::vector<float> to_vector(const at::Tensor& values) {
  const at::Tensor flat = values.to(at::kFloat).contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

// Nine digits tell any two single-precision numbers apart.
std::string join_numbers(const std::vector<float>& values, const char* separator) {
  fmt::memory_buffer out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    fmt::format_to(std::back_inserter(out), "{}{:.9g}", i == 0 ? "" : separator, values[i]);
  }
  return fmt::to_string(out);
}

/// The lines most like one query, the best first.
class Nearest {
 public:
  Nearest(std::vector<float> query, std::size_t count) : query_(std::move(query)), count_(count) {}

  void offer(const std::vector<float>& vector, std::size_t line) {
    const float score = std::inner_product(query_.begin(), query_.end(), vector.begin(), 0.0F);
    if (found_.size() == count_ && score <= found_.back().first) return;
    const auto at = std::find_if(found_.begin(), found_.end(), [&](const auto& each) { return each.first < score; });
    found_.insert(at, {score, line});
    if (found_.size() > count_) found_.pop_back();
  }
  const std::vector<std::pair<float, std::size_t>>& found() const { return found_; }

 private:
  std::vector<float> query_;
  std::size_t count_;
  std::vector<std::pair<float, std::size_t>> found_;  ///< score and line, from 0
};

using EmbedRows = std::function<void(const EncodeOptions&, const std::function<void(std::vector<float>)>&)>;

/// Prints for every text the lines of the file that are most like it.
int search(const EncodeOptions& options, bool json, const EmbedRows& embed_rows) {
  if (options.texts.empty() || options.input.empty() || !options.ids.empty()) {
    throw_invalid("--nearest looks for --text among the lines of --input", "give both, and no --ids");
  }
  EncodeOptions queries = options;
  queries.input.clear();
  EncodeOptions lines = options;
  lines.texts.clear();
  std::vector<Nearest> nearest;
  embed_rows(queries, [&](std::vector<float> vector) {
    nearest.emplace_back(std::move(vector), static_cast<std::size_t>(options.nearest));
  });
  std::size_t line = 0;
  embed_rows(lines, [&](const std::vector<float>& vector) {
    for (Nearest& each : nearest) each.offer(vector, line);
    ++line;
  });
  std::map<std::size_t, std::string> texts;
  for (const Nearest& each : nearest) {
    for (const auto& found : each.found()) texts[found.second];
  }
  std::ifstream file(options.input);
  std::string text;
  for (std::size_t number = 0; std::getline(file, text); ++number) {
    if (const auto wanted = texts.find(number); wanted != texts.end()) wanted->second = text;
  }
  for (std::size_t i = 0; i < nearest.size(); ++i) {
    Json found = Json::array();
    if (!json) fmt::print("{}{}\n", i == 0 ? "" : "\n", options.texts[i]);
    for (const auto& [score, number] : nearest[i].found()) {
      if (!json) fmt::print("  {:.3f}  {}\n", score, texts[number]);
      found.push_back({{"line", number + 1}, {"score", score}, {"text", texts[number]}});
    }
    if (json) fmt::print("{}\n", to_line(Json{{"text", options.texts[i]}, {"nearest", found}}));
  }
  return 0;
}

int embed(const EncodeOptions& options, const GlobalOptions& globals) {
  if (options.nearest == 0) check_one_source(options);
  const auto model = load_model(options);
  auto how = models::read_sentence_embedding_options(options.model);
  const std::int64_t context = model->description().context();
  const std::int64_t max_tokens = how.max_tokens > 0 ? std::min(how.max_tokens, context) : context;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  if (options.ids.empty()) tokenizer = load_tokenizer(options.model, max_tokens, model->description().vocab_size);
  const at::NoGradGuard no_grad;
  const EmbedRows embed_rows = [&](const EncodeOptions& source, const std::function<void(std::vector<float>)>& use) {
    for_each_batch(source, *model, context, tokenizer.get(), [&](const std::vector<Ids>& rows) {
      const models::EncoderInput input = pad(rows, model->description().pad_id);
      const at::Tensor vectors_BC = models::embed_sentences(model->hidden(input), input.mask_BT, how);
      for (std::int64_t b = 0; b < vectors_BC.size(0); ++b) use(to_vector(vectors_BC[b]));
    });
  };
  if (options.nearest > 0) return search(options, globals.json, embed_rows);
  embed_rows(options, [&](const std::vector<float>& vector) {
    const std::string numbers = join_numbers(vector, globals.json ? "," : " ");
    fmt::print("{}{}{}\n", globals.json ? "[" : "", numbers, globals.json ? "]" : "");
  });
  return 0;
}

at::Tensor probabilities_of(const at::Tensor& scores, const models::EncoderConfig& config) {
  // As transformers' pipelines choose: labels that hold by themselves, and a single one, take the logistic function.
  const bool alone = config.multi_label || config.labels.size() == 1;
  return alone ? at::sigmoid(scores.to(at::kFloat)) : at::softmax(scores.to(at::kFloat), -1);
}

void print_text_labels(const std::vector<float>& probabilities, const std::vector<std::string>& labels, bool json) {
  if (json) {
    fmt::print("{{\"labels\":{},\"probabilities\":[{}]}}\n", to_line(Json(labels)), join_numbers(probabilities, ","));
    return;
  }
  std::vector<std::size_t> order(labels.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return probabilities[a] > probabilities[b]; });
  for (std::size_t i = 0; i < order.size(); ++i) {
    fmt::print("{}{} {:.4f}", i == 0 ? "" : "  ", labels[order[i]], probabilities[order[i]]);
  }
  fmt::print("\n");
}

// The likeliest label of each token.
void print_token_labels(const at::Tensor& probabilities_TL, const Ids& ids, const std::vector<std::string>& labels,
                        const text::Tokenizer* tokenizer, bool json) {
  std::vector<std::string> tokens, chosen;
  std::vector<float> values;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const std::vector<float> row = to_vector(probabilities_TL[static_cast<std::int64_t>(t)]);
    const auto best = std::max_element(row.begin(), row.end());
    tokens.push_back(tokenizer == nullptr ? std::to_string(ids[t]) : tokenizer->id_to_token(ids[t]).value_or(""));
    chosen.push_back(labels[static_cast<std::size_t>(best - row.begin())]);
    values.push_back(*best);
  }
  if (json) {
    fmt::print("{{\"tokens\":{},\"labels\":{},\"probabilities\":[{}]}}\n", to_line(Json(tokens)), to_line(Json(chosen)),
               join_numbers(values, ","));
    return;
  }
  for (std::size_t t = 0; t < tokens.size(); ++t) fmt::print("{:<20} {} {:.4f}\n", tokens[t], chosen[t], values[t]);
}

int classify(const EncodeOptions& options, const GlobalOptions& globals) {
  check_one_source(options);
  const auto model = load_model(options);
  const models::EncoderConfig& config = model->description();
  const bool of_texts = config.task == models::EncoderTask::sequence_classification;
  if (!of_texts && config.task != models::EncoderTask::token_classification) {
    throw_invalid(fmt::format("{}: config.json's architectures name no classifier", options.model),
                  "fine-tune one, or use mobula embed");
  }
  std::shared_ptr<const text::Tokenizer> tokenizer;
  if (options.ids.empty()) tokenizer = load_tokenizer(options.model, config.context(), config.vocab_size);
  const at::NoGradGuard no_grad;
  for_each_batch(options, *model, config.context(), tokenizer.get(), [&](const std::vector<Ids>& rows) {
    const at::Tensor probabilities = probabilities_of(model->logits(pad(rows, config.pad_id)), config);
    for (std::size_t b = 0; b < rows.size(); ++b) {
      const at::Tensor mine = probabilities[static_cast<std::int64_t>(b)];
      if (of_texts) {
        print_text_labels(to_vector(mine), config.labels, globals.json);
      } else {
        print_token_labels(mine, rows[b], config.labels, tokenizer.get(), globals.json);
      }
    }
  });
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_embed(const void* options, const void* globals) {
  return mobula::cli::embed(*static_cast<const mobula::cli::EncodeOptions*>(options),
                            *static_cast<const mobula::cli::GlobalOptions*>(globals));
}

extern "C" int mobula_run_classify(const void* options, const void* globals) {
  return mobula::cli::classify(*static_cast<const mobula::cli::EncodeOptions*>(options),
                               *static_cast<const mobula::cli::GlobalOptions*>(globals));
}

#include "mobula/cli/encode.hpp"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/encoder_texts.hpp"
#include "mobula/models/encoder/sentence_embedding.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {
namespace {

using models::Encoder;

constexpr std::size_t kBatch = 32;

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

void check_one_source(const EncodeOptions& options) {
  if (!options.texts.empty() + !options.ids.empty() + !options.input.empty() != 1) {
    throw_invalid("give one of --text, --ids and --input");
  }
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
  const auto model = load_text_encoder(options.model, options.dtype);
  auto how = models::read_sentence_embedding_options(options.model);
  const std::int64_t context = model->description().context();
  const std::int64_t max_tokens = how.max_tokens > 0 ? std::min(how.max_tokens, context) : context;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  if (options.ids.empty())
    tokenizer = load_encoder_tokenizer(options.model, max_tokens, model->description().vocab_size);
  const at::NoGradGuard no_grad;
  const EmbedRows embed_rows = [&](const EncodeOptions& source, const std::function<void(std::vector<float>)>& use) {
    for_each_batch(source, *model, context, tokenizer.get(), [&](const std::vector<Ids>& rows) {
      const models::EncoderInput input = pad_rows(rows, model->description().pad_id);
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
  const auto model = load_text_encoder(options.model, options.dtype);
  const models::EncoderConfig& config = model->description();
  const bool of_texts = config.task == models::EncoderTask::sequence_classification;
  if (!of_texts && config.task != models::EncoderTask::token_classification) {
    throw_invalid(fmt::format("{}: config.json's architectures name no classifier", options.model),
                  "fine-tune one, or use mobula embed");
  }
  std::shared_ptr<const text::Tokenizer> tokenizer;
  if (options.ids.empty()) tokenizer = load_encoder_tokenizer(options.model, config.context(), config.vocab_size);
  const at::NoGradGuard no_grad;
  for_each_batch(options, *model, config.context(), tokenizer.get(), [&](const std::vector<Ids>& rows) {
    const at::Tensor probabilities = label_probabilities(model->logits(pad_rows(rows, config.pad_id)), config);
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

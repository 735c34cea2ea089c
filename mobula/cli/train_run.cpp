/// A worker of a training run: names the model and the tokenizer, and runs the loop on them.
#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"
#include "mobula/cli/train.hpp"
#include "mobula/data/tokens/sha256.hpp"
#include "mobula/data/tokens/token_windows.hpp"
#include "mobula/data/tokens/training_text.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/text/bpe_trainer.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/train/language_model/loop.hpp"
#include "mobula/train/run/run_folder.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;

/// Joins the messages' contents, so that chat works on a base model.
constexpr std::string_view kChatTemplate = "{% for message in messages %}{{ message['content'] }}{% endfor %}";
constexpr std::string_view kEndOfText = "<|endoftext|>";

/// Where the run keeps its text once it is ids.
struct TokenCache {
  fs::path folder;
  fs::path tokens() const { return folder / "tokens.bin"; }
  fs::path description() const { return folder / "tokens.json"; }
  bool filled() const { return fs::exists(description()) && fs::exists(tokens()); }
};

std::shared_ptr<const text::Tokenizer> make_tokenizer(const train::RunConfig& config, const data::TextColumn& texts) {
  if (!config.tokenizer.path.empty()) return text::Tokenizer::load(config.tokenizer.path, text::Lengths::as_they_come);
  if (!config.model.from.empty()) return text::Tokenizer::load(config.model.from, text::Lengths::as_they_come);
  if (config.tokenizer.kind == "byte") return text::make_byte_tokenizer();
  if (config.tokenizer.kind == "bpe") {
    text::BpeTrainer trainer({.vocab_size = static_cast<std::size_t>(config.tokenizer.vocab_size)});
    for (std::size_t row = 0; row < texts.size(); ++row) trainer.feed(texts[row]);
    return trainer.train();
  }
  // Rows are joined by line ends, which the vocabulary must hold.
  return text::make_character_tokenizer(texts.size() > 1 ? texts.bytes + "\n" : texts.bytes);
}

/// Encodes row after row. An end-of-text token stands behind each where the tokenizer has one and there are several;
/// otherwise a line end stands between them.
std::vector<text::TokenId> encode(const data::TextColumn& texts, const text::Tokenizer& tokenizer) {
  const auto end_of_text = tokenizer.token_to_id(kEndOfText);
  std::vector<text::TokenId> ids;
  for (std::size_t row = 0; row < texts.size(); ++row) {
    const auto part = tokenizer.encode(texts[row], false);
    ids.insert(ids.end(), part.begin(), part.end());
    if (texts.size() == 1) break;
    if (end_of_text) {
      ids.push_back(*end_of_text);
    } else if (row + 1 < texts.size()) {
      const auto line_end = tokenizer.encode("\n", false);
      ids.insert(ids.end(), line_end.begin(), line_end.end());
    }
  }
  return ids;
}

/// Turns the text into ids, once a run; a resumed run checks that the text is still the one it began with.
void prepare_tokens(const train::RunConfig& config, const TokenCache& cache, bool resumes) {
  // The ids are all that training needs: a text that has gone is no reason to stop.
  if (resumes && !config.data.path.empty() && !fs::exists(config.data.path)) return;
  const fs::path path = data::find_training_text(config.data.path);
  const data::TrainingText source =
      data::read_training_text(path, {.format = config.data.format, .column = config.data.column});
  if (resumes) {
    const Json description = parse_json(read_file(cache.description()), cache.description().string());
    if (description.at("text_sha256") == source.sha256) return;
    throw_invalid(fmt::format("{} is not the text that this run began with (SHA-256 {}, it was {})", path.string(),
                              source.sha256, description.at("text_sha256").get<std::string>()),
                  "bring the old text back, or choose another --out");
  }
  const auto tokenizer = make_tokenizer(config, source.texts);
  const auto ids = encode(source.texts, *tokenizer);
  tokenizer->save(cache.folder, kChatTemplate);
  data::write_token_file(cache.tokens(), ids, tokenizer->vocab_size());
  write_file_atomic(cache.description(), to_line({{"text", fs::absolute(path).string()},
                                                  {"text_sha256", source.sha256},
                                                  {"rows", source.texts.size()},
                                                  {"tokens", ids.size()},
                                                  {"vocab_size", tokenizer->vocab_size()}}) +
                                             "\n");
  log_info("{}: {} tokens, vocabulary of {}", path.string(), ids.size(), tokenizer->vocab_size());
}

/// Returns the config.json of a fresh model.
Json fresh_model_config(const train::RunConfig& config, const text::Tokenizer& tokenizer) {
  const auto end_of_text = tokenizer.token_to_id(kEndOfText);
  const Json end = end_of_text ? Json(*end_of_text) : Json(nullptr);
  return {{"model_type", config.model.family},
          {"vocab_size", tokenizer.vocab_size()},
          {"n_positions", config.train.context},
          {"n_embd", config.model.hidden},
          {"n_layer", config.model.layers},
          {"n_head", config.model.heads},
          {"max_position_embeddings", config.train.context},
          {"hidden_size", config.model.hidden},
          {"num_hidden_layers", config.model.layers},
          {"num_attention_heads", config.model.heads},
          {"resid_pdrop", config.train.dropout},
          {"embd_pdrop", config.train.dropout},
          {"attn_pdrop", config.train.dropout},
          {"bos_token_id", end},
          {"eos_token_id", end}};
}

std::unique_ptr<nn::CausalLm> make_model(const train::RunConfig& config, const text::Tokenizer& tokenizer) {
  auto model = config.model.from.empty()
                   ? models::make_causal_lm(fresh_model_config(config, tokenizer), config.train.seed)
                   : models::load_causal_lm(config.model.from, {.type = at::kFloat, .trainable = true});
  model->set_precision(nn::parse_precision(config.train.precision));
  const nn::CausalLmInfo& info = model->info();
  if (info.vocab_size < static_cast<std::int64_t>(tokenizer.vocab_size())) {
    throw_invalid(fmt::format("the tokenizer has {} ids, the model's vocabulary only {}", tokenizer.vocab_size(),
                              info.vocab_size),
                  "model.from and tokenizer.path must belong together");
  }
  if (info.context < config.train.context) {
    throw_invalid(fmt::format("train.context is {}, the model of model.from takes at most {} tokens",
                              config.train.context, info.context));
  }
  return model;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_train_rank(const void* options, const void*) {
  using namespace mobula;
  using namespace mobula::cli;
  // The context is the worker's own; entries take their options as const by convention only.
  auto& context = *static_cast<train::TrainContext*>(const_cast<void*>(options));
  train::RunConfig config;
  Config::from_text(context.argument(), "the run's configuration").read(config);
  const train::RunFolder folder{context.directory()};
  const TokenCache cache{folder.data()};
  const bool resumes = folder.holds_run() && cache.filled();
  if (context.rank() == 0 && (context.restarts() == 0 || !resumes)) prepare_tokens(config, cache, resumes);
  context.ranks().barrier();

  const auto tokenizer = text::Tokenizer::load(cache.folder);
  const data::TokenFile tokens(cache.tokens());
  const auto split = static_cast<std::size_t>(static_cast<double>(tokens.size()) * (1 - config.data.validation));
  const auto context_size = static_cast<std::size_t>(config.train.context);
  const data::TokenWindows training(tokens, 0, split, context_size, "training split");
  const data::TokenWindows validation(tokens, split, tokens.size(), context_size, "validation split");
  const auto model = make_model(config, *tokenizer);
  // From here on the folder holds a run: what came before may be mended and started again.
  if (context.rank() == 0) write_file_atomic(folder.config(), context.argument());
  const auto write_model = [&](const fs::path& directory, const std::vector<nn::NamedTensor>& parameters) {
    models::save_parameters(model->config(), parameters, directory);
    tokenizer->save(directory, kChatTemplate);
  };
  train::train_language_model(context, {.loop = config.train,
                                        .checkpoint = config.checkpoint,
                                        .model = *model,
                                        .training = training,
                                        .validation = validation,
                                        .write_model = write_model});
  return 0;
}

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/cli/continuation.hpp"
#include "mobula/cli/encoder_texts.hpp"
#include "mobula/cli/language_model.hpp"
#include "mobula/data/preprocess/models.hpp"
#include "mobula/models/encoder/sentence_embedding.hpp"

namespace mobula::cli {
namespace {

using data::ModelAnswer;
using data::ModelOptions;

constexpr std::size_t kRowsTogether = 32;

/// Calls `use` with the ids of texts of similar length, and with their places.
template <class Use>
void by_length(const std::vector<std::string>& texts, const text::Tokenizer& tokenizer,
               std::vector<ModelAnswer>& answers, Use use) {
  std::vector<std::pair<Ids, std::size_t>> rows;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Ids ids = tokenizer.encode(texts[i]);
    if (ids.empty()) {
      answers[i].error = "the text has no tokens";
    } else {
      rows.emplace_back(std::move(ids), i);
    }
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.first.size() < b.first.size(); });
  for (std::size_t begin = 0; begin < rows.size(); begin += kRowsTogether) {
    std::vector<Ids> batch;
    std::vector<std::size_t> places;
    for (std::size_t i = begin; i < std::min(rows.size(), begin + kRowsTogether); ++i) {
      batch.push_back(std::move(rows[i].first));
      places.push_back(rows[i].second);
    }
    use(batch, places);
  }
}

class TextEmbedder : public data::LoadedModel {
 public:
  explicit TextEmbedder(const ModelOptions& options)
      : model_(load_text_encoder(options.model, options.dtype)),
        how_(models::read_sentence_embedding_options(options.model)) {
    const std::int64_t context = model_->description().context();
    tokenizer_ =
        load_encoder_tokenizer(options.model, how_.max_tokens > 0 ? std::min(how_.max_tokens, context) : context,
                               model_->description().vocab_size);
    // What a text's vector is made of depends on the checkpoint's pooling: one token tells its length.
    const at::NoGradGuard no_grad;
    dimension_ = static_cast<std::int64_t>(embed({Ids{0}}).front().size());
  }

  std::int64_t dimension() const override { return dimension_; }
  std::vector<ModelAnswer> answer(const std::vector<std::string>& texts) override {
    const at::NoGradGuard no_grad;
    std::vector<ModelAnswer> answers(texts.size());
    by_length(texts, *tokenizer_, answers, [&](const std::vector<Ids>& rows, const std::vector<std::size_t>& places) {
      std::vector<std::vector<float>> vectors = embed(rows);
      for (std::size_t i = 0; i < rows.size(); ++i) answers[places[i]].values = std::move(vectors[i]);
    });
    return answers;
  }

 private:
  std::vector<std::vector<float>> embed(const std::vector<Ids>& rows) const {
    const models::EncoderInput input = pad_rows(rows, model_->description().pad_id);
    const at::Tensor vectors_BC = models::embed_sentences(model_->hidden(input), input.mask_BT, how_);
    std::vector<std::vector<float>> vectors;
    for (std::int64_t b = 0; b < vectors_BC.size(0); ++b) vectors.push_back(to_vector(vectors_BC[b]));
    return vectors;
  }

  std::unique_ptr<models::Encoder> model_;
  models::SentenceEmbeddingOptions how_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::int64_t dimension_ = 0;
};

class TextClassifier : public data::LoadedModel {
 public:
  explicit TextClassifier(const ModelOptions& options) : model_(load_text_encoder(options.model, options.dtype)) {
    const models::EncoderConfig& config = model_->description();
    if (config.task != models::EncoderTask::sequence_classification) {
      throw_invalid(fmt::format("{}: config.json's architectures name no classifier of texts", options.model),
                    "fine-tune one, or take the step embed");
    }
    tokenizer_ = load_encoder_tokenizer(options.model, config.context(), config.vocab_size);
  }

  std::vector<std::string> labels() const override { return model_->description().labels; }
  std::vector<ModelAnswer> answer(const std::vector<std::string>& texts) override {
    const at::NoGradGuard no_grad;
    std::vector<ModelAnswer> answers(texts.size());
    by_length(texts, *tokenizer_, answers, [&](const std::vector<Ids>& rows, const std::vector<std::size_t>& places) {
      const models::EncoderConfig& config = model_->description();
      const at::Tensor probabilities = label_probabilities(model_->logits(pad_rows(rows, config.pad_id)), config);
      for (std::size_t i = 0; i < rows.size(); ++i)
        answers[places[i]].values = to_vector(probabilities[static_cast<std::int64_t>(i)]);
    });
    return answers;
  }

 private:
  std::unique_ptr<models::Encoder> model_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
};

class TextGenerator : public data::LoadedModel {
 public:
  explicit TextGenerator(const ModelOptions& options)
      : options_(options), engine_(load_engine(options.model, options.dtype)) {
    tokenizer_ = load_tokenizer(options.model, engine_->info().vocab_size);
    if (tokenizer_ == nullptr) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no tokenizer.json", options.model),
                  "texts are continued with the model's tokenizer");
    }
    sampling_ = {.max_tokens = static_cast<std::size_t>(options.max_tokens),
                 .temperature = options.temperature,
                 .top_k = static_cast<std::size_t>(options.top_k),
                 .top_p = options.top_p,
                 .seed = options.seed};
    sampling_.validate();
  }

  std::vector<ModelAnswer> answer(const std::vector<std::string>& texts) override {
    std::vector<ModelAnswer> answers(texts.size());
    std::vector<std::unique_ptr<Continuation>> continuations(texts.size());
    for (std::size_t i = 0; i < texts.size(); ++i) {
      auto& continuation = continuations[i];
      continuation = std::make_unique<Continuation>(tokenizer_, options_.stop);
      try {
        engine_->submit(
            {.prompt = tokenizer_->encode(texts[i]),
             .sampling = sampling_,
             .on_token = [&continuation](const nn::TokenEvent& event) { return continuation->take(event); }});
      } catch (const Error& error) {
        answers[i].error = error.message();
        continuation.reset();
      }
    }
    while (engine_->step()) {
    }
    for (std::size_t i = 0; i < texts.size(); ++i) {
      if (continuations[i] == nullptr) continue;
      Answer& answer = continuations[i]->answer;
      if (answer.finish == nn::FinishReason::error) throw Error(ErrorCode::task_failed, answer.error);
      answers[i].text = std::move(answer.text);
      answers[i].finish_reason = nn::to_string(answer.finish);
    }
    return answers;
  }

 private:
  ModelOptions options_;
  std::unique_ptr<nn::GenerationEngine> engine_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  nn::SamplingOptions sampling_;
};

}  // namespace
}  // namespace mobula::cli

extern "C" void mobula_load_data_model(const mobula::data::ModelOptions* options,
                                       std::unique_ptr<mobula::data::LoadedModel>* model) {
  using mobula::data::ModelTask;
  switch (options->task) {
    case ModelTask::embed:
      *model = std::make_unique<mobula::cli::TextEmbedder>(*options);
      break;
    case ModelTask::generate:
      *model = std::make_unique<mobula::cli::TextGenerator>(*options);
      break;
    case ModelTask::classify:
      *model = std::make_unique<mobula::cli::TextClassifier>(*options);
      break;
  }
}

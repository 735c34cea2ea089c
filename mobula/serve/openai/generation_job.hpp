/// One API request being answered: its continuations in the generator, and the answer that grows from their events.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "mobula/serve/http/exchange.hpp"
#include "mobula/serve/metrics.hpp"
#include "mobula/serve/openai/answer_format.hpp"
#include "mobula/serve/text_generator.hpp"

namespace mobula::serve::openai {

/// A prompt of a request.
struct JobPrompt {
  std::vector<TokenId> ids;
  std::string echo;          ///< text that stands before each answer; empty without echo
  bool echoes_text = false;  ///< the echo is the client's text, which holds no special tokens
};

/// What a job has to do.
struct JobOptions {
  std::vector<JobPrompt> prompts;
  nn::SamplingOptions sampling;
  std::vector<std::string> stop;
  std::string adapter;             ///< empty: the model as it is
  std::uint64_t seed = 0;          ///< of the first continuation; each further one adds 1
  std::size_t num_choices = 1;     ///< answers for each prompt
  std::size_t num_candidates = 1;  ///< continuations for each prompt, of which the likeliest are answered
  bool echo = false;
  bool stream = false;
  bool include_usage = false;
  std::string route;  ///< for the metrics
};

/// Answers an exchange. The generator's thread only queues events; text is made on the connection's thread.
class GenerationJob : public std::enable_shared_from_this<GenerationJob> {
 public:
  GenerationJob(std::shared_ptr<http::Exchange> exchange, TextGenerator& generator, Metrics& metrics,
                std::unique_ptr<AnswerFormat> format, JobOptions options);

  /// Submits the continuations. Throws what the generator throws; nothing is left running then.
  void start();

 private:
  struct Candidate {
    TextGenerator::RequestId request = 0;
    AnswerPart part;  // everything so far, or when streaming what has not been sent
    double sum_logprobs = 0;
    std::size_t num_tokens = 0;
    std::size_t text_bytes = 0;       // of the continuation, of which
    std::size_t text_characters = 0;  // so many characters have been counted in
    std::string counted_text;         // what token offsets still have to be counted in
    bool opened = false;
    bool ended = false;
  };

  void receive(std::size_t candidate, TextEvent event);
  void process();
  void add(Candidate& candidate, const JobPrompt& prompt, TextEvent& event);
  void add_prompt(Candidate& candidate, const JobPrompt& prompt, const std::vector<double>& logprobs);
  void stream_part(std::size_t candidate);
  void finish();
  void break_off(const TextEvent& event);
  void cancel();
  void record(int status);
  Usage usage() const;
  std::string bytes_of(TokenId id) const;

  std::shared_ptr<http::Exchange> exchange_;
  TextGenerator& generator_;
  Metrics& metrics_;
  std::unique_ptr<AnswerFormat> format_;
  JobOptions options_;
  std::chrono::steady_clock::time_point arrival_ = std::chrono::steady_clock::now();

  std::mutex mutex_;  // of what the generator's thread and the others share
  std::vector<std::pair<std::size_t, TextEvent>> mailbox_;
  std::vector<TextGenerator::RequestId> requests_;
  bool ready_ = false;   // all continuations are submitted
  bool posted_ = false;  // process() is on its way
  bool cancelled_ = false;

  std::vector<Candidate> candidates_;
  std::size_t num_ended_ = 0;
  bool streaming_ = false;
  bool over_ = false;
  bool first_token_seen_ = false;
};

}  // namespace mobula::serve::openai

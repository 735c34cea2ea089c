#include "mobula/cli/serve.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/size.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/language_model.hpp"
#include "mobula/cli/sampling_defaults.hpp"
#include "mobula/serve/http/server.hpp"
#include "mobula/serve/openai/service.hpp"
#include "mobula/serve/text_generator.hpp"
#include "mobula/text/conversation.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMaxKeyBytes = 4096;

/// Waits for SIGINT or SIGTERM, on whichever thread it arrives. The second one ends the process as usual.
class StopSignal {
 public:
  StopSignal() {
    if (::pipe(pipe_) != 0) throw_io("pipe", errno);
    struct sigaction action {};
    action.sa_handler = [](int) {
      const char byte = 0;
      [[maybe_unused]] const ssize_t ignored = ::write(pipe_[1], &byte, 1);
    };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
  }
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal() {
    std::signal(SIGINT, SIG_DFL);
    std::signal(SIGTERM, SIG_DFL);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }

  void wait() {
    char byte = 0;
    while (::read(pipe_[0], &byte, 1) < 0 && errno == EINTR) {
    }
  }

 private:
  static inline int pipe_[2] = {-1, -1};
};

std::string read_api_key(const ServeOptions& options) {
  std::string key;
  if (!options.api_key_file.empty()) {
    key = read_file(options.api_key_file, kMaxKeyBytes);
    while (!key.empty() && std::isspace(static_cast<unsigned char>(key.back()))) key.pop_back();
    if (key.empty()) throw_invalid(fmt::format("{}: holds no key", options.api_key_file), "write one line into it");
  } else if (const char* variable = std::getenv("MOBULA_API_KEY")) {
    key = variable;
  }
  return key;
}

std::string folder_name(const std::string& path) {
  // "best" and "last" are links: what the user wrote says more than where they lead.
  fs::path folder = fs::absolute(path).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  return folder.filename().string();
}

std::string model_id(const ServeOptions& options) {
  return options.name.empty() ? folder_name(options.model) : options.name;
}

serve::openai::ServedModel load_model(const ServeOptions& options) {
  const nn::SamplingDefaults defaults = load_sampling_defaults(options.model, options.generation_config);
  nn::EngineOptions engine_options;
  engine_options.max_batch = options.max_concurrent;
  engine_options.cache_bytes = parse_size(options.cache);
  std::vector<std::string> adapters = options.adapters;
  for (std::string& adapter : adapters) {
    if (fs::exists(adapter)) adapter = fmt::format("{}={}", folder_name(adapter), adapter);
  }
  add_adapters(adapters, engine_options);
  auto engine = load_engine(options.model, options.dtype, std::move(engine_options));
  auto tokenizer = load_tokenizer(options.model, engine->info().vocab_size);
  if (tokenizer == nullptr) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no tokenizer.json", options.model),
                "serving needs the tokenizer that the model was trained with");
  }
  const nn::EngineInfo info = engine->info();
  log_info("{}: {}, vocabulary {}, context {}", options.model, info.family, info.vocab_size, info.context);
  const text::ModelChatTemplate chat = load_model_chat_template(options.model);
  // An encoder reads joined messages as they are; what continues them begins a line of its own.
  const bool opens_answer = !chat.is_default || info.continues_prompt;
  return {.id = model_id(options),
          .generator = std::make_shared<serve::TextGenerator>(
              std::move(engine), std::move(tokenizer), serve::TextGeneratorOptions{.max_requests = options.max_queue}),
          .render_chat =
              [chat, opens_answer](const text::Conversation& conversation) {
                return text::render_conversation(chat, conversation, opens_answer);
              },
          .chat_needs_special_tokens = chat.is_default,
          .sampling = defaults};
}

int run(const ServeOptions& options, const GlobalOptions& globals) {
  if (options.max_concurrent == 0) throw_invalid("--max-concurrent is 0", "at least one request must run");
  if (options.max_queue == 0) throw_invalid("--max-queue is 0", "at least one request must fit");
  const auto drain_timeout =
      std::chrono::duration_cast<std::chrono::milliseconds>(parse_duration(options.drain_timeout));
  const std::string api_key = read_api_key(options);

  // The port is taken before the model is loaded: that it is occupied should not come out minutes later.
  std::unique_ptr<serve::openai::Service> service;
  std::atomic<serve::openai::Service*> ready{nullptr};
  serve::http::Server server({.host = options.host,
                              .port = options.port,
                              .num_threads = options.http_threads,
                              .error_response = serve::openai::Service::error_response},
                             [&](std::shared_ptr<serve::http::Exchange> exchange) {
                               if (serve::openai::Service* const loaded = ready) {
                                 loaded->handle(std::move(exchange));
                               } else {
                                 exchange->respond(serve::openai::Service::error_response(503, "the model is loading"));
                               }
                             });
  server.start();
  const bool loopback = options.host == "localhost" || options.host == "::1" || options.host.starts_with("127.");
  if (!loopback && api_key.empty()) {
    log_warning("everybody who reaches {} can use the model; --api-key-file asks for a key", server.url());
  }
  service = std::make_unique<serve::openai::Service>(
      load_model(options),
      serve::openai::ServiceOptions{.api_key = api_key, .server_status = [&] { return server.status(); }});
  StopSignal stop;
  ready = service.get();
  if (globals.json) {
    fmt::print("{}\n", to_line({{"url", server.url()}, {"model", model_id(options)}}));
  } else {
    fmt::print("listening on {}\n", server.url());
  }
  std::fflush(stdout);

  stop.wait();
  const std::size_t running = server.status().num_requests;
  if (running > 0) log_info("stopping; {} requests may take {}", running, format_duration(drain_timeout));
  if (!server.drain(drain_timeout)) log_warning("some requests were cut off");
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_serve(const void* options, const void* globals) {
  return mobula::cli::run(*static_cast<const mobula::cli::ServeOptions*>(options),
                          *static_cast<const mobula::cli::GlobalOptions*>(globals));
}

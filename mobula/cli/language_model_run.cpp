#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <iostream>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/cli/gguf_tokenizer.hpp"
#include "mobula/cli/language_model.hpp"
#include "mobula/cli/plugin.hpp"
#include "mobula/cli/torch_engine.hpp"
#include "mobula/models/decoder/load_decoder.hpp"
#include "mobula/nn/adapters/adapter.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/generate/batch_engine.hpp"
#include "mobula/nn/gguf_file.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelHint =
    "--model names the folder of a checkpoint (config.json, model.safetensors, tokenizer.json) or a file NAME.gguf";

volatile std::sig_atomic_t signal_seen = 0;

bool is_gguf(const std::filesystem::path& path) {
  return path.extension() == ".gguf" && std::filesystem::is_regular_file(path);
}

void remember_signal(int number) {
  signal_seen = 1;
  std::signal(number, SIG_DFL);
}

void check_model_path(const std::string& model) {
  if (is_gguf(model)) return;
  if (!fs::is_directory(model)) {
    const bool may_be_on_hub = !fs::exists(model) && std::ranges::count(model, '/') == 1 && model.front() != '/' &&
                               model.back() != '/' && model.front() != '.';
    throw Error(ErrorCode::not_found, fmt::format("{}: no such folder", model),
                may_be_on_hub
                    ? fmt::format("'mobula hub pull {}' brings a model of that name, and prints its folder", model)
                    : kModelHint);
  }
  if (!fs::exists(fs::path(model) / "config.json")) {
    throw Error(ErrorCode::not_found, fmt::format("{}: the folder holds no config.json", model), kModelHint);
  }
}

}  // namespace

std::optional<at::ScalarType> parse_type(const std::string& dtype) {
  if (dtype.empty()) return std::nullopt;
  if (dtype == "fp32") return at::kFloat;
  if (dtype == "bf16") return at::kBFloat16;
  throw_invalid(fmt::format("--dtype {} is unknown", dtype), "use fp32, bf16, int8 or int4");
}

bool is_t5(const std::string& model) {
  return !is_gguf(model) && nn::read_json_file(fs::path(model) / "config.json").value("model_type", Json()) == "t5";
}

std::unique_ptr<nn::GenerationEngine> load_torch_engine(std::string model, std::string dtype,
                                                        nn::EngineOptions options) {
  std::unique_ptr<nn::GenerationEngine> engine;
  const TorchEngineRequest request{std::move(model), std::move(dtype), std::move(options), &engine};
  run_in_plugin(kTorchPlugin, "mobula_make_torch_engine", request, {});
  return engine;
}

std::unique_ptr<nn::GenerationEngine> load_engine(const std::string& model, const std::string& dtype,
                                                  nn::EngineOptions options) {
  if (dtype == "int8") options.quantize = nn::WeightType::int8;
  if (dtype == "int4") options.quantize = nn::WeightType::int4;
  const std::string kept = options.quantize ? "" : dtype;
  const std::optional<at::ScalarType> type = parse_type(kept);
  check_model_path(model);
  if (is_t5(model)) return load_torch_engine(model, kept, std::move(options));
  models::LoadedDecoder loaded = models::load_decoder(model, type);
  // Wider heads than the kernels take: libtorch reads the whole text for every token, and says so.
  if (loaded.model.spec.head_dim > nn::kMaxHeadDim) return load_torch_engine(model, kept, std::move(options));
  return nn::make_generation_engine(std::move(loaded.info), std::move(loaded.model), options);
}

void add_adapters(const std::vector<std::string>& adapters, nn::EngineOptions& options) {
  for (const std::string& adapter : adapters) {
    const auto equals = adapter.find('=');
    const bool named = equals != std::string::npos && equals > 0 && !fs::exists(adapter);
    std::string name = named ? adapter.substr(0, equals) : adapter;
    for (const nn::EngineAdapter& other : options.adapters) {
      if (other.name == name) throw_invalid(fmt::format("--adapter {}: the name is taken", name), "write NAME=DIR");
    }
    const std::string folder = named ? adapter.substr(equals + 1) : adapter;
    options.adapters.push_back({std::move(name), std::make_shared<const nn::Adapter>(nn::load_adapter(folder))});
  }
}

std::shared_ptr<const text::Tokenizer> load_tokenizer(const std::string& model, std::size_t vocab_size) {
  std::filesystem::path path = model;
  std::shared_ptr<const text::Tokenizer> tokenizer;
  if (is_gguf(path)) {
    const std::string json = gguf_tokenizer_json(nn::GgufFile(path).metadata());
    if (json.empty()) return nullptr;
    tokenizer = text::Tokenizer::parse(json, model);
  } else {
    const auto file = text::Tokenizer::find(path);
    if (!file) return nullptr;
    tokenizer = text::Tokenizer::load(path, text::Lengths::as_they_come);
    path = *file;
  }
  if (tokenizer->vocab_size() > vocab_size) {
    throw_invalid(fmt::format("{}: the tokenizer has {} ids, the model's vocabulary {}", path.string(),
                              tokenizer->vocab_size(), vocab_size),
                  "tokenizer and model belong to different checkpoints");
  }
  return tokenizer;
}

text::ModelChatTemplate load_model_chat_template(const std::string& model) {
  if (!is_gguf(model)) return text::load_chat_template(model);
  return gguf_chat_template(nn::GgufFile(model).metadata(), model);
}

std::vector<std::vector<nn::TokenId>> read_id_lines(const std::filesystem::path& path) {
  std::ifstream opened;
  const bool standard = path == "-";
  if (!standard) opened.open(path);
  if (!opened) throw Error(ErrorCode::not_found, fmt::format("{}: can't be opened", path.string()));
  std::istream& file = standard ? std::cin : opened;
  std::vector<std::vector<nn::TokenId>> rows;
  std::string line;
  while (std::getline(file, line)) {
    const std::string place = fmt::format("{}:{}", path.string(), rows.size() + 1);
    const Json json = parse_json(line, place, {.max_depth = 2});
    if (!json.is_array()) throw_invalid(fmt::format("{}: expected an array of token ids", place));
    rows.emplace_back();
    for (const Json& id : json) {
      if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() > INT32_MAX) {
        throw_invalid(fmt::format("{}: {} is no token id", place, to_line(id)));
      }
      rows.back().push_back(id.get<nn::TokenId>());
    }
  }
  return rows;
}

InterruptGuard::InterruptGuard() {
  signal_seen = 0;
  std::signal(SIGINT, remember_signal);
  std::signal(SIGTERM, remember_signal);
}

InterruptGuard::~InterruptGuard() {
  std::signal(SIGINT, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

bool InterruptGuard::interrupted() noexcept {
  return signal_seen != 0;
}

void InterruptGuard::check() {
  if (interrupted()) throw Error(ErrorCode::cancelled, "stopped by the user");
}

}  // namespace mobula::cli

/// What the commands on language models share: the model, its tokenizer, a generation engine, and Ctrl-C.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mobula/nn/generate/batch_engine.hpp"
#include "mobula/nn/generate/engine.hpp"
#include "mobula/nn/number_type.hpp"
#include "mobula/text/chat_template.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {

/// Returns the type that --dtype names, fp32 or bf16; none for an empty text, which leaves a checkpoint's own.
std::optional<at::ScalarType> parse_type(const std::string& dtype);

/// Tells whether a checkpoint's model_type is t5.
bool is_t5(const std::string& model);

/// Loads a checkpoint folder or GGUF file and makes an engine of it; `dtype` as for parse_type(), or int8 or int4. Loads libtorch
/// for T5 alone, and for heads that are wider than the decoder's kernels take. Throws Error that names what is wrong.
std::unique_ptr<nn::GenerationEngine> load_engine(const std::string& model, const std::string& dtype,
                                                  nn::EngineOptions options = {});

/// Adds the adapter in each folder to an engine's options: "NAME=DIR", or "DIR", whose name is the folder's path. Throws Error
/// for what is no adapter, and for a name given twice.
void add_adapters(const std::vector<std::string>& adapters, nn::EngineOptions& options);

/// Loads the tokenizer of a checkpoint folder or a GGUF file, or returns null where it has none. Throws Error(invalid_argument) where it
/// has ids that a model with `vocab_size` lacks.
std::shared_ptr<const text::Tokenizer> load_tokenizer(const std::string& model, std::size_t vocab_size);

/// Loads the chat templates of a checkpoint folder or a GGUF file. Throws Error naming the file.
text::ModelChatTemplate load_model_chat_template(const std::string& model);

/// Reads one JSON array of token ids a line; "-" is standard input. Throws Error naming the line.
std::vector<std::vector<nn::TokenId>> read_id_lines(const std::filesystem::path& path);

/// While it lives, the first Ctrl-C (or SIGTERM) is only remembered; a second one ends the process.
class InterruptGuard {
 public:
  InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  ~InterruptGuard();

  /// Tells whether it came.
  static bool interrupted() noexcept;
  /// Throws Error(cancelled) where it came.
  static void check();
};

}  // namespace mobula::cli

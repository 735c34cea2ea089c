/// Chat templates: a conversation to the text that a model was trained to see, in the Jinja language of checkpoints.
///
///     const ModelChatTemplate chat = load_chat_template("model/");
///     std::string prompt = chat.render(messages, /*add_generation_prompt=*/true);
///
/// The text equals that of transformers' apply_chat_template. Templates come with models, so they are not trusted: they see
/// plain values only, and time, memory, output and nesting are bounded.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "mobula/base/json.hpp"

namespace mobula::text {

namespace jinja {
struct Program;
}

/// A parsed template. Copies share it; immutable and thread-safe.
class ChatTemplate {
 public:
  /// Parses a template as transformers does: trim_blocks, lstrip_blocks, loop controls, {% generation %}. Throws
  /// Error(invalid_argument) "NAME, line N: ...".
  static ChatTemplate parse(std::string_view source, std::string_view name);

  /// Renders with the members of `context` as variables. Throws Error(invalid_argument) for what the template raises (by
  /// raise_exception, or because a value is undefined or of the wrong type), naming the line, and Error(resource) where it
  /// runs or writes too long.
  std::string render(const Json& context) const;

 private:
  std::shared_ptr<const jinja::Program> program_;
};

/// Joins the messages' contents with line breaks: how base models, whose checkpoints name no template, can be talked to.
std::string_view default_chat_template();

/// The chat templates of a checkpoint and the special tokens that they may name.
struct ModelChatTemplate {
  std::map<std::string, ChatTemplate> templates;  ///< by name: "default", "tool_use", ...
  Json special_tokens = Json::object();           ///< bos_token, eos_token, ...: members of the context
  bool is_default = false;                        ///< the checkpoint named none

  /// Renders `messages` (an array of {"role", "content", ...}) with `tools` where not null; members of `extra` are variables
  /// too and come before special tokens. Members of messages that are null are dropped, as transformers does.
  std::string render(const Json& messages, bool add_generation_prompt, const Json& tools = nullptr,
                     const Json& extra = Json::object()) const;
};

/// Makes the templates of a model whose `special_tokens` and `templates` were found; where there are none,
/// default_chat_template().
ModelChatTemplate make_chat_template(Json special_tokens, std::map<std::string, ChatTemplate> templates);

/// Reads chat_template.jinja, additional_chat_templates/*.jinja, else chat_template of tokenizer_config.json; where there is
/// none, default_chat_template(). Throws Error naming the file.
ModelChatTemplate load_chat_template(const std::filesystem::path& directory);

}  // namespace mobula::text

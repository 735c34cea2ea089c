#include "mobula/text/chat_template.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/text/jinja/interpreter.hpp"
#include "mobula/text/jinja/lexer.hpp"
#include "mobula/text/jinja/program.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {
namespace {

constexpr std::size_t kMaxTemplateBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxConfigBytes = std::size_t{1} << 28;

// A message without its null members, its reasoning under every name that templates read.
Json plain_message(const Json& message) {
  if (!message.is_object()) throw_invalid("messages: each message must be an object with 'role' and 'content'");
  Json plain = Json::object();
  const Json* reasoning = nullptr;
  for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
    const auto found = message.find(name);
    if (found != message.end() && !found->is_null() && reasoning == nullptr) reasoning = &*found;
  }
  if (reasoning != nullptr) plain["thinking"] = *reasoning;
  for (const auto& [key, value] : message.items()) {
    if (!value.is_null()) plain[key] = value;
  }
  if (reasoning != nullptr) plain["reasoning_content"] = *reasoning;
  return plain;
}

// A special token is a string, or an object whose content it is.
void take_special_token(Json& out, const std::string& name, const Json& value) {
  if (value.is_string()) {
    out[name] = value;
  } else if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    out[name] = value["content"];
  }
}

}  // namespace

ChatTemplate ChatTemplate::parse(std::string_view source, std::string_view name) {
  if (source.size() > kMaxTemplateBytes) {
    throw Error(ErrorCode::resource, fmt::format("{}: a chat template of {} bytes is refused", name, source.size()));
  }
  std::string valid;
  append_repaired_utf8(valid, source);
  ChatTemplate result;
  try {
    result.program_ = std::make_shared<const jinja::Program>(jinja::parse_program(valid, name));
  } catch (const jinja::SyntaxError& error) {
    throw Error(ErrorCode::invalid_argument, fmt::format("{}, line {}: {}", name, error.line, error.message),
                "correct the chat template");
  }
  return result;
}

std::string ChatTemplate::render(const Json& context) const {
  jinja::Interpreter interpreter(*program_, context);
  try {
    return interpreter.run();
  } catch (const jinja::Failure& failure) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}, line {}: {}", program_->name, interpreter.line(), failure.message),
                "the chat template doesn't take these messages");
  } catch (const jinja::Exhausted& exhausted) {
    throw Error(ErrorCode::resource,
                fmt::format("{}, line {}: {}", program_->name, interpreter.line(), exhausted.message));
  }
}

std::string_view default_chat_template() {
  return "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}"
         "{% if message['content'] is string %}{{ message['content'] }}"
         "{% elif message['content'] %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
         "{% endfor %}{% if add_generation_prompt %}{{ '\\n' }}{% endif %}";
}

std::string ModelChatTemplate::render(const Json& messages, bool add_generation_prompt, const Json& tools,
                                      const Json& extra) const {
  if (!messages.is_array() || messages.empty()) throw_invalid("messages: expected an array of at least one message");
  Json context = special_tokens;
  if (extra.is_object()) context.update(extra);
  Json plain = Json::array();
  for (const Json& message : messages) plain.push_back(plain_message(message));
  context["messages"] = std::move(plain);
  context["tools"] = tools;
  context["documents"] = extra.is_object() && extra.contains("documents") ? extra["documents"] : Json();
  context["add_generation_prompt"] = add_generation_prompt;
  auto chosen = templates.find("tool_use");
  if (tools.is_null() || chosen == templates.end()) chosen = templates.find("default");
  if (chosen == templates.end()) throw_invalid("the checkpoint has several chat templates, but none named 'default'");
  return chosen->second.render(context);
}

ModelChatTemplate make_chat_template(Json special_tokens, std::map<std::string, ChatTemplate> templates) {
  const bool is_default = templates.empty();
  if (is_default) {
    templates.insert_or_assign("default", ChatTemplate::parse(default_chat_template(), "default chat template"));
  }
  return {.templates = std::move(templates), .special_tokens = std::move(special_tokens), .is_default = is_default};
}

ModelChatTemplate load_chat_template(const std::filesystem::path& directory) {
  ModelChatTemplate result;
  const std::filesystem::path config_path = directory / "tokenizer_config.json";
  Json config = Json::object();
  if (std::filesystem::exists(config_path)) {
    config = parse_json(read_file(config_path, kMaxConfigBytes), config_path.string());
    if (!config.is_object())
      throw Error(ErrorCode::corrupt, fmt::format("{}: expected an object", config_path.string()));
  }
  const std::filesystem::path special_path = directory / "special_tokens_map.json";
  if (std::filesystem::exists(special_path)) {
    const Json special = parse_json(read_file(special_path, kMaxConfigBytes), special_path.string());
    for (const auto& [name, value] : special.items()) take_special_token(result.special_tokens, name, value);
  }
  for (const auto& [name, value] : config.items()) {
    if (name.ends_with("_token")) take_special_token(result.special_tokens, name, value);
  }

  const std::filesystem::path file = directory / "chat_template.jinja";
  if (std::filesystem::exists(file)) {
    result.templates.insert_or_assign("default",
                                      ChatTemplate::parse(read_file(file, kMaxTemplateBytes), file.string()));
  }
  const std::filesystem::path more = directory / "additional_chat_templates";
  if (std::filesystem::is_directory(more)) {
    for (const auto& entry : std::filesystem::directory_iterator(more)) {
      if (entry.path().extension() != ".jinja") continue;
      result.templates.insert_or_assign(
          entry.path().stem().string(),
          ChatTemplate::parse(read_file(entry.path(), kMaxTemplateBytes), entry.path().string()));
    }
  }
  const auto field = config.find("chat_template");
  if (result.templates.empty() && field != config.end() && !field->is_null()) {
    const std::string place = config_path.string() + ": chat_template";
    if (field->is_string()) {
      result.templates.insert_or_assign("default", ChatTemplate::parse(field->get_ref<const std::string&>(), place));
    } else if (field->is_array()) {
      for (const Json& entry : *field) {
        if (!entry.is_object() || !entry.value("name", Json()).is_string() ||
            !entry.value("template", Json()).is_string()) {
          throw Error(ErrorCode::corrupt, fmt::format("{}: expected objects with 'name' and 'template'", place));
        }
        const std::string name = entry["name"].get<std::string>();
        result.templates.insert_or_assign(name, ChatTemplate::parse(entry["template"].get_ref<const std::string&>(),
                                                                    fmt::format("{} '{}'", place, name)));
      }
    } else {
      throw Error(ErrorCode::corrupt, fmt::format("{}: expected a string or an array", place));
    }
  }
  return make_chat_template(std::move(result.special_tokens), std::move(result.templates));
}

}  // namespace mobula::text

#include "mobula/serve/openai/chat_messages.hpp"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/serve/openai/api_error.hpp"

namespace mobula::serve::openai {
namespace {

constexpr std::size_t kMaxMessages = 4096;
constexpr std::size_t kMaxTools = 128;

[[noreturn]] void refuse(const std::string& message, const std::string& field) {
  throw ApiError(400, message, field, "invalid_value");
}

std::string read_content(const Json& content, const std::string& field) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) refuse(fmt::format("'{}' must be a string or an array of text parts", field), field);
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    FieldReader part(content[i], fmt::format("{}[{}]", field, i));
    part.only("type", {"\"text\""});
    const auto words = part.string("text");
    if (!words) refuse(fmt::format("'{}' needs a 'text'", part.path_of("text")), part.path_of("text"));
    part.finish();
    if (i > 0) text += '\n';
    text += *words;
  }
  return text;
}

std::string required_string(FieldReader& fields, std::string_view name) {
  auto text = fields.string(name);
  if (!text || text->empty()) refuse(fmt::format("'{}' is missing", fields.path_of(name)), fields.path_of(name));
  return std::move(*text);
}

// Clients send arguments as text that holds JSON; templates walk through them.
Json read_arguments(FieldReader& function) {
  const std::string field = function.path_of("arguments");
  const Json* arguments = function.find("arguments");
  if (arguments == nullptr) return Json::object();
  Json parsed = *arguments;
  if (arguments->is_string()) {
    try {
      parsed = parse_json(arguments->get_ref<const std::string&>(), field);
    } catch (const Error& error) {
      refuse(fmt::format("'{}' holds no JSON: {}", field, error.message()), field);
    }
  }
  if (!parsed.is_object())
    refuse(fmt::format("'{}' must be a JSON object as text, not {}", field, quote(parsed)), field);
  return parsed;
}

Json read_tool_calls(const Json& calls, const std::string& field) {
  if (!calls.is_array() || calls.empty()) refuse(fmt::format("'{}' must be an array of calls", field), field);
  Json read = Json::array();
  for (std::size_t i = 0; i < calls.size(); ++i) {
    FieldReader call(calls[i], fmt::format("{}[{}]", field, i));
    call.only("type", {"\"function\""});
    Json one = {{"type", "function"}};
    if (auto id = call.string("id")) one["id"] = std::move(*id);
    const Json* inner = call.find("function");
    if (inner == nullptr) refuse(fmt::format("'{}' is missing", call.path_of("function")), call.path_of("function"));
    FieldReader function(*inner, call.path_of("function"));
    one["function"] = {{"name", required_string(function, "name")}};
    one["function"]["arguments"] = read_arguments(function);
    function.finish();
    call.finish();
    read.push_back(std::move(one));
  }
  return read;
}

}  // namespace

Json read_messages(FieldReader& fields) {
  const Json* value = fields.find("messages");
  if (value == nullptr) throw ApiError(400, "you must provide 'messages'", "messages", "missing_parameter");
  if (!value->is_array() || value->empty() || value->size() > kMaxMessages) {
    refuse(fmt::format("'messages' must be an array of 1 to {} messages", kMaxMessages), "messages");
  }
  Json messages = Json::array();
  for (std::size_t i = 0; i < value->size(); ++i) {
    FieldReader message((*value)[i], fmt::format("messages[{}]", i));
    std::string role = message.string("role").value_or("");
    if (role == "developer") role = "system";
    if (role != "system" && role != "user" && role != "assistant" && role != "tool") {
      refuse(fmt::format("'{}' must be system, developer, user, assistant or tool, not {}", message.path_of("role"),
                         quote(role)),
             message.path_of("role"));
    }
    Json read = {{"role", role}};
    const Json* calls = role == "assistant" ? message.find("tool_calls") : nullptr;
    const Json* content = message.find("content");
    if (content != nullptr) {
      read["content"] = read_content(*content, message.path_of("content"));
    } else if (calls == nullptr) {
      refuse(fmt::format("'{}' is missing", message.path_of("content")), message.path_of("content"));
    }
    if (auto name = message.string("name")) read["name"] = std::move(*name);
    if (calls != nullptr) read["tool_calls"] = read_tool_calls(*calls, message.path_of("tool_calls"));
    if (role == "tool") read["tool_call_id"] = required_string(message, "tool_call_id");
    for (const char* unsupported : {"tool_calls", "function_call", "audio", "refusal"}) {
      if (calls == nullptr || std::string_view(unsupported) != "tool_calls") message.only(unsupported, {});
    }
    message.finish();
    messages.push_back(std::move(read));
  }
  return messages;
}

Json read_tools(FieldReader& fields) {
  const Json* value = fields.find("tools");
  if (value == nullptr) return nullptr;
  if (!value->is_array() || value->size() > kMaxTools) {
    refuse(fmt::format("'tools' must be an array of at most {} functions", kMaxTools), "tools");
  }
  for (std::size_t i = 0; i < value->size(); ++i) {
    FieldReader tool((*value)[i], fmt::format("tools[{}]", i));
    tool.only("type", {"\"function\""});
    const Json* inner = tool.find("function");
    if (inner == nullptr) refuse(fmt::format("'{}' is missing", tool.path_of("function")), tool.path_of("function"));
    tool.finish();
    FieldReader function(*inner, tool.path_of("function"));
    required_string(function, "name");
    function.label("description");
    function.only("strict", {"false"});  // nothing holds answers to a schema
    const Json* parameters = function.find("parameters");
    if (parameters != nullptr && !parameters->is_object()) {
      refuse(fmt::format("'{}' must be a JSON schema", function.path_of("parameters")), function.path_of("parameters"));
    }
    function.finish();
  }
  return value->empty() ? Json() : *value;
}

}  // namespace mobula::serve::openai

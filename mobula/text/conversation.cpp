#include "mobula/text/conversation.hpp"

#include <fmt/format.h>

#include <utility>

namespace mobula::text {
namespace {

// Returns a member that is neither absent nor null.
const Json* find(const Json& object, std::string_view key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const Json* find_array(const Json& object, std::string_view key, std::string_view place) {
  const Json* value = find(object, key);
  if (value != nullptr && !value->is_array()) throw_invalid(fmt::format("{}: '{}' must be an array", place, key));
  return value == nullptr || value->empty() ? nullptr : value;
}

}  // namespace

Conversation read_conversation(const Json& value, std::string_view place) {
  if (value.is_array()) return {.messages = value};
  if (!value.is_object()) {
    throw_invalid(fmt::format("{}: expected an array of messages, or an object that holds 'messages'", place));
  }
  const Json* messages = find_array(value, "messages", place);
  if (messages == nullptr) throw_invalid(fmt::format("{}: there are no 'messages'", place));
  Conversation conversation{.messages = *messages};
  if (const Json* tools = find_array(value, "tools", place)) conversation.tools = *tools;
  if (const Json* more = find(value, "chat_template_kwargs")) {
    if (!more->is_object()) throw_invalid(fmt::format("{}: 'chat_template_kwargs' must be an object", place));
    conversation.variables = *more;
  }
  if (const Json* documents = find_array(value, "documents", place)) conversation.variables["documents"] = *documents;
  return conversation;
}

NoPlaceError::NoPlaceError(std::string part)
    : Error(ErrorCode::unsupported, fmt::format("the model's chat template has no place for '{}'", part),
            "leave them out, or write them into a message"),
      part_(std::move(part)) {}

std::string render_conversation(const ModelChatTemplate& chat, const Conversation& conversation,
                                bool add_generation_prompt) {
  const auto render = [&](const Json& tools, const Json& variables) {
    return chat.render(conversation.messages, add_generation_prompt, tools, variables);
  };
  const std::string text = render(conversation.tools, conversation.variables);
  const auto says_the_same = [&](const Json& tools, const Json& variables) {
    try {
      return render(tools, variables) == text;
    } catch (const Error&) {
      return false;  // a template that asks for them
    }
  };
  if (!conversation.tools.is_null() && says_the_same(nullptr, conversation.variables)) throw NoPlaceError("tools");
  if (conversation.variables.contains("documents")) {
    Json others = conversation.variables;
    others.erase("documents");
    if (says_the_same(conversation.tools, others)) throw NoPlaceError("documents");
  }
  return text;
}

}  // namespace mobula::text

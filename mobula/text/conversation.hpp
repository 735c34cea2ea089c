/// Conversations as files hold them, and the prompts that chat templates make of them.
///
///     const Conversation chat = read_conversation(parse_json(read_file("chat.json"), "chat.json"), "chat.json");
///     std::string prompt = render_conversation(load_chat_template("model/"), chat, /*add_generation_prompt=*/true);
#pragma once

#include <string>
#include <string_view>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/text/chat_template.hpp"

namespace mobula::text {

struct Conversation {
  Json messages;                    ///< an array of {"role", "content", ...}
  Json tools;                       ///< what answers may call; null: nothing
  Json variables = Json::object();  ///< of the template, "documents" among them
};

/// Reads an array of messages, or an object with "messages" and maybe "tools", "documents" (arrays) and "chat_template_kwargs"
/// (an object); other members are left alone. Throws Error(invalid_argument) that leads with `place`.
Conversation read_conversation(const Json& value, std::string_view place);

/// "tools" or "documents" would change nothing: many templates have no place for them, and the model would never see them. The code
/// is unsupported.
class NoPlaceError : public Error {
 public:
  explicit NoPlaceError(std::string part);
  /// Returns which of them.
  const std::string& part() const noexcept { return part_; }

 private:
  std::string part_;
};

/// Renders a conversation. Throws what ModelChatTemplate::render() throws, and NoPlaceError.
std::string render_conversation(const ModelChatTemplate& chat, const Conversation& conversation,
                                bool add_generation_prompt);

}  // namespace mobula::text

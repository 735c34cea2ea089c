#include "mobula/text/conversation.hpp"

#include <gtest/gtest.h>

#include "mobula/base/error.hpp"

namespace mobula::text {
namespace {

Conversation read(std::string_view text) {
  return read_conversation(parse_json(text, "chat"), "chat");
}

std::string render(std::string_view source, std::string_view conversation) {
  const ModelChatTemplate chat = make_chat_template(Json::object(), {{"default", ChatTemplate::parse(source, "t")}});
  return render_conversation(chat, read(conversation), true);
}

std::string refusal(std::string_view text) {
  try {
    read(text);
    return "none";
  } catch (const Error& error) {
    return error.message();
  }
}

TEST(Conversation, IsAnArrayOfMessagesOrAnObjectThatHoldsThem) {
  EXPECT_EQ(read(R"([{"role":"user","content":"a"}])").messages.size(), 1u);
  const Conversation all = read(
      R"({"messages":[{"role":"user","content":"a"}],"tools":[{"name":"f"}],"documents":["d"],"max_tokens":5,
          "chat_template_kwargs":{"enable_thinking":false}})");
  EXPECT_EQ(to_line(all.tools), R"([{"name":"f"}])");
  EXPECT_EQ(to_line(all.variables), R"({"enable_thinking":false,"documents":["d"]})");
  EXPECT_TRUE(read(R"({"messages":[1],"tools":[],"documents":null})").tools.is_null());
}

TEST(Conversation, NamesWhatIsWrong) {
  EXPECT_EQ(refusal("7"), "chat: expected an array of messages, or an object that holds 'messages'");
  EXPECT_EQ(refusal("{}"), "chat: there are no 'messages'");
  EXPECT_EQ(refusal(R"({"messages":"a"})"), "chat: 'messages' must be an array");
  EXPECT_EQ(refusal(R"({"messages":[1],"tools":{}})"), "chat: 'tools' must be an array");
  EXPECT_EQ(refusal(R"({"messages":[1],"chat_template_kwargs":[]})"), "chat: 'chat_template_kwargs' must be an object");
}

TEST(Conversation, IsRenderedWithAllThatItHoldsOrRefused) {
  const char* const chat = R"({"messages":[{"role":"user","content":"a"}],"tools":[{"name":"f"}],"documents":["d"],
                               "chat_template_kwargs":{"style":"x"}})";
  EXPECT_EQ(render("{{ tools[0].name }}{{ documents[0] }}{{ style }}{{ messages[0].content }}", chat), "fdxa");
  EXPECT_THROW(render("{{ documents[0] }}{{ messages[0].content }}", chat), NoPlaceError);
  try {
    render("{{ tools[0].name }}{{ messages[0].content }}", chat);
    FAIL();
  } catch (const NoPlaceError& error) {
    EXPECT_EQ(error.part(), "documents");
  }
}

}  // namespace
}  // namespace mobula::text

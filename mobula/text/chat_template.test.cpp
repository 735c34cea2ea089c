#include "mobula/text/chat_template.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/text/reference/python_reference.hpp"

namespace mobula::text {
namespace {

std::string render(std::string_view source, const Json& context = Json::object()) {
  return ChatTemplate::parse(source, "test").render(context);
}

std::string failure(std::string_view source, ErrorCode code) {
  return refusal([&] { render(source); }, code);
}

TEST(ChatTemplate, GivesTheTextOfTransformersOnEveryFeature) {
  if (without_python()) GTEST_SKIP();
  for (const Json& example : run_reference("chat_cases.py")) {
    const std::string source = example["template"].get<std::string>();
    if (example.contains("expected")) {
      try {
        EXPECT_EQ(render(source, example["context"]), example["expected"].get<std::string>()) << source;
      } catch (const Error& error) {
        ADD_FAILURE() << source << "\n" << error.message();
      }
    } else {
      EXPECT_THROW(render(source, example["context"]), Error) << source << "\n" << example["error"];
    }
  }
}

/// Compares with what jinja2 makes, under transformers' settings, of conversations drawn anew in every run and of small
/// programs, which are new where MOBULA_TEST_SEED is given. MOBULA_TEST_TEMPLATES=FOLDER adds the templates of models at
/// hand, MOBULA_TEST_TEXTS=N draws more.
TEST(ChatTemplate, GivesTheTextOfTransformersOnWhatIsDrawn) {
  if (without_python()) GTEST_SKIP();
  const char* given = std::getenv("MOBULA_TEST_SEED");
  const char* count = std::getenv("MOBULA_TEST_TEXTS");
  const char* folder = std::getenv("MOBULA_TEST_TEMPLATES");
  std::vector<std::string> arguments{std::to_string(drawn_seed()), given != nullptr ? given : "1",
                                     count != nullptr ? count : "60"};
  if (folder != nullptr) arguments.emplace_back(folder);
  Json shared;
  int num_failures = 0;
  std::set<std::string> failed;
  for (const Json& example : run_reference("drawn_chat_cases.py", arguments)) {
    if (!example.contains("template")) {
      shared = example["shared"];
      continue;
    }
    const std::string source = example["template"].get<std::string>();
    const std::string name = example.value("name", "drawn");
    if (name != "drawn" && failed.contains(name)) continue;  // one failure of a template tells enough
    const std::string where = fmt::format("{} {}", name, name == "drawn" ? source : example["context"].dump());
    std::optional<std::string> text;
    std::string message;
    try {
      text = render(source, example.contains("context") ? example["context"] : shared);
    } catch (const Error& error) {
      message = error.message();
    }
    bool right = true;
    if (example.contains("error")) {
      EXPECT_FALSE(right = text.has_value()) << where << "\nis refused: " << example["error"];
      right = !right;
    } else {
      EXPECT_TRUE(right = text.has_value()) << where << "\n" << message << "\nbut gives " << example["expected"];
      if (text) {
        EXPECT_EQ(*text, example["expected"].get<std::string>()) << where;
        right = *text == example["expected"].get<std::string>();
      }
    }
    if (right) continue;
    failed.insert(name);
    if (++num_failures > 100) break;
  }
}

TEST(ChatTemplate, NamesTheLineThatFails) {
  EXPECT_EQ(failure("a\n{{ raise_exception('no system role') }}", ErrorCode::invalid_argument),
            "test, line 2: no system role");
  EXPECT_EQ(failure("a\n\n{% if %}", ErrorCode::invalid_argument), "test, line 3: unexpected '%}'");
}

TEST(ChatTemplate, EndsTemplatesThatNeverWouldEnd) {
  const std::string forever = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
  EXPECT_NE(failure(forever, ErrorCode::resource).find("too long"), std::string::npos);
  EXPECT_NE(failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ErrorCode::resource).find("nested"),
            std::string::npos);
}

TEST(ChatTemplate, RefusesOutputWithoutBound) {
  EXPECT_NE(failure("{{ 'x' * 10**12 }}", ErrorCode::resource).find("too much"), std::string::npos);
  EXPECT_NE(failure("{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
                    ErrorCode::resource)
                .find("too much"),
            std::string::npos);
  EXPECT_NE(failure("{{ [1] * 10**15 }}", ErrorCode::resource).find("too much"), std::string::npos);
}

TEST(ChatTemplate, RefusesDeepNesting) {
  const std::string deep = "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}";
  EXPECT_NE(failure(deep, ErrorCode::invalid_argument).find("deeply"), std::string::npos);
  EXPECT_NE(failure("{{ " + std::string(5000, '-') + "1 }}", ErrorCode::invalid_argument).find("deeply"),
            std::string::npos);
}

TEST(ChatTemplate, SurvivesANamespaceThatHoldsItself) {
  EXPECT_NE(
      failure("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}", ErrorCode::invalid_argument).find("deeply"),
      std::string::npos);
}

TEST(ChatTemplate, FormatsTheTimeOfDay) {
  EXPECT_EQ(render("{{ strftime_now('%Y') | length }}"), "4");
}

TEST(LoadChatTemplate, JoinsContentsWhereTheCheckpointHasNone) {
  const TemporaryDirectory folder("chat");
  const ModelChatTemplate chat = load_chat_template(folder.path());
  EXPECT_TRUE(chat.is_default);
  const Json messages = {{{"role", "user"}, {"content", "To be,"}},
                         {{"role", "user"}, {"content", "or not"}, {"name", nullptr}}};
  EXPECT_EQ(chat.render(messages, false), "To be,\nor not");
  EXPECT_EQ(chat.render(messages, true), "To be,\nor not\n");
}

TEST(LoadChatTemplate, PrefersTheFileAndKnowsTheSpecialTokens) {
  const TemporaryDirectory folder("chat");
  write_file_atomic(folder.path() / "tokenizer_config.json",
                    R"({"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "old"})");
  EXPECT_EQ(load_chat_template(folder.path()).render(Json::parse(R"([{"role":"user","content":"x"}])"), false), "old");
  write_file_atomic(folder.path() / "chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}");
  EXPECT_EQ(load_chat_template(folder.path()).render(Json::parse(R"([{"role":"user","content":"x"}])"), false),
            "<s>x</s>");
}

TEST(LoadChatTemplate, TakesTheTemplateForToolsWhereThereAreTools) {
  const TemporaryDirectory folder("chat");
  write_file_atomic(
      folder.path() / "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]})");
  const ModelChatTemplate chat = load_chat_template(folder.path());
  const Json messages = Json::parse(R"([{"role":"user","content":"x"}])");
  EXPECT_EQ(chat.render(messages, true), "plain");
  EXPECT_EQ(chat.render(messages, true, Json::array()), "tools");
}

TEST(LoadChatTemplate, NamesTheFileThatIsDamaged) {
  const TemporaryDirectory folder("chat");
  write_file_atomic(folder.path() / "tokenizer_config.json", R"({"chat_template": "{% if %}"})");
  try {
    load_chat_template(folder.path());
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("tokenizer_config.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace mobula::text

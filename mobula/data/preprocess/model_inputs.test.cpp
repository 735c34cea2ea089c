#include "mobula/data/preprocess/model_inputs.hpp"

#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/describe.hpp"

namespace mobula::data {
namespace {

class ModelInputs : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  /// Saves and loads a preprocessor, and returns the rows that it makes.
  std::vector<std::string> through(const PreprocessorPointer& preprocessor, const Dataset& rows) const {
    preprocessor->save(path("p.json"));
    return rows_as_json(Preprocessor::load(path("p.json"))->transform(rows));
  }
  Dataset lines(const std::string& content) const {
    write_file_atomic(path("in.jsonl"), content);
    return Dataset::read(path("in.jsonl"));
  }
  TemporaryDirectory folder_;
};

TEST_F(ModelInputs, TokenizeTextsByWhoKnowsTokenizers) {
  know_tokenizers(nullptr);
  EXPECT_NE(refusal([] { tokenizer_preprocessor({}); }).find("knows no tokenizers"), std::string::npos);
  know_tokenizers([](const std::string& name, bool special) -> EncodeText {
    return [offset = static_cast<std::int32_t>(name.size()), special](std::string_view text) {
      std::vector<std::int32_t> ids;
      if (special) ids.push_back(-1);
      for (const char c : text) ids.push_back(c + offset);
      return ids;
    };
  });
  const Dataset rows = lines("{\"text\": \"ab\"}\n{\"text\": null}\n{\"text\": \"abcdef\"}\n{\"text\": \"\"}\n");
  EXPECT_EQ(
      through(tokenizer_preprocessor({.tokenizer = "xx", .max_length = 3}), rows),
      (std::vector<std::string>{"{\"text\":\"ab\",\"tokens\":[-1,99,100]}", "{\"text\":null,\"tokens\":null}",
                                "{\"text\":\"abcdef\",\"tokens\":[-1,99,100]}", "{\"text\":\"\",\"tokens\":[-1]}"}));
  EXPECT_EQ(through(tokenizer_preprocessor({.into = "text", .add_special_tokens = false}), rows).front(),
            "{\"text\":[97,98]}");
  const auto missing = tokenizer_preprocessor({.column = "txet"});
  EXPECT_NE(refusal([&] { missing->transform(rows).count(); }).find("no column 'txet'"), std::string::npos);
}

TEST_F(ModelInputs, FormatChatsByWhoKnowsTemplates) {
  know_chat_templates([](const std::string& model, bool prompt) -> FormatChat {
    return [model, prompt](const Json& messages) {
      std::string text = model;
      for (const Json& message : messages) {
        if (!message.contains("role")) throw_invalid("a message without a role");
        text += fmt::format("<{}>{}", message["role"].get<std::string>(), message["content"].get<std::string>());
      }
      return text + (prompt ? "<assistant>" : "");
    };
  });
  const Dataset lists =
      lines("{\"messages\": [{\"role\": \"user\", \"content\": \"hi \\\"you\\\"\"}]}\n{\"messages\": null}\n");
  const auto chat = chat_preprocessor({.model = "m", .add_generation_prompt = true});
  const auto made = through(chat, lists);
  EXPECT_NE(made[0].find("\"text\":\"m<user>hi \\\"you\\\"<assistant>\""), std::string::npos) << made[0];
  EXPECT_NE(made[1].find("\"text\":null"), std::string::npos) << made[1];
  const Dataset texts = lines("{\"messages\": \"[{\\\"role\\\": \\\"user\\\", \\\"content\\\": \\\"x\\\"}]\"}\n");
  EXPECT_NE(through(chat, texts)[0].find("m<user>x<assistant>"), std::string::npos);
  const Dataset bad = lines("{\"messages\": \"[]\"}\n{\"messages\": \"[{}]\"}\n{\"messages\": \"no\"}\n");
  EXPECT_NE(refusal([&] {
              chat->transform(bad).count();
            }).find(": row 2: map(chat): chat: column 'messages': a message without"),
            std::string::npos);
}

TEST_F(ModelInputs, DecodeImagesAsTheOperatorDoes) {
  std::filesystem::create_directories(path("images"));
  write_file_atomic(path("images/a.ppm"), "P6\n4 4\n255\n" + std::string(48, 'x'));
  const Dataset images = Dataset::read(path("images"), "images");
  DecodeImageOptions options;
  options.resize = {6, 8};
  options.center_crop = {2, 2};
  options.mean = {0.5, 0.5, 0.5};
  options.deviation = {0.2, 0.25, 0.3};
  options.channels_first = true;
  EXPECT_EQ(through(image_preprocessor(options), images), rows_as_json(images.decode_image(options)));
}

TEST_F(ModelInputs, CallFunctionsByTheirName) {
  know_function("keep_first", [](const Json& options) -> ChangeBatch {
    return [rows = options.at("rows").get<std::int64_t>()](const RecordBatchPointer& batch) {
      return batch->Slice(0, rows);
    };
  });
  const auto function = function_preprocessor("keep_first", {{"rows", 2}});
  EXPECT_EQ(through(function, Dataset::range(5)), (std::vector<std::string>{"{\"id\":0}", "{\"id\":1}"}));
  EXPECT_NE(refusal([] { function_preprocessor("keep_frist"); }).find("no function 'keep_frist' is known"),
            std::string::npos);
  EXPECT_NE(refusal([] { know_function("keep_first", nullptr); }).find("known already"), std::string::npos);
}

}  // namespace
}  // namespace mobula::data

#include "mobula/text/loader/checkpoint_tokenizer.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/seed.hpp"
#include "mobula/text/base64.hpp"
#include "mobula/text/reference/python_reference.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::text {
namespace {

using Ids = std::vector<TokenId>;

// Compares with the classes of transformers on models and texts drawn anew in every run.
TEST(CheckpointTokenizer, GivesTheIdsOfTransformersWithoutATokenizerJson) {
  if (without_python()) GTEST_SKIP();
  const std::uint64_t seed = drawn_seed();
  const char* count = std::getenv("MOBULA_TEST_TEXTS");
  const TemporaryDirectory folder("checkpoint_tokenizer");
  std::map<std::string, std::shared_ptr<const Tokenizer>> tokenizers;
  for (const Json& example :
       run_reference("checkpoint_tokenizer_cases.py",
                     {std::to_string(seed), folder.path().string(), count != nullptr ? count : "60"})) {
    const auto name = example["folder"].get<std::string>();
    const auto text = example["text"].get<std::string>();
    auto& tokenizer = tokenizers[name];
    if (tokenizer == nullptr) tokenizer = Tokenizer::load(folder.path() / name);
    const std::string where = fmt::format("seed {}, {}, text {}", seed, name, to_line(text));
    const Ids ids = tokenizer->encode(text);
    EXPECT_EQ(ids, example["ids"].get<Ids>()) << where;
    EXPECT_EQ(tokenizer->encode(text, false), example["bare"].get<Ids>()) << where;
    EXPECT_EQ(tokenizer->decode(ids), example["decoded"].get<std::string>()) << where;
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_EQ(tokenizers.size(), 12u);
  // What is saved reads alike.
  tokenizers["added"]->save(folder.path() / "saved");
  EXPECT_EQ(Tokenizer::load(folder.path() / "saved")->encode("[INST] hi [/INST] you"),
            tokenizers["added"]->encode("[INST] hi [/INST] you"));
}

// A folder with a SentencePiece model of three pieces.
class CheckpointFolder : public testing::Test {
 protected:
  CheckpointFolder() { write("tokenizer.model", model()); }
  static std::string model() {
    const auto piece = [](const std::string& text, char type) {
      const std::string body =
          std::string("\n") + static_cast<char>(text.size()) + text + std::string("\x15\0\0\0\0\x18", 6) + type;
      return std::string("\n") + static_cast<char>(body.size()) + body;
    };
    return piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("a", 1);
  }
  void write(const std::string& name, const std::string& content) { write_file_atomic(folder_.path() / name, content); }
  std::string refusal() {
    try {
      Tokenizer::load(folder_.path());
      return "none";
    } catch (const Error& error) {
      return error.message();
    }
  }

  TemporaryDirectory folder_;
};

TEST_F(CheckpointFolder, IsReadByItsFamilyAndElseAsThePlainModel) {
  EXPECT_EQ(Tokenizer::load(folder_.path())->encode("<s>").front(), 0);
  write("config.json", R"({"model_type":"mixtral"})");
  EXPECT_EQ(Tokenizer::load(folder_.path())->encode("</s>"), (Ids{1, 2}));
  write("config.json", R"({"model_type":"other"})");
  EXPECT_EQ(Tokenizer::load(folder_.path())->encode("<s>").front(), 0);
  EXPECT_EQ(Tokenizer::load(folder_.path() / "tokenizer.model")->encode("<s>").front(), 0);
}

TEST_F(CheckpointFolder, NamesFileAndKeyOfWhatItCantTake) {
  const std::string file = (folder_.path() / "tokenizer_config.json").string();
  for (const auto& [config, expected] : std::map<std::string, std::string>{
           {R"({"tokenizer_class":"XLMRobertaTokenizer"})",
            ": tokenizer_class 'XLMRobertaTokenizer' has rules of its own"},
           {R"({"tokenizer_class":7})", ": tokenizer_class is 7, expected a string"},
           {R"({"add_bos_token":"yes"})", ": add_bos_token is \"yes\", expected true or false"},
           {R"({"bos_token":["<s>"]})", ": bos_token is [\"<s>\"], expected a token"},
           {R"({"eos_token":{"content":"</s>","lstrip":1}})", ": eos_token is {"},
           {R"({"tokenizer_class":"T5Tokenizer","extra_ids":-1})", ": extra_ids is -1"},
           {R"({"added_tokens_decoder":{"x":"<y>"}})", ": x is no token id"},
           {R"({"added_tokens_decoder":{"9":"<y>"}})", ": the added token '<y>' has id 9, expected 4"},
           {R"({"additional_special_tokens":"<y>"})", ": additional_special_tokens is \"<y>\", expected a list"},
           {"[]", ": expected a JSON object"}}) {
    write("tokenizer_config.json", config);
    EXPECT_EQ(refusal().substr(0, file.size() + expected.size()), file + expected);
  }
}

TEST_F(CheckpointFolder, GivesUnusedPiecesTheNamesThatAFineTunedModelHas) {
  write("tokenizer_config.json", R"({"tokenizer_class":"LlamaTokenizer","added_tokens_decoder":{"3":"<tool>"}})");
  const auto tokenizer = Tokenizer::load(folder_.path());
  EXPECT_EQ(tokenizer->encode("<tool>"), (Ids{1, 3}));
  EXPECT_EQ(tokenizer->vocab_size(), 4u);
}

TEST_F(CheckpointFolder, NamesTheLineThatIsNoMerge) {
  std::filesystem::remove(folder_.path() / "tokenizer.model");
  write("vocab.json", R"({"a":0,"b":1,"ab":2})");
  write("merges.txt", "#version: 0.2\na b\n");
  write("config.json", R"({"model_type":"opt"})");
  EXPECT_EQ(Tokenizer::load(folder_.path())->encode("ab"), Ids{2});
  write("merges.txt", "a b\nab\n");
  EXPECT_NE(refusal().find("merges.txt: line 2: expected two tokens"), std::string::npos) << refusal();
  write("vocab.json", R"({"a":-1})");
  EXPECT_NE(refusal().find("vocab.json: 'a' has no token id"), std::string::npos) << refusal();
  write("config.json", R"({"model_type":"llama"})");
  EXPECT_NE(refusal().find("'PreTrainedTokenizer' has rules of its own"), std::string::npos) << refusal();
}

TEST_F(CheckpointFolder, ReadsTheRanksOfLlama3) {
  std::string ranks;
  for (int byte = 0; byte < 256; ++byte) {
    ranks += fmt::format("{} {}\n", encode_base64(std::string(1, static_cast<char>(byte))), byte);
  }
  write("tokenizer.model", ranks + encode_base64("ab") + " 256\n");
  write("config.json", R"({"model_type":"llama"})");
  const auto tokenizer = Tokenizer::load(folder_.path());
  EXPECT_EQ(tokenizer->encode("ab<|eot_id|>b"), (Ids{257, 256, 266, 'b'}));
  EXPECT_EQ(tokenizer->encode("<|start_header_id|>", false), Ids{263});
  EXPECT_EQ(tokenizer->vocab_size(), 513u);
  EXPECT_TRUE(tokenizer->is_special(512));
  EXPECT_EQ(tokenizer->decode(Ids{257, 256, 266}), "ab");
  write("tokenizer_config.json",
        R"({"bos_token":"<x>","added_tokens_decoder":{"300":{"content":"<x>","special":true}}})");
  EXPECT_EQ(Tokenizer::load(folder_.path())->encode("ab"), (Ids{300, 256}));
  write("config.json", R"({"model_type":"other"})");
  EXPECT_NE(refusal().find("model_type 'other'"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace mobula::text

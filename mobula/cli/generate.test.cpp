// generate, score and logits on a model of one number a token that always answers "a".
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {
namespace {

struct Output {
  int code = 0;
  std::string text;
};

Output run(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), MOBULA_PROGRAM);
  Subprocess child(arguments, {.capture_stdout = true, .discard_stderr = true});
  Output output;
  while (auto line = child.read_line()) output.text += *line + "\n";
  output.code = child.wait();
  return output;
}

// Writes GPT-2 with one layer of zeros: the last norm's bias alone decides, and it likes 'a'.
void write_checkpoint(const std::filesystem::path& folder) {
  constexpr int kVocab = 256, kContext = 32;
  std::string header = "{", data;
  const auto add = [&](const std::string& name, const std::vector<int>& shape, const std::vector<float>& values) {
    const std::size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    header += fmt::format("{}\"transformer.{}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                          header.size() > 1 ? "," : "", name, fmt::join(shape, ","), begin, data.size());
  };
  const auto zeros = [&](const std::string& name, std::vector<int> shape) {
    std::size_t count = 1;
    for (const int size : shape) count *= static_cast<std::size_t>(size);
    add(name, shape, std::vector<float>(count, 0.0f));
  };
  std::vector<float> table(kVocab, 0.0f);
  table['a'] = 1.0f;
  add("wte.weight", {kVocab, 1}, table);
  zeros("wpe.weight", {kContext, 1});
  for (const char* norm : {"h.0.ln_1", "h.0.ln_2"}) {
    zeros(std::string(norm) + ".weight", {1});
    zeros(std::string(norm) + ".bias", {1});
  }
  zeros("h.0.attn.c_attn.weight", {1, 3});
  zeros("h.0.attn.c_attn.bias", {3});
  zeros("h.0.attn.c_proj.weight", {1, 1});
  zeros("h.0.attn.c_proj.bias", {1});
  zeros("h.0.mlp.c_fc.weight", {1, 4});
  zeros("h.0.mlp.c_fc.bias", {4});
  zeros("h.0.mlp.c_proj.weight", {4, 1});
  zeros("h.0.mlp.c_proj.bias", {1});
  zeros("ln_f.weight", {1});
  add("ln_f.bias", {1}, {1.0f});
  header += "}";
  const std::uint64_t size = header.size();
  write_file_atomic(folder / "model.safetensors", std::string(reinterpret_cast<const char*>(&size), 8) + header + data);
  write_file_atomic(
      folder / "config.json",
      R"({"model_type":"gpt2","vocab_size":256,"n_positions":32,"n_embd":1,"n_layer":1,"n_head":1,"eos_token_id":null})");
}

class Generate : public testing::Test {
 protected:
  void SetUp() override {
    write_checkpoint(folder_.path());
    text::make_byte_tokenizer()->save(folder_.path());
  }
  std::vector<std::string> command(const std::string& name, std::vector<std::string> rest) const {
    rest.insert(rest.begin(), {name, "--model", folder_.path().string()});
    return rest;
  }

  TemporaryDirectory folder_;
};

TEST_F(Generate, PrintsPromptAndContinuation) {
  const Output output = run(command("generate", {"--prompt", "b", "--temperature", "0", "--max-tokens", "4"}));
  EXPECT_EQ(output.code, 0);
  EXPECT_EQ(output.text, "baaaa\n");
}

TEST_F(Generate, GivesJsonWithCounts) {
  const Output output =
      run(command("generate", {"--prompt", "bc", "--temperature", "0", "--max-tokens", "3", "--json"}));
  const Json json = parse_json(output.text, "output");
  EXPECT_EQ(json["prompt"], "bc");
  EXPECT_EQ(json["text"], "aaa");
  EXPECT_EQ(json["tokens"].size(), 3u);
  EXPECT_EQ(json["finish_reason"], "length");
  EXPECT_EQ(json["prompt_tokens"], 2);
  EXPECT_EQ(json["completion_tokens"], 3);
  EXPECT_GT(json["seconds"].get<double>(), 0);
}

TEST_F(Generate, EndsBeforeAStopString) {
  const Output output = run(command("generate", {"--prompt", "b", "--temperature", "0", "--stop", "aa", "--json"}));
  const Json json = parse_json(output.text, "output");
  EXPECT_EQ(json["text"], "");
  EXPECT_EQ(json["finish_reason"], "stop");
}

TEST_F(Generate, AnswersAFileOfPromptsInOrder) {
  const auto input = folder_.path() / "in.jsonl", output = folder_.path() / "out.jsonl";
  std::string lines;
  for (int i = 0; i < 200; ++i) lines += fmt::format("{{\"prompt\":\"{}\"}}\n", i);
  write_file_atomic(input, lines);
  EXPECT_EQ(run(command("generate", {"--input", input.string(), "--output", output.string(), "--temperature", "0",
                                     "--max-tokens", "2"}))
                .code,
            0);
  const std::string text = read_file(output);
  std::size_t begin = 0;
  for (int i = 0; i < 200; ++i) {
    const std::size_t end = text.find('\n', begin);
    const Json json = parse_json(text.substr(begin, end - begin), "output");
    EXPECT_EQ(json["prompt"], std::to_string(i));
    EXPECT_EQ(json["text"], "aa");
    begin = end + 1;
  }
  EXPECT_EQ(begin, text.size());
  write_file_atomic(input, "{\"prompt\":\"x\"}\n{\"promt\":\"y\"}\n");
  EXPECT_EQ(run(command("generate", {"--input", input.string()})).code, 2);
}

TEST_F(Generate, WorksOnIdsWithoutATokenizer) {
  std::filesystem::remove(folder_.path() / "tokenizer.json");
  EXPECT_EQ(run(command("generate", {"--ids", "98,99", "--temperature", "0", "--max-tokens", "3"})).text, "97,97,97\n");
  EXPECT_EQ(run(command("generate", {"--prompt", "b"})).code, 1);
  EXPECT_EQ(run(command("generate", {"--ids", "256"})).code, 2);
  EXPECT_EQ(run(command("generate", {"--ids", "1", "--prompt", "b"})).code, 2);
  EXPECT_EQ(run(command("generate", {"--ids", "1", "--temperature", "-1"})).code, 2);
}

TEST_F(Generate, ScoresIds) {
  const Json json = parse_json(run(command("score", {"--ids", "98,97,98", "--json"})).text, "output");
  const double total = std::log(std::exp(1.0) + 255.0);
  EXPECT_EQ(json["ids"], Json::array({98, 97, 98}));
  EXPECT_TRUE(json["logprobs"][0].is_null());
  EXPECT_NEAR(json["logprobs"][1].get<double>(), 1.0 - total, 1e-6);
  EXPECT_NEAR(json["logprobs"][2].get<double>(), -total, 1e-6);
  EXPECT_EQ(run(command("score", {"--json"})).code, 2);
  EXPECT_NE(run(command("score", {"--text", "ba"})).text.find("perplexity"), std::string::npos);
}

TEST_F(Generate, PrintsLogits) {
  const Json json = parse_json(run(command("logits", {"--ids", "98,97", "--json"})).text, "output");
  EXPECT_EQ(json["shape"], Json::array({1, 2, 256}));
  EXPECT_EQ(json["logits"].size(), 512u);
  EXPECT_EQ(json["logits"][97], 1.0);
  EXPECT_EQ(json["logits"][98], 0.0);
}

}  // namespace
}  // namespace mobula::cli

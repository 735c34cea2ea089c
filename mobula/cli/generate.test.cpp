// generate, score and logits on a model of one number a token that always answers "a".
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
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

TEST_F(Generate, PrintsNothingOfAPromptThatIsRefused) {
  const Output output = run(command("generate", {"--prompt", std::string(40, 'x')}));
  EXPECT_EQ(output.code, 2);
  EXPECT_EQ(output.text, "");
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

TEST_F(Generate, GivesEachLineItsOwnOptions) {
  const auto input = folder_.path() / "in.jsonl";
  const auto answers = [&](const std::string& lines, const std::vector<std::string>& options = {}) {
    write_file_atomic(input, lines);
    std::vector<std::string> arguments = {"--input", input.string(), "--temperature", "0", "--max-tokens", "2"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const Output output = run(command("generate", arguments));
    std::vector<Json> json;
    for (std::size_t begin = 0; begin < output.text.size();) {
      const std::size_t end = output.text.find('\n', begin);
      json.push_back(parse_json(output.text.substr(begin, end - begin), "output"));
      begin = end + 1;
    }
    return json;
  };
  const auto several = answers(R"({"prompt":"x","max_tokens":4,"label":7}
{"ids":[98,99]}
{"prompt":"y","logit_bias":{"98":5},"stop":null}
{"prompt":"z","stop":["aa"]}
)");
  ASSERT_EQ(several.size(), 4u);
  EXPECT_EQ(several[0]["text"], "aaaa");
  EXPECT_EQ(several[1]["prompt"], Json::array({98, 99}));
  EXPECT_EQ(several[1]["text"], "aa");
  EXPECT_EQ(several[2]["text"], "bb");
  EXPECT_EQ(several[3]["text"], "");
  EXPECT_EQ(several[3]["finish_reason"], "stop");

  const std::string warm = "{\"prompt\":\"x\",\"temperature\":2,\"max_tokens\":8,\"seed\":";
  const auto drawn = answers(warm + "5}\n" + warm + "6}\n" + warm + "5}\n");
  EXPECT_EQ(drawn[0]["tokens"], drawn[2]["tokens"]);
  EXPECT_NE(drawn[0]["tokens"], drawn[1]["tokens"]);
  // Seeds count up over the answers to one prompt.
  const auto two = answers(warm + "5}\n", {"--n", "2"});
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0]["tokens"], drawn[0]["tokens"]);
  EXPECT_EQ(two[1]["tokens"], drawn[1]["tokens"]);
  EXPECT_EQ(two[1]["index"], 1);

  for (const char* wrong :
       {R"({"prompt":"x","top_k":-1})", R"({"prompt":"x","temperature":"hot"})", R"({"prompt":"x","top_p":7})",
        R"({"prompt":"x","stop":[1]})", R"({"prompt":"x","logit_bias":{"a":1}})", R"({"prompt":"x","adapter":"none"})",
        R"({"ids":[1,300]})", R"({"ids":"1"})", R"({"prompt":1,"ids":[1]})"}) {
    write_file_atomic(input, std::string(wrong) + "\n");
    EXPECT_EQ(run(command("generate", {"--input", input.string()})).code, 2) << wrong;
  }
}

TEST_F(Generate, GivesTheLikeliestOfSeveralAnswersAndLogprobs) {
  const std::vector<std::string> options = {"--prompt",     "x", "--temperature", "1.5", "--seed", "3",
                                            "--max-tokens", "3", "--logprobs",    "2",   "--json"};
  const auto lines = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = options;
    arguments.insert(arguments.end(), more.begin(), more.end());
    const std::string text = run(command("generate", arguments)).text;
    std::vector<Json> json;
    for (std::size_t begin = 0; begin < text.size(); begin = text.find('\n', begin) + 1)
      json.push_back(parse_json(text.substr(begin, text.find('\n', begin) - begin), "output"));
    return json;
  };
  const auto mean = [](const Json& answer) {
    double sum = 0;
    for (const Json& logprob : answer["logprobs"]) sum += logprob.get<double>();
    return sum / static_cast<double>(answer["logprobs"].size());
  };
  const auto all = lines({"--n", "40"});
  ASSERT_EQ(all.size(), 40u);
  double best = -1e9;
  for (const Json& answer : all) best = std::max(best, mean(answer));
  const auto chosen = lines({"--best-of", "40"});
  ASSERT_EQ(chosen.size(), 1u);
  EXPECT_EQ(mean(chosen[0]), best);
  ASSERT_EQ(chosen[0]["top_logprobs"].size(), 3u);
  EXPECT_EQ(chosen[0]["top_logprobs"][0][0]["id"], 'a');
  EXPECT_NEAR(chosen[0]["top_logprobs"][0][0]["logprob"].get<double>(), 1 - std::log(std::exp(1.0) + 255.0), 1e-5);
  EXPECT_EQ(run(command("generate", {"--prompt", "x", "--logprobs", "1"})).code, 2);
  EXPECT_EQ(run(command("generate", {"--prompt", "x", "--n", "3", "--best-of", "2"})).code, 2);
  EXPECT_EQ(run(command("generate", {"--prompt", "x", "--n", "0"})).code, 2);
  const Output plain = run(command(
      "generate", {"--prompt", "x", "--temperature", "0", "--max-tokens", "2", "--n", "2", "--logit-bias", "98=9"}));
  EXPECT_EQ(plain.text, "xbb\nxbb\n");
  for (const char* wrong : {"98", "b=1", "98=x", "-1=2", "300=1"})
    EXPECT_EQ(run(command("generate", {"--prompt", "x", "--logit-bias", wrong})).code, 2) << wrong;
}

TEST_F(Generate, TakesTheCheckpointsDefaultsForWhatTheUserDoesntSay) {
  const auto tokens = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--prompt", "b", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return parse_json(run(command("generate", arguments)).text, "output")["tokens"].get<std::vector<int>>();
  };
  EXPECT_EQ(tokens({}).size(), 31u);  // up to the context's end
  EXPECT_NE(std::ranges::count(tokens({}), 'a'), 31);
  write_file_atomic(folder_.path() / "generation_config.json", R"({"do_sample":false,"max_new_tokens":3})");
  EXPECT_EQ(tokens({}), (std::vector<int>{'a', 'a', 'a'}));
  EXPECT_EQ(tokens({"--max-tokens", "2"}), (std::vector<int>{'a', 'a'}));
  EXPECT_NE(tokens({"--temperature", "4"}), (std::vector<int>{'a', 'a', 'a'}));
  EXPECT_EQ(tokens({"--generation-config", "none"}).size(), 31u);
  // Another folder's, and a file's.
  const TemporaryDirectory other;
  write_file_atomic(other.path() / "generation_config.json", R"({"top_k":1,"max_new_tokens":2})");
  EXPECT_EQ(tokens({"--generation-config", other.path().string()}), (std::vector<int>{'a', 'a'}));
  EXPECT_EQ(tokens({"--generation-config", (other.path() / "generation_config.json").string()}).size(), 2u);
  EXPECT_EQ(run(command("generate", {"--prompt", "b", "--generation-config", "nowhere"})).code, 1);
  // The end of text is the model's own.
  write_file_atomic(folder_.path() / "generation_config.json", R"({"eos_token_id":97})");
  EXPECT_TRUE(tokens({"--generation-config", "none", "--temperature", "0"}).empty());
  write_file_atomic(folder_.path() / "generation_config.json", R"({"temperature":"hot"})");
  EXPECT_EQ(run(command("generate", {"--prompt", "b"})).code, 2);
}

TEST_F(Generate, AnswersConversations) {
  write_file_atomic(
      folder_.path() / "chat_template.jinja",
      "{% for t in tools or [] %}{{ t.name }}{% endfor %}{% for m in messages %}{{ m.content }};{% endfor %}>");
  const auto chat = folder_.path() / "chat.json", tools = folder_.path() / "tools.json",
             lines = folder_.path() / "l.jsonl";
  write_file_atomic(chat, R"([{"role":"user","content":"b"},{"role":"assistant","content":"c"}])");
  write_file_atomic(tools, R"([{"name":"f"}])");
  const std::vector<std::string> options = {"--temperature", "0", "--max-tokens", "2", "--tools", tools.string()};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), options.begin(), options.end());
    return run(command("generate", more));
  };
  EXPECT_EQ(with({"--messages", chat.string()}).text, "aa\n");
  EXPECT_EQ(parse_json(with({"--messages", chat.string(), "--json"}).text, "output")["prompt"], "fb;c;>");
  write_file_atomic(lines, R"({"messages":[{"role":"user","content":"x"}],"tools":[{"name":"g"}],"max_tokens":1})");
  const Json line = parse_json(with({"--input", lines.string()}).text, "output");
  EXPECT_EQ(line["prompt"], "gx;>");
  EXPECT_EQ(line["text"], "a");
  EXPECT_EQ(with({"--prompt", "b"}).code, 2);
  write_file_atomic(lines, R"({"messages":[{"role":"user","content":"x"}],"documents":["d"]})");
  EXPECT_EQ(with({"--input", lines.string()}).code, 1);
  write_file_atomic(lines, R"({"messages":"x"})");
  EXPECT_EQ(with({"--input", lines.string()}).code, 2);
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

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <filesystem>
#include <memory>
#include <thread>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/processors.hpp"
#include "mobula/base/progress.hpp"
#include "mobula/base/size.hpp"
#include "mobula/cli/commands.hpp"
#include "mobula/cli/line_blocks.hpp"
#include "mobula/text/conversation.hpp"
#include "mobula/text/kmer_tokenizer.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/training/vocabulary_trainer.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;
using text::VocabularyKind;

struct TrainTokenizerOptions {
  std::string kind = "bpe";
  std::vector<std::string> inputs;
  std::string field = "text";
  std::string out;
  int threads = 0;
  bool cased = false;
  bool no_byte_fallback = false;
  text::VocabularyTrainingOptions training;
};

void feed(const LineBlocks::Block& block, const std::string& field, text::VocabularyTrainer& trainer) {
  std::size_t number = block.first_line;
  for (std::string_view rest = block.text; !rest.empty(); ++number) {
    const std::size_t length = std::min(rest.find('\n'), rest.size() - 1) + 1;
    const std::string_view line = rest.substr(0, length);
    rest.remove_prefix(length);
    if (!block.jsonl) {
      trainer.feed(line);
      continue;
    }
    if (line == "\n") continue;
    const std::string where = fmt::format("{}: line {}", block.name, number);
    const Json row = parse_json(line, where, {.max_members = 10000});
    if (!row.is_object() || !row.contains(field) || !row[field].is_string()) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: expected an object with a text '{}'", where, field),
                  "name the field with --field");
    }
    trainer.feed(row[field].get_ref<const std::string&>());
  }
}

void refuse_existing(const fs::path& out) {
  if (fs::exists(out / "tokenizer.json")) {
    throw Error(ErrorCode::already_exists, fmt::format("{}: this folder holds a tokenizer", out.string()),
                "name another one with --out");
  }
}

int run_training(TrainTokenizerOptions options, bool json) {
  const auto start = std::chrono::steady_clock::now();
  const fs::path out = options.out;
  refuse_existing(out);
  auto& training = options.training;
  training.kind = options.kind == "bpe"       ? VocabularyKind::bpe
                  : options.kind == "unigram" ? VocabularyKind::unigram
                                              : VocabularyKind::wordpiece;
  training.lowercase = !options.cased;
  training.byte_fallback = !options.no_byte_fallback;
  const auto threads = static_cast<unsigned>(options.threads > 0 ? options.threads : num_processors());
  std::vector<std::unique_ptr<text::VocabularyTrainer>> trainers;
  for (unsigned i = 0; i < threads; ++i) trainers.push_back(std::make_unique<text::VocabularyTrainer>(training));
  LineBlocks blocks(find_text_files(options.inputs));
  {
    Progress progress("reading", blocks.total());
    std::vector<LineBlocks::Block> batch(threads);
    std::vector<std::exception_ptr> failures(threads);
    for (std::size_t count = threads; count == threads;) {
      count = 0;
      while (count < threads && blocks.next(batch[count])) ++count;
      std::vector<std::thread> workers;
      for (std::size_t i = 0; i < count; ++i) {
        workers.emplace_back([&, i] {
          try {
            feed(batch[i], options.field, *trainers[i]);
          } catch (...) {
            failures[i] = std::current_exception();
          }
        });
      }
      for (std::thread& worker : workers) worker.join();
      for (const std::exception_ptr& failure : failures) {
        if (failure) std::rethrow_exception(failure);
      }
      progress.update(blocks.done());
    }
  }
  for (unsigned i = 1; i < threads; ++i) {
    trainers[0]->add(*trainers[i]);
    trainers[i].reset();
  }
  std::shared_ptr<const text::Tokenizer> tokenizer;
  {
    Progress progress("learning", 0);
    std::uint64_t step = 0;
    tokenizer = trainers[0]->train(threads, [&](std::string_view note) { progress.update(++step, note); });
  }
  tokenizer->save(out);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (json) {
    fmt::print("{}\n", to_line(Json{{"kind", options.kind},
                                    {"vocab_size", tokenizer->vocab_size()},
                                    {"bytes", blocks.done()},
                                    {"seconds", seconds},
                                    {"out", out.string()}}));
  } else {
    fmt::print("{}: {} tokens from {} in {:.2f} s\n", out.string(), tokenizer->vocab_size(), format_size(blocks.done()),
               seconds);
  }
  return 0;
}

struct KmerOptions {
  std::string alphabet = "ACGT";
  std::size_t k = 3;
  std::string out;
};

int make_kmers(const KmerOptions& options, bool json) {
  const fs::path out = options.out;
  refuse_existing(out);
  const auto tokenizer = text::make_kmer_tokenizer(options.alphabet, options.k);
  tokenizer->save(out);
  if (json) {
    fmt::print("{}\n", to_line(Json{{"out", out.string()}, {"vocab_size", tokenizer->vocab_size()}}));
  } else {
    fmt::print("{}: {} tokens\n", out.string(), tokenizer->vocab_size());
  }
  return 0;
}

struct TokenizerFileOptions {
  std::string input;
  std::string pattern;
  std::string out;
};

std::shared_ptr<const text::Tokenizer> load(const TokenizerFileOptions& options) {
  return options.pattern.empty() ? text::Tokenizer::load(options.input)
                                 : text::load_tiktoken(options.input, {options.pattern, {}});
}

int show_info(const TokenizerFileOptions& options, bool json) {
  const auto tokenizer = load(options);
  Json special = Json::object();
  std::string list;
  for (const text::TokenId id : tokenizer->special_ids()) {
    const std::string token = tokenizer->id_to_token(id).value_or("");
    special[token] = id;
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", token, id);
  }
  if (json) {
    fmt::print("{}\n", to_line(Json{{"model", tokenizer->model_kind()},
                                    {"vocab_size", tokenizer->vocab_size()},
                                    {"special_tokens", special},
                                    {"streams", tokenizer->streams()}}));
    return 0;
  }
  fmt::print("model           {}\nvocabulary      {} ids\nspecial tokens  {}\nlong lines      {}\n",
             tokenizer->model_kind(), tokenizer->vocab_size(), list.empty() ? "none" : list,
             tokenizer->streams() ? "in bounded memory" : "need memory for the whole line");
  return 0;
}

int convert(const TokenizerFileOptions& options, bool json) {
  const fs::path out = options.out;
  refuse_existing(out);
  const auto tokenizer = load(options);
  tokenizer->save(out);
  if (json) {
    fmt::print("{}\n", to_line(Json{{"out", out.string()}, {"vocab_size", tokenizer->vocab_size()}}));
  } else {
    fmt::print("{}\n", (out / "tokenizer.json").string());
  }
  return 0;
}

struct ChatOptions {
  std::string model;
  std::string messages;
  std::string tools;
  bool no_generation_prompt = false;
};

constexpr std::size_t kMaxChatBytes = std::size_t{1} << 26;

int render_chat(const ChatOptions& options, bool json) {
  const auto read = [](const std::string& path) { return parse_json(read_file(path, kMaxChatBytes), path); };
  if (!fs::is_directory(options.model)) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no such folder", options.model),
                "name the folder of a checkpoint: chat_template.jinja or tokenizer_config.json");
  }
  text::Conversation conversation = text::read_conversation(read(options.messages), options.messages);
  if (!options.tools.empty()) conversation.tools = read(options.tools);
  const std::string text =
      text::render_conversation(text::load_chat_template(options.model), conversation, !options.no_generation_prompt);
  fmt::print("{}\n", json ? to_line(Json{{"text", text}}) : text);
  return 0;
}

}  // namespace

void add_tokenizer_commands(CommandLine& line) {
  CLI::App& group = line.add_group("tokenizer", "Train, describe and convert tokenizers");
  auto options = std::make_shared<TrainTokenizerOptions>();
  CLI::App& train = line.add(
      &group, "train", "Train a vocabulary on files of text, of any size",
      "  mobula tokenizer train --kind bpe --vocab-size 8192 --input corpus.txt --out tokenizer/\n"
      "  mobula tokenizer train --kind unigram --vocab-size 32000 --input texts/ more.jsonl --out tokenizer/\n"
      "  mobula tokenizer train --kind wordpiece --cased --min-frequency 2 --input corpus.txt --out tokenizer/ --json",
      [&line, options] { return run_training(*options, line.globals().json); });
  train.add_option("--kind", options->kind, "bpe (byte-level), unigram or wordpiece")
      ->capture_default_str()
      ->check(CLI::IsMember({"bpe", "unigram", "wordpiece"}));
  train.add_option("--vocab-size", options->training.vocab_size, "Ids in all, special tokens included")
      ->capture_default_str();
  train
      .add_option("--input", options->inputs, "Files of lines (.jsonl: a field of each), or folders of .txt and .jsonl")
      ->required();
  train.add_option("--field", options->field, "The text's field in .jsonl files")->capture_default_str();
  train.add_option("--out", options->out, "Folder for tokenizer.json and tokenizer_config.json")->required();
  train.add_option("--special", options->training.special_tokens,
                   "Special tokens, which get the first ids (default: the kind's own)");
  train.add_option("--min-frequency", options->training.min_frequency, "Leave out rarer pairs or pieces")
      ->capture_default_str();
  train
      .add_option("--limit-alphabet", options->training.limit_alphabet,
                  "Keep so many characters (0: all; bpe has bytes)")
      ->capture_default_str();
  train.add_flag("--cased", options->cased, "WordPiece: keep upper case and accents");
  train.add_flag("--no-byte-fallback", options->no_byte_fallback,
                 "Unigram: unknown characters become <unk>, not bytes");
  train.add_option("--threads", options->threads, "Threads (0: one a processor)")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));

  auto kmer = std::make_shared<KmerOptions>();
  CLI::App& kmers =
      line.add(&group, "kmers", "Make a vocabulary of all words of k letters, for DNA, proteins or events",
               "  mobula tokenizer kmers --k 3 --out dna/\n"
               "  mobula tokenizer kmers --alphabet ACDEFGHIKLMNPQRSTVWY --k 2 --out proteins/",
               [&line, kmer] { return make_kmers(*kmer, line.globals().json); });
  kmers.add_option("--alphabet", kmer->alphabet, "The letters, each once")->capture_default_str();
  kmers.add_option("--k", kmer->k, "Letters in a word")->capture_default_str();
  kmers.add_option("--out", kmer->out, "Folder for tokenizer.json and tokenizer_config.json")->required();

  auto chat = std::make_shared<ChatOptions>();
  CLI::App& chats = line.add(&group, "chat", "Print what a model's chat template makes of a conversation",
                             "  mobula tokenizer chat model/ --messages chat.json\n"
                             "  mobula tokenizer chat model/ --messages chat.json --tools tools.json --json",
                             [&line, chat] { return render_chat(*chat, line.globals().json); });
  chats.add_option("model", chat->model, "Folder of a checkpoint")->required();
  chats
      .add_option("--messages", chat->messages,
                  "File of a JSON array of messages, or an object with \"messages\", \"tools\", \"documents\", "
                  "\"chat_template_kwargs\"")
      ->required();
  chats.add_option("--tools", chat->tools, "File of a JSON array of tools");
  chats.add_flag("--no-generation-prompt", chat->no_generation_prompt, "Don't begin the answer");

  auto file = std::make_shared<TokenizerFileOptions>();
  const auto add_file_options = [&file](CLI::App& command) {
    command.add_option("file", file->input, "tokenizer.json, a SentencePiece .model, a tiktoken file, or a folder")
        ->required();
    command.add_option("--pattern", file->pattern,
                       "How a tiktoken file cuts texts: r50k, cl100k, o200k, llama3, qwen2 or an expression");
  };
  CLI::App& info = line.add(&group, "info", "Describe a tokenizer",
                            "  mobula tokenizer info model/\n  mobula tokenizer info cl100k_base.tiktoken --json",
                            [&line, file] { return show_info(*file, line.globals().json); });
  add_file_options(info);
  CLI::App& conversion = line.add(&group, "convert", "Write a tokenizer as tokenizer.json",
                                  "  mobula tokenizer convert tokenizer.model --out converted/\n"
                                  "  mobula tokenizer convert ranks.tiktoken --pattern llama3 --out converted/",
                                  [&line, file] { return convert(*file, line.globals().json); });
  add_file_options(conversion);
  conversion.add_option("--out", file->out, "Folder for tokenizer.json and tokenizer_config.json")->required();
}

}  // namespace mobula::cli

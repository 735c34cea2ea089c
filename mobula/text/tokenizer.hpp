/// Tokenizers: text to token ids and back, loaded from and saved as Hugging Face tokenizer.json.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula::text {

using TokenId = std::int32_t;

/// What encoding one text (or pair of texts) gives: one entry a token in every vector.
struct Encoding {
  std::vector<TokenId> ids;
  std::vector<std::uint32_t> type_ids;                       ///< 0 for the first text, 1 for the second
  std::vector<std::pair<std::size_t, std::size_t>> offsets;  ///< bytes of the input, [begin, end)
  std::vector<std::uint8_t> special_mask;                    ///< 1 where a post-processor added the token
  std::vector<std::uint8_t> attention_mask;                  ///< 0 where padding stands
};

/// Whether texts are cut and filled up to a length.
enum class Lengths {
  as_the_file_says,  ///< by "truncation" and "padding" of tokenizer.json: what the library tokenizers does
  as_they_come,      ///< never: what transformers does unless it is asked to
};

/// Turns text into ids and back. Immutable and thread-safe once made.
class Tokenizer {
 public:
  /// Loads tokenizer.json, a SentencePiece .model, a tiktoken file of a known name (cl100k_base.tiktoken), or a folder that
  /// holds one of them, or vocab.json and merges.txt. In a checkpoint's folder, what is no tokenizer.json gets the special and
  /// added tokens that tokenizer_config.json names: ids are those of transformers. Throws Error naming file and key.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& path,
                                               Lengths lengths = Lengths::as_the_file_says);
  /// Returns the file that load() reads in `folder`; nothing where there is none.
  static std::optional<std::filesystem::path> find(const std::filesystem::path& folder);
  /// Parses the content of a tokenizer.json or a SentencePiece model; `name` leads error messages.
  static std::shared_ptr<const Tokenizer> parse(std::string_view content, std::string_view name);

  ~Tokenizer();

  /// Encodes text; invalid UTF-8 is read as U+FFFD per maximal subpart. `add_special_tokens` runs the
  /// post-processor.
  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens = true) const;
  /// Encodes text with types, offsets and masks, truncated and padded as the file says.
  Encoding encode_full(std::string_view text, std::optional<std::string_view> pair = std::nullopt,
                       bool add_special_tokens = true) const;
  /// Decodes ids. Throws Error(invalid_argument) for an id outside the vocabulary.
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens = true) const;

  /// Returns the number of ids, added tokens included: 1 + the largest id.
  std::size_t vocab_size() const;
  std::optional<TokenId> token_to_id(std::string_view token) const;
  std::optional<std::string> id_to_token(TokenId id) const;
  bool is_special(TokenId id) const;
  /// Returns the bytes that a token stands for behind other text: with the space that it begins with, and maybe a part of a
  /// character. Throws Error(invalid_argument) for an id outside the vocabulary.
  std::string token_bytes(TokenId id) const;

  /// Returns the name of the model's algorithm, such as "BPE" or "SentencePiece Unigram".
  std::string_view model_kind() const;
  /// Returns the ids that decode() leaves out unless told otherwise, in ascending order.
  std::vector<TokenId> special_ids() const;
  /// Tells whether long texts are encoded part by part, in bounded memory (StreamEncoder).
  bool streams() const;

  /// Returns the text of this tokenizer's tokenizer.json, made where it came from another file.
  std::string to_json() const;
  /// Writes tokenizer.json and a tokenizer_config.json that transformers' AutoTokenizer loads
  /// (PreTrainedTokenizerFast), with `chat_template` where it is not empty.
  void save(const std::filesystem::path& directory, std::string_view chat_template = {}) const;

  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);

 private:
  friend class StreamDecoder;
  friend class StreamEncoder;
  std::unique_ptr<const Impl> impl_;
};

/// Encodes a text that comes in parts of any size, such as a line longer than memory: all ids together are those of
/// Tokenizer::encode. Holds a few hundred kilobytes where the tokenizer never joins words; else, and where padding or
/// truncation works from the left, the text up to its end. Holds a reference to the tokenizer. Not thread-safe.
///
///     StreamEncoder encoder(tokenizer);
///     while (read(part)) encoder.push(part, ids), use_and_clear(ids);
///     encoder.finish(ids);
class StreamEncoder {
 public:
  /// `part_bytes` are encoded at a time, about.
  explicit StreamEncoder(std::shared_ptr<const Tokenizer> tokenizer, bool add_special_tokens = true,
                         std::size_t part_bytes = std::size_t{1} << 16);
  /// Adds text and appends the ids that are certain. The text may end within a character.
  void push(std::string_view text, std::vector<TokenId>& ids);
  /// Ends the text and appends the rest of its ids; another text may follow.
  void finish(std::vector<TokenId>& ids);

 private:
  void begin(std::vector<TokenId>& ids);
  void give(std::string_view part, bool last, std::vector<TokenId>& ids);

  std::shared_ptr<const Tokenizer> tokenizer_;
  bool add_special_tokens_;
  std::size_t part_bytes_;
  bool needs_end_ = false;  ///< ids depend on where the text ends
  std::string waiting_;
  std::size_t looked_ = 0;  ///< so many bytes of it hold no place to cut
  std::size_t count_ = 0;   ///< ids of the text that were given out
  std::size_t most_ = 0;    ///< as many as truncation leaves
  bool begun_ = false;
  bool continues_ = false;
  bool full_ = false;
};

/// Decodes a growing sequence of ids: gives out text as soon as it can't change any more (whole UTF-8
/// characters, decoders that look ahead). Holds a reference to the tokenizer. Not thread-safe.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens = true);
  /// Adds an id; returns the text that became certain, often empty. An id beyond the vocabulary has no text.
  std::string push(TokenId id);
  /// Returns what is left; incomplete characters become U+FFFD.
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;       ///< bytes of byte-level tokens that may begin a character
  std::vector<TokenId> ids_;  ///< of other tokenizers: the last ids given out, and those that are not yet
  std::size_t prefix_ = 0;
  std::size_t given_ = 0;
};

/// What a tiktoken file leaves open.
struct TiktokenOptions {
  std::string pattern;  ///< cuts texts: a name (r50k, cl100k, o200k, llama3, qwen2) or a regular expression
  std::vector<std::pair<std::string, TokenId>> special_tokens;
};

/// Loads a tiktoken file. Ids equal tiktoken's. Throws Error naming file and line.
std::shared_ptr<const Tokenizer> load_tiktoken(const std::filesystem::path& path, const TiktokenOptions& options);

/// Makes a tokenizer of the 256 bytes (ids 0..255 are the bytes; byte-level BPE without merges).
std::shared_ptr<const Tokenizer> make_byte_tokenizer();
/// Makes a tokenizer of the characters (code points) in `text`, sorted, after the unknown token. Throws for
/// empty text.
std::shared_ptr<const Tokenizer> make_character_tokenizer(std::string_view text);

}  // namespace mobula::text

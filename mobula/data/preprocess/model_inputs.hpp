/// Preprocessors that make what models take: token ids, the texts of chats, pixels, and what a function of the user makes.
/// They learn nothing; saved, they hold their options, so that training and serving do the same.
///
/// Tokenizers and chat templates belong to a layer that this one does not see: who knows them says so once, by
/// know_tokenizers() and know_chat_templates(); `mobula data` does.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/operators/decode_image.hpp"
#include "mobula/data/preprocess/preprocessor.hpp"

namespace mobula::data {

/// Turns a text into token ids. Called by several threads at once.
using EncodeText = std::function<std::vector<std::int32_t>(std::string_view text)>;
/// Turns a chat, an array of {"role", "content"}, into the text that a model sees. Called by several threads at once.
using FormatChat = std::function<std::string(const Json& messages)>;

/// Sets how a tokenizer is read: by the path of its file or of its model's folder.
void know_tokenizers(std::function<EncodeText(const std::string& path, bool add_special_tokens)> open);
/// Sets how a model's chat template is read, by the path of its folder.
void know_chat_templates(std::function<FormatChat(const std::string& path, bool add_generation_prompt)> open);

struct TokenizeOptions {
  std::string column = "text";  ///< of strings; null stays null
  std::string into = "tokens";  ///< lists of int32
  std::string tokenizer;        ///< tokenizer.json, or a model's folder
  bool add_special_tokens = true;
  std::int64_t max_length = 0;  ///< cuts off what is longer; 0: nothing
};
/// Texts become token ids. Throws Error(unavailable) where nobody knows tokenizers.
PreprocessorPointer tokenizer_preprocessor(TokenizeOptions options);

struct FormatChatOptions {
  std::string column = "messages";  ///< lists of structs with role and content, or their JSON as strings
  std::string into = "text";
  std::string model;                   ///< folder that holds the chat template
  bool add_generation_prompt = false;  ///< ends where the model is to answer
};
/// Chats become texts. Throws Error(unavailable) where nobody knows chat templates.
PreprocessorPointer chat_preprocessor(FormatChatOptions options);

/// Image files become pixels, as the operator decode_image does.
PreprocessorPointer image_preprocessor(DecodeImageOptions options);

/// Changes batches of any size, rows too, as long as the columns that come out are always the same.
using ChangeBatch = std::function<RecordBatchPointer(const RecordBatchPointer& batch)>;
/// Makes a function known under a name, under which it is saved: whoever loads it makes it known before. `make` is called with
/// the options of each preprocessor. Throws Error(already_exists) for a name that is taken.
void know_function(const std::string& name, std::function<ChangeBatch(const Json& options)> make);
/// Calls a function that is known. Throws Error(not_found) with the nearest name.
PreprocessorPointer function_preprocessor(std::string name, Json options = Json::object());

}  // namespace mobula::data

/// The tokenizer and the chat templates inside a GGUF file.
#pragma once

#include <string>

#include "mobula/nn/gguf_file.hpp"
#include "mobula/text/chat_template.hpp"

namespace mobula::cli {

/// Returns the text of a tokenizer.json that does what the file's tokenizer does, or nothing where it has none. Reads the
/// models "llama" (SentencePiece's BPE) and "gpt2" (byte-level BPE, split as GPT-2, Llama 3 and Qwen 2 do). Throws
/// Error(unsupported) naming another model or way to split, Error(corrupt) for lists that don't fit one another.
std::string gguf_tokenizer_json(const nn::GgufMetadata& metadata);

/// Returns the chat templates of the file (tokenizer.chat_template and those with a name behind it) with the special tokens that
/// they name. Throws Error naming the key for one that can't be read.
text::ModelChatTemplate gguf_chat_template(const nn::GgufMetadata& metadata, const std::string& file);

}  // namespace mobula::cli

/// The tokenizer inside a GGUF file.
#pragma once

#include <string>

#include "mobula/nn/gguf_file.hpp"

namespace mobula::cli {

/// Returns the text of a tokenizer.json that does what the file's tokenizer does, or nothing where it has none. Reads the
/// models "llama" (SentencePiece's BPE) and "gpt2" (byte-level BPE, split as GPT-2, Llama 3 and Qwen 2 do). Throws
/// Error(unsupported) naming another model or way to split, Error(corrupt) for lists that don't fit one another.
std::string gguf_tokenizer_json(const nn::GgufMetadata& metadata);

}  // namespace mobula::cli

#include <set>

#include "mobula/base/error.hpp"
#include "mobula/text/bpe_file.hpp"
#include "mobula/text/byte_alphabet.hpp"
#include "mobula/text/tokenizer.hpp"
#include "mobula/text/unicode/utf8.hpp"

namespace mobula::text {

std::shared_ptr<const Tokenizer> make_byte_tokenizer() {
  BpeFile file;
  for (int byte = 0; byte < 256; ++byte) {
    file.tokens.emplace_back();
    append_utf8(file.tokens.back(), byte_to_character(static_cast<std::uint8_t>(byte)));
  }
  file.use_regex = false;
  return Tokenizer::parse(file.to_json(), "byte tokenizer");
}

std::shared_ptr<const Tokenizer> make_character_tokenizer(std::string_view text) {
  if (text.empty()) throw_invalid("a character vocabulary can't be made from empty text", "check the training data");
  std::string valid;
  append_repaired_utf8(valid, text);
  std::set<char32_t> characters;
  for (std::size_t at = 0; at < valid.size();) characters.insert(next_code_point(valid, at));

  BpeFile file;
  file.tokens = {"<unk>"};
  file.special_tokens = {"<unk>"};
  file.unk_token = "<unk>";
  file.byte_level = false;
  for (const char32_t character : characters) {
    file.tokens.emplace_back();
    append_utf8(file.tokens.back(), character);
  }
  return Tokenizer::parse(file.to_json(), "character tokenizer");
}

}  // namespace mobula::text

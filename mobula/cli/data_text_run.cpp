#include "mobula/cli/data_text.hpp"

#include <memory>

#include "mobula/data/preprocess/model_inputs.hpp"
#include "mobula/text/chat_template.hpp"
#include "mobula/text/tokenizer.hpp"

namespace mobula::cli {

void know_text_models() {
  data::know_tokenizers([](const std::string& path, bool add_special_tokens) -> data::EncodeText {
    return [tokenizer = text::Tokenizer::load(path), add_special_tokens](std::string_view text) {
      const auto ids = tokenizer->encode(text, add_special_tokens);
      return std::vector<std::int32_t>(ids.begin(), ids.end());
    };
  });
  data::know_chat_templates([](const std::string& path, bool add_generation_prompt) -> data::FormatChat {
    return [chat = std::make_shared<const text::ModelChatTemplate>(text::load_chat_template(path)),
            add_generation_prompt](const Json& messages) { return chat->render(messages, add_generation_prompt); };
  });
}

}  // namespace mobula::cli

#include "mobula/cli/data_text.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "mobula/base/error.hpp"
#include "mobula/cli/plugin.hpp"
#include "mobula/data/preprocess/known_library.hpp"
#include "mobula/data/preprocess/model_inputs.hpp"
#include "mobula/data/preprocess/models.hpp"
#include "mobula/text/chat_template.hpp"
#include "mobula/text/tokenizer.hpp"

extern "C" void mobula_know_for_data() {
  mobula::cli::know_text_models();
}

namespace mobula::cli {
namespace {

/// Returns the file of the library that this is in.
std::filesystem::path own_library() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&mobula_know_for_data), &info) == 0)
    throw_internal("a plugin has no path");
  return std::filesystem::canonical(info.dli_fname);
}

std::unique_ptr<data::LoadedModel> load_model(const data::ModelOptions& options) {
  const auto path = own_library().parent_path() / fmt::format("lib{}.so", kTorchPlugin);
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    throw Error(ErrorCode::unavailable, fmt::format("models need libtorch: {}", ::dlerror()),
                "build with -DMOBULA_WITH_TORCH=ON, or run ./dev setup, which installs what it links");
  }
  using Load = void (*)(const data::ModelOptions*, std::unique_ptr<data::LoadedModel>*);
  const auto load = reinterpret_cast<Load>(::dlsym(library, "mobula_load_data_model"));
  if (load == nullptr) throw_internal(fmt::format("{} has no mobula_load_data_model", path.string()));
  std::unique_ptr<data::LoadedModel> model;
  load(&options, &model);
  return model;
}

}  // namespace

void know_text_models() {
  data::set_known_library(own_library().string());
  data::know_models(load_model);
  data::know_tokenizers([](const std::string& path, bool add_special_tokens) -> data::EncodeText {
    return [tokenizer = text::Tokenizer::load(path, text::Lengths::as_they_come),
            add_special_tokens](std::string_view text) {
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

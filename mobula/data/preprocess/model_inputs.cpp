#include "mobula/data/preprocess/model_inputs.hpp"

#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/preprocess/columns.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sinks/value_text.hpp"

namespace mobula::data {
namespace {

/// What other layers know.
struct Known {
  std::mutex mutex;
  std::function<EncodeText(const std::string&, bool)> tokenizers;
  std::function<FormatChat(const std::string&, bool)> chat_templates;
  std::map<std::string, std::function<ChangeBatch(const Json&)>> functions;
};

Known& known() {
  static Known instance;
  return instance;
}

[[noreturn]] void throw_unknown(const char* what) {
  throw Error(ErrorCode::unavailable, fmt::format("this program knows no {}", what),
              "link mobula::text, and say so to mobula::data (preprocess/model_inputs.hpp)");
}

const arrow::Array& column_of(const arrow::RecordBatch& batch, const std::string& name, const std::string& kind) {
  const auto column = batch.GetColumnByName(name);
  if (column == nullptr) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no column '{}'", kind, name),
                suggest(name, batch.schema()->field_names()));
  }
  return *column;
}

/// Preprocessors that learn nothing.
class Fixed : public Preprocessor {
 public:
  void fit(const Dataset&, const RunOptions&) override {}
  using Preprocessor::transform;
};

class TextTokenizer : public Fixed {
 public:
  explicit TextTokenizer(TokenizeOptions options) : options_(std::move(options)) {
    if (options_.max_length < 0) throw_invalid(fmt::format("tokenizer: max_length {}", options_.max_length));
    std::function<EncodeText(const std::string&, bool)> open;
    {
      const std::lock_guard lock(known().mutex);
      open = known().tokenizers;
    }
    if (open == nullptr) throw_unknown("tokenizers");
    encode_ = open(options_.tokenizer, options_.add_special_tokens);
  }

  using Fixed::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    const arrow::Array& column = column_of(*batch, options_.column, "tokenizer");
    if (column.type_id() != arrow::Type::STRING) {
      throw_invalid(
          fmt::format("tokenizer: column '{}' is {}, not strings", options_.column, column.type()->ToString()));
    }
    const auto& texts = static_cast<const arrow::StringArray&>(column);
    auto values = std::make_shared<arrow::Int32Builder>();
    arrow::ListBuilder lists(arrow::default_memory_pool(), values);
    for (std::int64_t row = 0; row < texts.length(); ++row) {
      if (texts.IsNull(row)) {
        check(lists.AppendNull(), options_.into);
        continue;
      }
      std::vector<std::int32_t> ids = encode_(texts.GetView(row));
      if (options_.max_length > 0 && ids.size() > static_cast<std::size_t>(options_.max_length))
        ids.resize(static_cast<std::size_t>(options_.max_length));
      check(lists.Append(), options_.into);
      check(values->AppendValues(ids), options_.into);
    }
    return with_column(batch, options_.into, take(lists.Finish(), options_.into));
  }
  Json to_json() const override {
    return {{"kind", "tokenizer"},
            {"column", options_.column},
            {"into", options_.into},
            {"tokenizer", options_.tokenizer},
            {"add_special_tokens", options_.add_special_tokens},
            {"max_length", options_.max_length}};
  }

 private:
  TokenizeOptions options_;
  EncodeText encode_;
};

class ChatFormatter : public Fixed {
 public:
  explicit ChatFormatter(FormatChatOptions options) : options_(std::move(options)) {
    std::function<FormatChat(const std::string&, bool)> open;
    {
      const std::lock_guard lock(known().mutex);
      open = known().chat_templates;
    }
    if (open == nullptr) throw_unknown("chat templates");
    format_ = open(options_.model, options_.add_generation_prompt);
  }

  using Fixed::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    const arrow::Array& column = column_of(*batch, options_.column, "chat");
    const bool is_text = column.type_id() == arrow::Type::STRING;
    const auto as_json =
        is_text ? nullptr : make_value_text(column, options_.column, TextRules{.style = TextStyle::json});
    arrow::StringBuilder texts;
    for (std::int64_t row = 0; row < column.length(); ++row) {
      if (column.IsNull(row)) {
        check(texts.AppendNull(), options_.into);
        continue;
      }
      std::string json;
      try {
        if (is_text) {
          json = static_cast<const arrow::StringArray&>(column).GetString(row);
        } else {
          as_json->append(row, json);
        }
        check(texts.Append(format_(parse_json(json, "its messages"))), options_.into);
      } catch (const RowError& error) {
        fail(*batch, row, error.message);
      } catch (const Error& error) {
        fail(*batch, row, error.message());
      }
    }
    return with_column(batch, options_.into, take(texts.Finish(), options_.into));
  }
  Json to_json() const override {
    return {{"kind", "chat"},
            {"column", options_.column},
            {"into", options_.into},
            {"model", options_.model},
            {"add_generation_prompt", options_.add_generation_prompt}};
  }

 private:
  [[noreturn]] void fail(const arrow::RecordBatch& batch, std::int64_t row, const std::string& message) const {
    const std::string where = batch.num_rows() == 1 ? "" : fmt::format("row {} of the batch: ", row + 1);
    throw_invalid(fmt::format("chat: {}column '{}': {}", where, options_.column, message),
                  "messages are a list of {\"role\": ..., \"content\": ...}");
  }

  FormatChatOptions options_;
  FormatChat format_;
};

class ImageDecoder : public Fixed {
 public:
  explicit ImageDecoder(DecodeImageOptions options) : options_(std::move(options)) { options_.validate(); }

  using Fixed::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override {
    const auto decode = decode_image_operator(options_, std::make_shared<BadRows>(ErrorPolicy()));
    decode->bind(batch->schema());
    Block block{batch};
    decode->change(block);
    return block.batch;
  }
  Json to_json() const override {
    Json json = {{"kind", "image"},
                 {"column", options_.column},
                 {"into", options_.into},
                 {"grey", options_.grey},
                 {"shorter_side", options_.shorter_side},
                 {"filter", options_.filter},
                 {"mean", options_.mean},
                 {"deviation", options_.deviation},
                 {"channels_first", options_.channels_first}};
    if (options_.resize) json["resize"] = {options_.resize->first, options_.resize->second};
    if (options_.center_crop) json["center_crop"] = {options_.center_crop->first, options_.center_crop->second};
    return json;
  }

 private:
  DecodeImageOptions options_;
};

class KnownFunction : public Fixed {
 public:
  KnownFunction(std::string name, Json options) : name_(std::move(name)), options_(std::move(options)) {
    std::function<ChangeBatch(const Json&)> make;
    {
      const std::lock_guard lock(known().mutex);
      const auto found = known().functions.find(name_);
      if (found == known().functions.end()) {
        std::vector<std::string> names;
        for (const auto& [one, function] : known().functions) names.push_back(one);
        throw Error(ErrorCode::not_found, fmt::format("no function '{}' is known", name_), suggest(name_, names));
      }
      make = found->second;
    }
    change_ = make(options_);
  }

  using Fixed::transform;
  RecordBatchPointer transform(const RecordBatchPointer& batch) const override { return change_(batch); }
  Json to_json() const override { return {{"kind", "function"}, {"name", name_}, {"options", options_}}; }

 private:
  std::string name_;
  Json options_;
  ChangeBatch change_;
};

}  // namespace

void know_tokenizers(std::function<EncodeText(const std::string&, bool)> open) {
  const std::lock_guard lock(known().mutex);
  known().tokenizers = std::move(open);
}

void know_chat_templates(std::function<FormatChat(const std::string&, bool)> open) {
  const std::lock_guard lock(known().mutex);
  known().chat_templates = std::move(open);
}

void know_function(const std::string& name, std::function<ChangeBatch(const Json&)> make) {
  const std::lock_guard lock(known().mutex);
  if (!known().functions.emplace(name, std::move(make)).second) {
    throw Error(ErrorCode::already_exists, fmt::format("a function '{}' is known already", name), "name it otherwise");
  }
}

PreprocessorPointer tokenizer_preprocessor(TokenizeOptions options) {
  return std::make_shared<TextTokenizer>(std::move(options));
}

PreprocessorPointer chat_preprocessor(FormatChatOptions options) {
  return std::make_shared<ChatFormatter>(std::move(options));
}

PreprocessorPointer image_preprocessor(DecodeImageOptions options) {
  return std::make_shared<ImageDecoder>(std::move(options));
}

PreprocessorPointer function_preprocessor(std::string name, Json options) {
  return std::make_shared<KnownFunction>(std::move(name), std::move(options));
}

PreprocessorPointer read_tokenizer(const Json& json) {
  return tokenizer_preprocessor({.column = json.at("column"),
                                 .into = json.at("into"),
                                 .tokenizer = json.at("tokenizer"),
                                 .add_special_tokens = json.at("add_special_tokens"),
                                 .max_length = json.at("max_length")});
}

PreprocessorPointer read_chat(const Json& json) {
  return chat_preprocessor({.column = json.at("column"),
                            .into = json.at("into"),
                            .model = json.at("model"),
                            .add_generation_prompt = json.at("add_generation_prompt")});
}

PreprocessorPointer read_image(const Json& json) {
  DecodeImageOptions options;
  options.column = json.at("column");
  options.into = json.at("into");
  options.grey = json.at("grey");
  options.shorter_side = json.at("shorter_side");
  options.filter = json.at("filter");
  options.mean = json.at("mean").get<std::vector<double>>();
  options.deviation = json.at("deviation").get<std::vector<double>>();
  options.channels_first = json.at("channels_first");
  const auto size = [&json](const char* key) -> std::optional<std::pair<std::int64_t, std::int64_t>> {
    if (!json.contains(key)) return std::nullopt;
    return std::pair(json.at(key).at(0).get<std::int64_t>(), json.at(key).at(1).get<std::int64_t>());
  };
  options.resize = size("resize");
  options.center_crop = size("center_crop");
  return image_preprocessor(std::move(options));
}

PreprocessorPointer read_function(const Json& json) {
  return function_preprocessor(json.at("name"), json.at("options"));
}

}  // namespace mobula::data

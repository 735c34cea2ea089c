#include "mobula/data/sources/partitioned_source.hpp"

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/expressions/evaluate.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

std::string decoded(std::string_view text) {
  std::string value;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, byte, 16).ptr == text.data() + i + 3) {
      value += static_cast<char>(byte);
      i += 2;
    } else {
      value += text[i];
    }
  }
  return value;
}

std::optional<std::int64_t> whole_number(const std::string& text) {
  std::int64_t number = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return fmt::format("{}", number) == text ? std::optional(number) : std::nullopt;  // 007 stays a text
}

std::vector<std::string> keys_of(const PartitionedFile& file) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : file.values) keys.push_back(key);
  return keys;
}

class PartitionedSource : public Source {
 public:
  PartitionedSource(std::vector<PartitionedFile> files, std::vector<std::string> columns,
                    std::function<std::unique_ptr<Source>(std::vector<std::string>, std::vector<std::string>)> open)
      : files_(std::move(files)), columns_(std::move(columns)), open_(std::move(open)) {
    const auto keys = keys_of(files_.front());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const bool numbers = std::all_of(files_.begin(), files_.end(), [i](const PartitionedFile& file) {
        return !file.values[i].second || whole_number(*file.values[i].second);
      });
      fields_.push_back(arrow::field(keys[i], numbers ? arrow::int64() : arrow::utf8()));
    }
  }

  void push_filter(const std::shared_ptr<const Expression>& predicate) override {
    // What the keys alone decide is decided here; the rest may be of use to the files' own source.
    const auto keys = arrow::schema(fields_);
    const auto columns = predicate->columns();
    const bool of_keys = std::all_of(columns.begin(), columns.end(),
                                     [&](const std::string& column) { return keys->GetFieldIndex(column) >= 0; });
    if (!of_keys) {
      pushed_.push_back(predicate);
      return;
    }
    const std::size_t before = files_.size();
    std::vector<PartitionedFile> kept;
    for (PartitionedFile& file : files_) {
      arrow::ArrayVector values;
      for (std::size_t i = 0; i < fields_.size(); ++i) values.push_back(repeated(file, i, 1));
      const auto truth = evaluate(*predicate, *arrow::RecordBatch::Make(keys, 1, std::move(values)));
      if (truth->type_id() != arrow::Type::BOOL) return;  // the filter itself says what is wrong
      if (truth->IsValid(0) && static_cast<const arrow::BooleanArray&>(*truth).Value(0))
        kept.push_back(std::move(file));
      else
        dropped_.push_back(std::move(file));
    }
    // One file stays to tell the columns; its rows are filtered all the same.
    if (kept.empty()) kept.push_back(std::move(dropped_.front()));
    files_ = std::move(kept);
    num_skipped_ += before - files_.size();
  }
  void push_columns(const std::vector<std::string>& columns) override { wanted_ = columns; }
  void know_columns(const std::shared_ptr<arrow::Schema>& columns) override {
    arrow::FieldVector own;
    for (const auto& field : columns->fields()) {
      if (position_of(field->name()) < 0) own.push_back(field);
    }
    known_ = arrow::schema(std::move(own));
  }
  std::string note() const override {
    std::string note = num_skipped_ == 0 ? "" : fmt::format("{} files skipped by their folders", num_skipped_);
    const std::string inner = inner_ == nullptr ? "" : inner_->note();
    return note.empty() ? inner : inner.empty() ? note : fmt::format("{}, {}", note, inner);
  }

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ != nullptr) return schema_;
    std::vector<std::string> names;
    for (const PartitionedFile& file : files_) {
      index_.emplace(file.file, names.size());
      names.push_back(file.file);
    }
    std::vector<std::string> own;
    for (const std::string& column : columns_) {
      if (position_of(column) < 0) own.push_back(column);
    }
    inner_ = open_(std::move(names), own);
    for (const auto& predicate : pushed_) inner_->push_filter(predicate);
    if (wanted_) inner_->push_columns(*wanted_);
    if (known_ != nullptr) inner_->know_columns(known_);
    const auto inner = inner_->schema();
    arrow::FieldVector fields;
    const auto add_key = [&](std::size_t key) {
      picked_.push_back({-1, key});
      fields.push_back(fields_[key]);
    };
    for (const auto& field : fields_) {
      if (inner->GetFieldIndex(field->name()) >= 0) {
        throw_invalid(fmt::format("{}: column '{}' stands in the file, and in its folders' names", files_.front().file,
                                  field->name()),
                      "read with hive = false to take the file's");
      }
    }
    if (columns_.empty()) {
      for (int i = 0; i < inner->num_fields(); ++i) {
        picked_.push_back({i, 0});
        fields.push_back(inner->field(i));
      }
      for (std::size_t key = 0; key < fields_.size(); ++key) add_key(key);
    }
    for (const std::string& column : columns_) {
      if (const int key = position_of(column); key >= 0) {
        add_key(static_cast<std::size_t>(key));
      } else if (const int position = inner->GetFieldIndex(column); position >= 0) {  // else it was of no use
        picked_.push_back({position, 0});
        fields.push_back(inner->field(position));
      }
    }
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    schema();
    auto piece = inner_->next();
    if (piece == nullptr) return nullptr;
    return std::make_unique<PartitionedPiece>(std::move(piece), this);
  }
  std::string describe() const override {
    const auto keys = keys_of(files_.front());
    return fmt::format("{} by {}", inner_ == nullptr ? fmt::format("{} files", files_.size()) : inner_->describe(),
                       fmt::join(keys, ", "));
  }
  std::vector<PiecePlace> places() override {
    schema();
    return inner_->places();
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    return std::make_unique<PartitionedPiece>(inner_->open(place), this);
  }
  std::vector<std::string> files() const override {
    if (inner_ != nullptr) return inner_->files();
    std::vector<std::string> all;
    for (const PartitionedFile& file : files_) all.push_back(file.file);
    return all;
  }

 private:
  /// A column that comes out: one of the file's, or a key.
  struct Picked {
    int position;  ///< in the file; -1: a key
    std::size_t key;
  };

  class PartitionedPiece : public Piece {
   public:
    PartitionedPiece(std::unique_ptr<Piece> piece, const PartitionedSource* source)
        : piece_(std::move(piece)), source_(source) {}
    Block read() override {
      Block block = piece_->read();
      if (block.batch == nullptr) return block;
      const PartitionedFile& file = source_->files_[source_->index_.at(*block.file)];
      const std::int64_t rows = block.batch->num_rows();
      arrow::ArrayVector columns;
      for (const Picked& picked : source_->picked_)
        columns.push_back(picked.position >= 0 ? block.batch->column(picked.position)
                                               : source_->repeated(file, picked.key, rows));
      block.batch = arrow::RecordBatch::Make(source_->schema_, rows, std::move(columns));
      return block;
    }

   private:
    std::unique_ptr<Piece> piece_;
    const PartitionedSource* source_;
  };

  int position_of(const std::string& column) const { return arrow::schema(fields_)->GetFieldIndex(column); }
  std::shared_ptr<arrow::Array> repeated(const PartitionedFile& file, std::size_t key, std::int64_t rows) const {
    const auto& value = file.values[key].second;
    const auto& type = fields_[key]->type();
    std::shared_ptr<arrow::Scalar> scalar = arrow::MakeNullScalar(type);
    if (value && type->id() == arrow::Type::INT64) scalar = std::make_shared<arrow::Int64Scalar>(*whole_number(*value));
    if (value && type->id() == arrow::Type::STRING) scalar = std::make_shared<arrow::StringScalar>(*value);
    return take(arrow::MakeArrayFromScalar(*scalar, rows), file.file);
  }

  std::vector<PartitionedFile> files_;
  std::vector<PartitionedFile> dropped_;
  std::vector<std::string> columns_;
  std::function<std::unique_ptr<Source>(std::vector<std::string>, std::vector<std::string>)> open_;
  arrow::FieldVector fields_;  ///< of the keys
  std::vector<std::shared_ptr<const Expression>> pushed_;
  std::optional<std::vector<std::string>> wanted_;
  std::shared_ptr<arrow::Schema> known_;
  std::unique_ptr<Source> inner_;
  std::map<std::string, std::size_t> index_;
  std::vector<Picked> picked_;
  std::shared_ptr<arrow::Schema> schema_;
  std::size_t num_skipped_ = 0;
};

}  // namespace

PartitionedFile parse_partitions(const std::string& file, const std::string& base) {
  PartitionedFile parsed{file, {}};
  for (const auto& part : fs::path(file).parent_path().lexically_relative(base)) {
    const std::string folder = part.string();
    const std::size_t equals = folder.find('=');
    if (equals == std::string::npos || equals == 0) continue;
    const std::string value = folder.substr(equals + 1);
    parsed.values.emplace_back(decoded(folder.substr(0, equals)),
                               value == "__HIVE_DEFAULT_PARTITION__" ? std::nullopt : std::optional(decoded(value)));
  }
  return parsed;
}

bool are_partitioned(const std::vector<PartitionedFile>& files) {
  if (files.empty()) return false;
  const auto keys = keys_of(files.front());
  for (const PartitionedFile& file : files) {
    if (keys_of(file) != keys) {
      throw_invalid(fmt::format("{}: its folders name the keys ({}), and those of {} name ({})", file.file,
                                fmt::join(keys_of(file), ", "), files.front().file, fmt::join(keys, ", ")),
                    "read folders of different keys apart, or with hive = false");
    }
  }
  return !keys.empty();
}

std::unique_ptr<Source> open_partitioned(
    std::vector<PartitionedFile> files, std::vector<std::string> columns,
    std::function<std::unique_ptr<Source>(std::vector<std::string>, std::vector<std::string>)> open) {
  return std::make_unique<PartitionedSource>(std::move(files), std::move(columns), std::move(open));
}

}  // namespace mobula::data

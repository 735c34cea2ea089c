#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sinks/file_sink.hpp"
#include "mobula/data/sinks/format_writer.hpp"
#include "mobula/data/sinks/output_folder.hpp"
#include "mobula/data/sinks/value_text.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kMaxPartitions = 1024;  ///< open at once

/// Writes a value into a folder's name as Hive does: what has a meaning in paths becomes %XX.
std::string partition_name(const std::string& column, const arrow::Array& values, std::int64_t row) {
  std::string text;
  if (values.IsNull(row)) {
    text.assign("__HIVE_DEFAULT_PARTITION__");
  } else if (values.type_id() == arrow::Type::STRING) {
    text = static_cast<const arrow::StringArray&>(values).GetView(row);
  } else {
    make_value_text(values, column, {})->append(row, text);
  }
  std::string name = fmt::format("{}=", column);
  for (const char c : text) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' || (c & 0x80);
    if (plain) {
      name += c;
    } else {
      name += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return name;
}

/// A part of a folder that others write too.
struct FolderPart {
  std::int64_t number = 0;
  std::vector<std::string>* files = nullptr;  ///< names of those that were written
};

class FolderSink : public Sink {
 public:
  FolderSink(std::string path, std::string format, WriteOptions options, std::optional<FolderPart> only = {})
      : path_(path.ends_with('/') && path.size() > 1 ? path.substr(0, path.size() - 1) : std::move(path)),
        format_name_(std::move(format)),
        options_(std::move(options)),
        only_(only) {}

  std::string describe() const override { return fmt::format("{}({}/)", format_name_, path_); }

  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    if (!only_) folder_.emplace(path_, options_.overwrite);
    arrow::FieldVector kept;
    for (const std::string& key : options_.partition_by) {
      const int position = schema->GetFieldIndex(key);
      if (position < 0)
        throw Error(ErrorCode::invalid_argument, fmt::format("partition_by: no column '{}'", key),
                    suggest(key, schema->field_names()));
      check_text_type(*schema->field(position)->type(), key, TextStyle::csv);
      keys_.push_back(position);
    }
    for (int i = 0; i < schema->num_fields(); ++i) {
      if (std::find(keys_.begin(), keys_.end(), i) == keys_.end()) {
        kept.push_back(schema->field(i));
        kept_.push_back(i);
      }
    }
    if (kept.empty() && !keys_.empty()) throw_invalid("partition_by: no column is left for the files");
    format_ = make_format(format_name_, arrow::schema(kept), options_);
  }

  std::unique_ptr<Prepared> prepare(Block block) override {
    auto prepared = std::make_unique<PreparedParts>();
    if (keys_.empty()) {
      prepared->parts.emplace_back("", format_rows(std::move(block)));
      return prepared;
    }
    std::map<std::string, std::vector<std::int64_t>> rows_of;
    for (std::int64_t row = 0; row < block.batch->num_rows(); ++row) {
      std::string name;
      for (const int key : keys_) {
        if (!name.empty()) name += '/';
        name.append(partition_name(block.batch->column_name(key), *block.batch->column(key), row));
      }
      rows_of[name].push_back(row);
    }
    const auto kept = take(block.batch->SelectColumns(kept_), path_);
    for (const auto& [name, rows] : rows_of) {
      const auto indices =
          std::make_shared<arrow::Int64Array>(static_cast<std::int64_t>(rows.size()), arrow::Buffer::Wrap(rows));
      auto part = take(arrow::compute::Take(kept, indices), path_).record_batch();
      prepared->parts.emplace_back(name, format_rows({std::move(part), block.file}));
    }
    return prepared;
  }

  bool consume(std::unique_ptr<Prepared> prepared) override {
    for (auto& [folder, rows] : static_cast<PreparedParts&>(*prepared).parts) {
      if (rows->error) {
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("{}: row {} of those to be written: {}", path_, num_rows_ + rows->error->row + 1,
                                rows->error->message),
                    rows->error->hint);
      }
      Part& part = parts_[folder];
      if (parts_.size() > kMaxPartitions) {
        throw Error(ErrorCode::resource, fmt::format("{}: more than {} partitions", path_, kMaxPartitions),
                    "partition by a column of fewer values");
      }
      if (part.writer == nullptr) part.writer = format_->open(file_of(folder, part.next++));
      part.writer->write(*rows);
      if (part.writer->size() >= options_.part_bytes) {
        part.writer->commit();
        part.writer.reset();
      }
      num_rows_ += rows->rows;
    }
    return true;
  }

  void finish() override {
    // No rows at all still make one file, which tells the columns.
    if (parts_.empty() && keys_.empty()) parts_[""].writer = format_->open(file_of("", 0));
    for (auto& [folder, part] : parts_) {
      if (part.writer != nullptr) part.writer->commit();
    }
    parts_.clear();
    if (folder_) folder_->commit();
  }

 private:
  struct PreparedParts : Prepared {
    std::vector<std::pair<std::string, std::unique_ptr<PreparedRows>>> parts;  ///< by folder
  };
  struct Part {
    std::unique_ptr<FileWriter> writer;
    int next = 0;
  };

  std::unique_ptr<PreparedRows> format_rows(Block block) const {
    const std::int64_t rows = block.batch->num_rows();
    auto prepared = format_->prepare(std::move(block));
    prepared->rows = rows;
    return prepared;
  }
  std::string file_of(const std::string& folder, int number) {
    if (only_) {
      only_->files->push_back(fmt::format("{}{}part-{:05}{}{}", folder, folder.empty() ? "" : "/", only_->number,
                                          number == 0 ? "" : fmt::format("-{}", number), format_->extension()));
      return fmt::format("{}/{}", path_, only_->files->back());
    }
    return folder_->place(fmt::format("{}{}part-{:05}{}{}", folder, folder.empty() ? "" : "/", number, folder_->tag(),
                                      format_->extension()));
  }

  std::string path_;
  std::string format_name_;
  WriteOptions options_;
  std::optional<FolderPart> only_;
  std::vector<int> keys_;
  std::vector<int> kept_;
  std::unique_ptr<Format> format_;
  std::optional<OutputFolder> folder_;
  std::map<std::string, Part> parts_;  ///< destroyed before the folder: open files lie in it
  std::int64_t num_rows_ = 0;
};

}  // namespace

std::unique_ptr<Sink> folder_sink(std::string path, std::string format, WriteOptions options) {
  return std::make_unique<FolderSink>(std::move(path), std::move(format), std::move(options));
}

std::unique_ptr<Sink> partition_sink(std::string path, std::string format, WriteOptions options, std::int64_t part,
                                     std::vector<std::string>* files) {
  return std::make_unique<FolderSink>(std::move(path), std::move(format), std::move(options), FolderPart{part, files});
}

}  // namespace mobula::data

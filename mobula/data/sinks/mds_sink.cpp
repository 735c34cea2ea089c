#include <arrow/array.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/compression.h>
#include <fmt/format.h>

#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sinks/file_sink.hpp"
#include "mobula/data/sinks/output_folder.hpp"
#include "mobula/data/sources/mds_format.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {

/// Offsets in a shard are 32 bits wide, and mosaicml-streaming reads shards whole.
constexpr std::size_t kMaxShardBytes = std::size_t{1} << 30;
constexpr const char* kHash = "xxh64";

class MdsSink : public Sink {
 public:
  MdsSink(std::string path, WriteOptions options)
      : path_(path.ends_with('/') && path.size() > 1 ? path.substr(0, path.size() - 1) : std::move(path)),
        options_(std::move(options)),
        zips_(options_.compression == "zstd") {
    if (!zips_ && !options_.compression.empty() && options_.compression != "none") {
      throw_invalid(fmt::format("mds: unknown compression '{}'", options_.compression), "known are none and zstd");
    }
    if (!options_.partition_by.empty()) throw_invalid("mds: partition_by is of no use: shards have no folders");
  }

  std::string describe() const override { return fmt::format("mds({}/)", path_); }

  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    folder_.emplace(path_, options_.overwrite);
    for (const auto& field : schema->fields()) {
      auto [encoding, size] = mds_encoding(*field->type());
      if (encoding.empty()) {
        throw Error(
            ErrorCode::unsupported,
            fmt::format("mds: column '{}' is {}, which no encoding holds", field->name(), field->type()->ToString()),
            "write strings, bytes, whole numbers, floats or lists of one size");
      }
      columns_.push_back({field->name(), std::move(encoding), size});
    }
    Json names = Json::array();
    Json encodings = Json::array();
    Json sizes = Json::array();
    for (const MdsColumn& column : columns_) {
      names.push_back(column.name);
      encodings.push_back(column.encoding);
      sizes.push_back(column.size < 0 ? Json() : Json(column.size));
    }
    config_ = Json{{"column_encodings", std::move(encodings)},
                   {"column_names", std::move(names)},
                   {"column_sizes", std::move(sizes)},
                   {"compression", zips_ ? Json("zstd") : Json()},
                   {"format", "mds"},
                   {"hashes", Json::array({kHash})},
                   {"size_limit", options_.part_bytes},
                   {"version", 2}};
    config_text_ = to_line(config_);
  }

  std::unique_ptr<Prepared> prepare(Block block) override {
    auto samples = std::make_unique<Samples>();
    const auto& batch = *block.batch;
    samples->sizes.reserve(static_cast<std::size_t>(batch.num_rows()));
    for (std::int64_t row = 0; row < batch.num_rows() && !samples->error; ++row) {
      const std::size_t before = samples->bytes.size();
      try {
        append(batch, row, samples->bytes);
      } catch (const RowError& error) {
        samples->error = error;
      }
      samples->sizes.push_back(samples->bytes.size() - before);
    }
    return samples;
  }

  bool consume(std::unique_ptr<Prepared> prepared) override {
    const auto& samples = static_cast<const Samples&>(*prepared);
    if (samples.error) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}: row {}: {}", path_, num_rows_ + samples.error->row + 1, samples.error->message),
                  samples.error->hint);
    }
    const std::size_t limit = std::min<std::size_t>(static_cast<std::size_t>(options_.part_bytes), kMaxShardBytes);
    std::string_view bytes = samples.bytes;
    for (const std::size_t size : samples.sizes) {
      if (!ends_.empty() && body_.size() + size + (ends_.size() + 2) * 4 + config_text_.size() > limit) flush();
      body_ += bytes.substr(0, size);
      bytes.remove_prefix(size);
      ends_.push_back(body_.size());
    }
    num_rows_ += static_cast<std::int64_t>(samples.sizes.size());
    return true;
  }

  void finish() override {
    if (!ends_.empty() || shards_.empty()) flush();
    write_stored(folder_->place("index.json"), to_line(Json{{"shards", std::move(shards_)}, {"version", 2}}));
    folder_->commit();
  }

 private:
  struct Samples : Prepared {
    std::string bytes;
    std::vector<std::size_t> sizes;
    std::optional<RowError> error;
  };

  void append(const arrow::RecordBatch& batch, std::int64_t row, std::string& out) const {
    const std::size_t head = out.size();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (batch.column(static_cast<int>(i))->IsNull(row)) {
        throw RowError(row, fmt::format("column '{}' is null, which MDS can't hold", columns_[i].name),
                       "filter nulls first, or give them a value");
      }
      if (columns_[i].size < 0) out.append(4, '\0');
    }
    std::size_t next_size = head;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const auto& column = *batch.column(static_cast<int>(i));
      if (columns_[i].size < 0) {
        const std::string_view value = static_cast<const arrow::BinaryArray&>(column).GetView(row);
        const auto size = static_cast<std::uint32_t>(value.size());
        std::memcpy(out.data() + next_size, &size, sizeof size);
        next_size += 4;
        out += value;
        continue;
      }
      const arrow::ArrayData* data = column.data().get();
      std::int64_t position = data->offset + row;
      if (column.type_id() == arrow::Type::FIXED_SIZE_LIST) {
        const auto& list = static_cast<const arrow::FixedSizeListArray&>(column);
        for (std::int64_t k = 0; k < list.value_length(row); ++k) {
          if (list.values()->IsNull(list.value_offset(row) + k)) {
            throw RowError(row, fmt::format("column '{}' holds a null, which MDS can't", columns_[i].name));
          }
        }
        data = list.values()->data().get();
        position = data->offset + list.value_offset(row);
        const std::int64_t item = columns_[i].size / list.value_length(row);
        out.append(reinterpret_cast<const char*>(data->buffers[1]->data()) + position * item,
                   static_cast<std::size_t>(columns_[i].size));
        continue;
      }
      out.append(reinterpret_cast<const char*>(data->buffers[1]->data()) + position * columns_[i].size,
                 static_cast<std::size_t>(columns_[i].size));
    }
  }

  static Json file_entry(const std::string& name, std::string_view bytes) {
    return {{"basename", name}, {"bytes", bytes.size()}, {"hashes", {{kHash, mds_digest(kHash, bytes)}}}};
  }

  void flush() {
    std::string shard;
    const std::size_t head = 4 + (ends_.size() + 1) * 4 + config_text_.size();
    if (head + body_.size() > std::numeric_limits<std::uint32_t>::max()) {
      throw Error(ErrorCode::resource,
                  fmt::format("{}: a sample of {} bytes does not fit a shard", path_, body_.size()));
    }
    shard.reserve(head + body_.size());
    const auto put = [&shard](std::size_t value) {
      const auto narrow = static_cast<std::uint32_t>(value);
      shard.append(reinterpret_cast<const char*>(&narrow), sizeof narrow);
    };
    put(ends_.size());
    put(head);
    for (const std::size_t end : ends_) put(head + end);
    shard += config_text_;
    shard += body_;

    const std::string name = fmt::format("shard.{:05}{}.mds", shards_.size(), folder_->tag());
    Json entry = config_;
    entry["raw_data"] = file_entry(name, shard);
    entry["samples"] = ends_.size();
    entry["zip_data"] = Json();
    if (zips_) {
      const auto codec = take(arrow::util::Codec::Create(arrow::Compression::ZSTD), path_);
      std::string zipped(
          static_cast<std::size_t>(codec->MaxCompressedLen(static_cast<std::int64_t>(shard.size()),
                                                           reinterpret_cast<const std::uint8_t*>(shard.data()))),
          '\0');
      zipped.resize(static_cast<std::size_t>(take(
          codec->Compress(static_cast<std::int64_t>(shard.size()), reinterpret_cast<const std::uint8_t*>(shard.data()),
                          static_cast<std::int64_t>(zipped.size()), reinterpret_cast<std::uint8_t*>(zipped.data())),
          path_)));
      entry["zip_data"] = file_entry(name + ".zstd", zipped);
      write_stored(folder_->place(name + ".zstd"), zipped);
    } else {
      write_stored(folder_->place(name), shard);
    }
    shards_.push_back(std::move(entry));
    body_.clear();
    ends_.clear();
  }

  std::string path_;
  WriteOptions options_;
  bool zips_;
  std::vector<MdsColumn> columns_;
  Json config_;
  std::string config_text_;
  std::optional<OutputFolder> folder_;
  Json shards_ = Json::array();
  std::string body_;
  std::vector<std::size_t> ends_;  ///< of samples in body_
  std::int64_t num_rows_ = 0;
};

}  // namespace

std::unique_ptr<Sink> mds_sink(std::string path, WriteOptions options) {
  return std::make_unique<MdsSink>(std::move(path), std::move(options));
}

}  // namespace mobula::data

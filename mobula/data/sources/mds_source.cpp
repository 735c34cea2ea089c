#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/compression.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <cstring>
#include <filesystem>
#include <numeric>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/mds_format.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

/// Offsets are 32 bits wide.
constexpr std::uint64_t kMaxShardBytes = (std::uint64_t{1} << 32) - 1;

std::uint32_t uint32_at(const char* at) {
  std::uint32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

void check_file(const std::string& path, std::string_view bytes, const MdsFile& file) {
  if (bytes.size() != file.bytes) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {} bytes, but index.json says {}", path, bytes.size(), file.bytes),
                "the file is truncated or belongs to another index.json");
  }
  for (const auto& [algorithm, digest] : file.hashes) {
    const std::string found = mds_digest(algorithm, bytes);
    if (!found.empty() && found != digest) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("{}: its {} is {}, but index.json says {}", path, algorithm, found, digest));
    }
  }
}

/// A shard's samples, in memory.
class ShardBytes {
 public:
  ShardBytes(const fs::path& directory, const MdsShard& shard) : path_((directory / shard.raw.name).string()) {
    if (shard.raw.bytes > kMaxShardBytes) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("{}: index.json says {} bytes, more than 4 GiB", path_, shard.raw.bytes));
    }
    if (!shard.zipped.name.empty() && !look_at(path_).exists) {
      unzip((directory / shard.zipped.name).string(), shard);
    } else {
      copy_.emplace(path_);
      mapped_ = MappedFile(copy_->path());
      text_ = mapped_.text();
    }
    check_file(path_, text_, shard.raw);
    check_offsets(shard);
  }
  const std::string& path() const { return path_; }
  std::string_view sample(std::int64_t index) const {
    const std::uint32_t begin = offset(index);
    return text_.substr(begin, offset(index + 1) - begin);
  }

 private:
  std::uint32_t offset(std::int64_t index) const { return uint32_at(text_.data() + 4 + index * 4); }

  void unzip(const std::string& zipped, const MdsShard& shard) {
    const LocalCopy copy(zipped);
    const MappedFile file(copy.path());
    check_file(zipped, file.text(), shard.zipped);
    const std::string name = shard.compression.substr(0, shard.compression.find(':'));
    const auto type = name == "zstd"     ? arrow::Compression::ZSTD
                      : name == "gz"     ? arrow::Compression::GZIP
                      : name == "br"     ? arrow::Compression::BROTLI
                      : name == "snappy" ? arrow::Compression::SNAPPY
                                         : arrow::Compression::UNCOMPRESSED;
    if (type == arrow::Compression::UNCOMPRESSED) {
      throw Error(ErrorCode::unsupported, fmt::format("{}: compressed by '{}'", zipped, shard.compression),
                  "known are zstd, gz, br and snappy");
    }
    const auto codec = take(arrow::util::Codec::Create(type), zipped);
    unzipped_.resize(shard.raw.bytes);
    const auto size = take(codec->Decompress(static_cast<std::int64_t>(file.text().size()),
                                             reinterpret_cast<const std::uint8_t*>(file.text().data()),
                                             static_cast<std::int64_t>(unzipped_.size()),
                                             reinterpret_cast<std::uint8_t*>(unzipped_.data())),
                           zipped);
    unzipped_.resize(static_cast<std::size_t>(size));
    text_ = unzipped_;
  }

  void check_offsets(const MdsShard& shard) const {
    const auto fail = [this](const std::string& message) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: {}", path_, message));
    };
    if (text_.size() < 4 || uint32_at(text_.data()) != static_cast<std::uint64_t>(shard.samples)) {
      fail(fmt::format("holds another number of samples than the {} of index.json", shard.samples));
    }
    const std::uint64_t table = 4 + (static_cast<std::uint64_t>(shard.samples) + 1) * 4;
    if (table > text_.size()) fail("truncated in the table of offsets");
    std::uint64_t before = table;
    for (std::int64_t i = 0; i <= shard.samples; ++i) {
      if (offset(i) < before || offset(i) > text_.size()) fail(fmt::format("sample {} lies outside the file", i));
      before = offset(i);
    }
  }

  std::string path_;
  std::optional<LocalCopy> copy_;
  MappedFile mapped_;
  std::string unzipped_;
  std::string_view text_;
};

class MdsPiece : public Piece {
 public:
  MdsPiece(fs::path directory, MdsShard shard, std::shared_ptr<arrow::Schema> schema, std::vector<int> picked,
           std::size_t piece_bytes)
      : directory_(std::move(directory)),
        shard_(std::move(shard)),
        schema_(std::move(schema)),
        picked_(std::move(picked)),
        piece_bytes_(piece_bytes) {}

  Block read() override {
    if (bytes_ == nullptr) {
      bytes_ = std::make_unique<ShardBytes>(directory_, shard_);
      file_ = std::make_shared<const std::string>(bytes_->path());
    }
    const std::int64_t first = next_;
    std::vector<std::vector<std::string_view>> values(picked_.size());
    std::vector<std::string_view> sample;
    for (std::size_t bytes = 0; next_ < shard_.samples && bytes < piece_bytes_; ++next_) {
      split(bytes_->sample(next_), sample);
      for (std::size_t i = 0; i < picked_.size(); ++i)
        values[i].push_back(sample[static_cast<std::size_t>(picked_[i])]);
      bytes += bytes_->sample(next_).size() + 8;
    }
    if (next_ == first) return {};
    arrow::ArrayVector columns;
    for (std::size_t i = 0; i < picked_.size(); ++i) {
      columns.push_back(column(*schema_->field(static_cast<int>(i)), values[i], first));
    }
    return {arrow::RecordBatch::Make(schema_, next_ - first, std::move(columns)), file_};
  }

 private:
  /// Cuts a sample into its columns' bytes.
  void split(std::string_view bytes, std::vector<std::string_view>& columns) const {
    columns.clear();
    std::size_t head = 0;
    for (const MdsColumn& column : shard_.columns) head += column.size < 0 ? 4 : 0;
    std::size_t at = head;
    std::size_t next_size = 0;
    for (const MdsColumn& column : shard_.columns) {
      std::uint64_t size = static_cast<std::uint64_t>(column.size);
      if (column.size < 0 && head <= bytes.size()) {
        size = uint32_at(bytes.data() + next_size);
        next_size += 4;
      }
      if (at > bytes.size() || size > bytes.size() - at) {
        throw Error(ErrorCode::corrupt,
                    fmt::format("{}: sample {}: column '{}' reaches past its end", *file_, next_, column.name));
      }
      columns.push_back(bytes.substr(at, size));
      at += size;
    }
  }
  std::shared_ptr<arrow::Array> column(const arrow::Field& field, const std::vector<std::string_view>& values,
                                       std::int64_t first) const {
    if (field.type()->id() == arrow::Type::STRING) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (!simdjson::validate_utf8(values[i].data(), values[i].size())) {
          throw Error(ErrorCode::corrupt, fmt::format("{}: sample {}: column '{}': not valid UTF-8", *file_,
                                                      first + static_cast<std::int64_t>(i), field.name()));
        }
      }
      return strings<arrow::StringBuilder>(values);
    }
    if (field.type()->id() == arrow::Type::BINARY) return strings<arrow::BinaryBuilder>(values);
    // Values of one size stand in a column as they stand in the shard.
    const std::size_t size = values.front().size();
    std::shared_ptr<arrow::Buffer> buffer =
        take(arrow::AllocateBuffer(static_cast<std::int64_t>(size * values.size())), *file_);
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::memcpy(buffer->mutable_data() + i * size, values[i].data(), size);
    }
    const auto rows = static_cast<std::int64_t>(values.size());
    if (field.type()->id() != arrow::Type::FIXED_SIZE_LIST) {
      return arrow::MakeArray(arrow::ArrayData::Make(field.type(), rows, {nullptr, std::move(buffer)}, 0));
    }
    const auto& list = static_cast<const arrow::FixedSizeListType&>(*field.type());
    auto items = arrow::MakeArray(
        arrow::ArrayData::Make(list.value_type(), rows * list.list_size(), {nullptr, std::move(buffer)}, 0));
    return std::make_shared<arrow::FixedSizeListArray>(field.type(), rows, std::move(items));
  }
  template <class Builder>
  std::shared_ptr<arrow::Array> strings(const std::vector<std::string_view>& values) const {
    Builder builder;
    for (const std::string_view value : values) check(builder.Append(value), *file_);
    return take(builder.Finish(), *file_);
  }

  fs::path directory_;
  MdsShard shard_;
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<int> picked_;
  std::size_t piece_bytes_;
  std::unique_ptr<ShardBytes> bytes_;
  std::shared_ptr<const std::string> file_;
  std::int64_t next_ = 0;
};

class MdsSource : public Source {
 public:
  MdsSource(const std::vector<std::string>& directories, const ReadOptions& options)
      : piece_bytes_(options.piece_bytes) {
    for (const std::string& directory : directories) {
      for (MdsShard& shard : read_mds_index(directory)) shards_.emplace_back(directory, std::move(shard));
    }
    const std::vector<MdsColumn>& columns = shards_.front().second.columns;
    std::vector<std::string> names;
    for (const MdsColumn& column : columns) names.push_back(column.name);
    picked_ = pick_columns(names, options, directories.front());
    arrow::FieldVector fields;
    for (const int i : picked_) {
      const MdsColumn& column = columns[static_cast<std::size_t>(i)];
      const auto type = mds_type(column.encoding);
      if (type == nullptr) {
        throw Error(
            ErrorCode::unsupported,
            fmt::format("{}: column '{}' is encoded as '{}'", directories.front(), column.name, column.encoding),
            "read the other columns by name (columns: [...]); pickles are never run");
      }
      const std::int64_t size = mds_encoding(*type).second;
      if ((column.size < 0) != (size < 0) || (size >= 0 && column.size != size)) {
        throw Error(ErrorCode::corrupt,
                    fmt::format("{}: column '{}': values of '{}' take {} bytes, not {}", directories.front(),
                                column.name, column.encoding, size, column.size));
      }
      fields.push_back(arrow::field(column.name, type));
    }
    schema_ = arrow::schema(std::move(fields));
    for (const auto& [directory, shard] : shards_) check_same(columns, shard, directory);
  }

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::unique_ptr<Piece> next() override {
    if (next_ == shards_.size()) return nullptr;
    const auto& [directory, shard] = shards_[next_++];
    return std::make_unique<MdsPiece>(directory, shard, schema_, picked_, piece_bytes_);
  }
  std::string describe() const override { return fmt::format("mds({} shards)", shards_.size()); }
  std::vector<std::string> files() const override {
    std::vector<std::string> paths;
    for (const auto& [directory, shard] : shards_) {
      const fs::path raw = fs::path(directory) / shard.raw.name;
      const bool zipped = !shard.zipped.name.empty() && !look_at(raw.string()).exists;
      paths.push_back(zipped ? (fs::path(directory) / shard.zipped.name).string() : raw.string());
    }
    return paths;
  }
  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
      const auto samples = static_cast<std::uint64_t>(shards_[i].second.samples);
      if (samples > 0) places.push_back({i, 0, samples, samples});
    }
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    const auto& shard = shards_[place.file];
    return std::make_unique<MdsPiece>(shard.first, shard.second, schema_, picked_, piece_bytes_);
  }
  std::int64_t num_rows() override {
    return std::accumulate(shards_.begin(), shards_.end(), std::int64_t{0},
                           [](std::int64_t sum, const auto& entry) { return sum + entry.second.samples; });
  }

 private:
  static void check_same(const std::vector<MdsColumn>& columns, const MdsShard& shard, const std::string& directory) {
    const bool same =
        columns.size() == shard.columns.size() &&
        std::equal(columns.begin(), columns.end(), shard.columns.begin(), [](const auto& a, const auto& b) {
          return a.name == b.name && a.encoding == b.encoding && a.size == b.size;
        });
    if (!same) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("{}: shard {} has other columns than the first one", directory, shard.raw.name));
    }
  }

  std::vector<std::pair<std::string, MdsShard>> shards_;
  std::size_t piece_bytes_;
  std::vector<int> picked_;
  std::shared_ptr<arrow::Schema> schema_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_mds(const std::vector<std::string>& folders, ReadOptions options) {
  return std::make_unique<MdsSource>(folders, options);
}

}  // namespace mobula::data

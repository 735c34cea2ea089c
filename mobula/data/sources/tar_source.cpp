#include <archive.h>
#include <archive_entry.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <exception>
#include <limits>
#include <map>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/sources/value_parsing.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t kMaxMemberBytes = std::int64_t{1} << 30;
constexpr std::size_t kSamplesThatTellColumns = 256;
constexpr const char* kKey = "__key__";

/// The files of one archive that share a name up to its first dot, by what follows the dot.
struct TarSample {
  std::string key;
  std::map<std::string, std::string> members;
  std::size_t bytes = 0;
  std::uint64_t begin = 0;  ///< where the header of its first member stands in the file, uncompressed
};

/// A file, or the bytes of one that isn't compressed in which whole samples lie.
struct TarRange {
  std::string file;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;  ///< 0: to the file's end
};

/// Reads an archive's samples one after the other. Not thread-safe.
class TarReader {
 public:
  explicit TarReader(TarRange range)
      : file_(std::move(range.file)),
        begin_(range.begin),
        left_(range.end == 0 ? std::numeric_limits<std::uint64_t>::max() : range.end - range.begin),
        stream_(file_, begin_),
        piece_(std::size_t{1} << 20, '\0'),
        archive_(archive_read_new(), &archive_read_free) {
    archive_read_support_filter_gzip(archive_.get());
    archive_read_support_filter_zstd(archive_.get());
    archive_read_support_format_tar(archive_.get());
    archive_read_support_format_empty(archive_.get());
    if (archive_read_open(archive_.get(), this, nullptr, &TarReader::read_piece, nullptr) != ARCHIVE_OK) fail();
  }

  /// Tells whether samples can be found by where they begin. Once one was read.
  bool compressed() const { return archive_filter_code(archive_.get(), 0) != ARCHIVE_FILTER_NONE; }
  /// Returns the next sample, or nothing at the archive's end; without its members' content where that is not wanted. Throws
  /// Error(corrupt) naming file and member.
  std::optional<TarSample> next(bool with_content = true) {
    TarSample sample = std::move(begun_);
    begun_ = {};
    while (next_entry()) {
      const std::string_view name = archive_entry_pathname(entry_);
      if (archive_entry_filetype(entry_) != AE_IFREG) continue;
      const std::size_t base = name.rfind('/') == std::string_view::npos ? 0 : name.rfind('/') + 1;
      const std::size_t dot = name.find('.', base);
      if (dot == std::string_view::npos || dot == base) continue;  // no sample's member, nor WebDataset's
      std::string key(name.substr(0, dot));
      std::string extension(name.substr(dot + 1));
      std::transform(extension.begin(), extension.end(), extension.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      const auto position = begin_ + static_cast<std::uint64_t>(archive_read_header_position(archive_.get()));
      std::string content = with_content ? read_content(std::string(name)) : std::string();
      if (!sample.members.empty() && sample.key != key) {
        begun_.key = std::move(key);
        begun_.bytes = content.size();
        begun_.begin = position;
        begun_.members.emplace(std::move(extension), std::move(content));
        return sample;
      }
      if (sample.members.empty()) sample.begin = position;
      sample.key = std::move(key);
      sample.bytes += content.size();
      if (!sample.members.emplace(extension, std::move(content)).second) {
        throw Error(ErrorCode::corrupt, fmt::format("{}: {} is there twice in one sample", file_, name));
      }
    }
    if (sample.members.empty()) return std::nullopt;
    return sample;
  }

 private:
  /// Gives libarchive the file's next bytes; exceptions can't cross its C frames.
  static la_ssize_t read_piece(archive*, void* self, const void** bytes) {
    auto& reader = *static_cast<TarReader*>(self);
    try {
      *bytes = reader.piece_.data();
      const std::size_t got =
          reader.stream_.read(reader.piece_.data(), std::min<std::uint64_t>(reader.piece_.size(), reader.left_));
      reader.left_ -= got;
      return static_cast<la_ssize_t>(got);
    } catch (...) {
      reader.failure_ = std::current_exception();
      return ARCHIVE_FATAL;
    }
  }
  bool next_entry() {
    if (ended_) return false;
    const int result = archive_read_next_header(archive_.get(), &entry_);
    ended_ = result == ARCHIVE_EOF;
    if (ended_) return false;
    if (result != ARCHIVE_OK) fail();
    return true;
  }
  std::string read_content(const std::string& name) {
    const std::int64_t size = archive_entry_size(entry_);
    if (size < 0 || size > kMaxMemberBytes) {
      throw Error(ErrorCode::resource, fmt::format("{}: {}: {} bytes, more than the {} a value may have", file_, name,
                                                   size, kMaxMemberBytes));
    }
    // Grown as bytes come: a header may claim more than the file holds.
    std::string content;
    while (content.size() < static_cast<std::size_t>(size)) {
      const std::size_t before = content.size();
      content.resize(std::min<std::size_t>(static_cast<std::size_t>(size), before + (std::size_t{1} << 20)));
      const auto got = archive_read_data(archive_.get(), content.data() + before, content.size() - before);
      if (got < 0) fail();
      content.resize(before + static_cast<std::size_t>(got));
      if (got == 0) throw Error(ErrorCode::corrupt, fmt::format("{}: {}: truncated", file_, name));
    }
    return content;
  }
  [[noreturn]] void fail() const {
    if (failure_) std::rethrow_exception(failure_);
    const char* const reason = archive_error_string(archive_.get());
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: not a readable tar file: {}", file_, reason == nullptr ? "unknown reason" : reason));
  }

  std::string file_;
  std::uint64_t begin_;
  std::uint64_t left_;  ///< bytes of the range that were not read
  StoredStream stream_;
  std::string piece_;
  std::exception_ptr failure_;
  std::unique_ptr<archive, int (*)(archive*)> archive_;
  archive_entry* entry_ = nullptr;
  TarSample begun_;  ///< by the member that ended the sample before
  bool ended_ = false;
};

/// Returns the type that members of an extension have, as webdataset decodes them without images.
std::shared_ptr<arrow::DataType> type_of_extension(std::string_view extension) {
  const std::string_view last = extension.substr(extension.rfind('.') + 1);
  static constexpr std::array<std::string_view, 5> kTexts = {"txt", "text", "transcript", "json", "jsn"};
  static constexpr std::array<std::string_view, 6> kIntegers = {"cls", "cls2", "index", "inx", "id", "count"};
  if (std::find(kTexts.begin(), kTexts.end(), last) != kTexts.end()) return arrow::utf8();
  if (std::find(kIntegers.begin(), kIntegers.end(), last) != kIntegers.end()) return arrow::int64();
  return arrow::binary();
}

class TarPiece : public Piece {
 public:
  TarPiece(TarRange range, std::shared_ptr<arrow::Schema> schema, bool every_member, std::size_t piece_bytes)
      : file_(std::make_shared<const std::string>(range.file)),
        schema_(std::move(schema)),
        every_member_(every_member),
        piece_bytes_(piece_bytes),
        reader_(std::move(range)) {}

  Block read() override {
    std::vector<TarSample> samples;
    for (std::size_t bytes = 0; bytes < piece_bytes_;) {
      auto sample = reader_.next();
      if (!sample) break;
      bytes += sample->bytes + 64;
      if (every_member_) check_members(*sample);
      samples.push_back(std::move(*sample));
    }
    if (samples.empty()) return {};
    arrow::ArrayVector columns;
    for (const auto& field : schema_->fields()) columns.push_back(column(*field, samples));
    return {arrow::RecordBatch::Make(schema_, static_cast<std::int64_t>(samples.size()), std::move(columns)), file_};
  }

 private:
  void check_members(const TarSample& sample) const {
    for (const auto& [extension, content] : sample.members) {
      if (schema_->GetFieldIndex(extension) < 0) {
        throw Error(ErrorCode::corrupt,
                    fmt::format("{}: sample {}: a member .{}, which none of the first {} samples has", *file_,
                                sample.key, extension, kSamplesThatTellColumns),
                    "name the columns to read, such as columns: [jpg, cls]");
      }
    }
  }
  std::shared_ptr<arrow::Array> column(const arrow::Field& field, const std::vector<TarSample>& samples) const {
    if (field.name() == kKey) {
      arrow::StringBuilder keys;
      for (const TarSample& sample : samples) check(keys.Append(sample.key), *file_);
      return take(keys.Finish(), *file_);
    }
    if (field.type()->id() == arrow::Type::INT64) return integers(field.name(), samples);
    if (field.type()->id() == arrow::Type::STRING) return bytes<arrow::StringBuilder>(field.name(), samples, true);
    return bytes<arrow::BinaryBuilder>(field.name(), samples, false);
  }
  template <class Builder>
  std::shared_ptr<arrow::Array> bytes(const std::string& name, const std::vector<TarSample>& samples, bool text) const {
    Builder builder;
    for (const TarSample& sample : samples) {
      const auto found = sample.members.find(name);
      if (found == sample.members.end()) {
        check(builder.AppendNull(), *file_);
        continue;
      }
      if (text && !simdjson::validate_utf8(found->second.data(), found->second.size())) {
        throw Error(ErrorCode::corrupt, fmt::format("{}: {}.{}: not valid UTF-8", *file_, sample.key, name));
      }
      check(builder.Append(found->second), *file_);
    }
    return take(builder.Finish(), *file_);
  }
  std::shared_ptr<arrow::Array> integers(const std::string& name, const std::vector<TarSample>& samples) const {
    arrow::Int64Builder builder;
    for (const TarSample& sample : samples) {
      const auto found = sample.members.find(name);
      if (found == sample.members.end()) {
        check(builder.AppendNull(), *file_);
        continue;
      }
      std::string_view text = found->second;
      while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
      std::int64_t value = 0;
      if (!parse_int64(text, value)) {
        throw Error(ErrorCode::corrupt,
                    fmt::format("{}: {}.{}: '{}' is not a whole number", *file_, sample.key, name, text.substr(0, 40)));
      }
      check(builder.Append(value), *file_);
    }
    return take(builder.Finish(), *file_);
  }

  std::shared_ptr<const std::string> file_;
  std::shared_ptr<arrow::Schema> schema_;
  bool every_member_;
  std::size_t piece_bytes_;
  TarReader reader_;
};

class TarSource : public Source {
 public:
  TarSource(std::vector<std::string> files, ReadOptions options)
      : files_(std::move(files)), options_(std::move(options)) {}

  std::shared_ptr<arrow::Schema> schema() override {
    if (schema_ != nullptr) return schema_;
    // Columns that are named need not be found: one that no sample has is null throughout.
    std::vector<std::string> names = options_.columns;
    if (names.empty()) {
      std::map<std::string, bool> seen;
      TarReader reader({files_.front()});
      for (std::size_t i = 0; i < kSamplesThatTellColumns; ++i) {
        const auto sample = reader.next();
        if (!sample) break;
        for (const auto& [extension, content] : sample->members) seen[extension] = true;
      }
      names.emplace_back(kKey);
      for (const auto& [extension, present] : seen) names.push_back(extension);
    }
    arrow::FieldVector fields;
    for (const std::string& name : names) {
      fields.push_back(arrow::field(name, name == kKey ? arrow::utf8() : type_of_extension(name)));
    }
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  std::unique_ptr<Piece> next() override {
    if (next_ == files_.size()) return nullptr;
    schema();
    return std::make_unique<TarPiece>(TarRange{files_[next_++]}, schema_, options_.columns.empty(),
                                      options_.piece_bytes);
  }
  std::string describe() const override { return fmt::format("tar({} files)", files_.size()); }
  std::vector<std::string> files() const override { return files_; }
  /// Samples of a compressed archive are found from its front alone; those of others some at a time.
  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    for (std::size_t i = 0; i < files_.size(); ++i) {
      TarReader reader({files_[i]});
      PiecePlace place{.file = i};
      while (const auto sample = reader.next(false)) {
        if (!reader.compressed() && place.rows > 0 && sample->begin - place.begin >= options_.piece_bytes) {
          place.end = sample->begin;
          places.push_back(place);
          place = {.file = i, .begin = sample->begin};
        }
        ++place.rows;
      }
      if (place.rows > 0) places.push_back(place);
    }
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    return std::make_unique<TarPiece>(TarRange{files_[place.file], place.begin, place.end}, schema_,
                                      options_.columns.empty(), options_.piece_bytes);
  }

 private:
  std::vector<std::string> files_;
  ReadOptions options_;
  std::shared_ptr<arrow::Schema> schema_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Source> open_tar(std::vector<std::string> files, ReadOptions options) {
  return std::make_unique<TarSource>(std::move(files), std::move(options));
}

}  // namespace mobula::data

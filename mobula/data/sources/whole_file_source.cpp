#include <arrow/array/builder_binary.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/sources/open_source.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

/// A column of bytes can't hold more, nor is a file of that size a row.
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 30;
constexpr std::size_t kMaxFilesPerPiece = 4096;

struct File {
  std::string path;
  std::string label;  ///< empty: none
};

/// Rows each of which is a file.
class FilesAsRows : public RowOrigin {
 public:
  explicit FilesAsRows(std::vector<std::string> paths) : paths_(std::move(paths)) {}
  std::string describe(std::int64_t row) const override { return paths_[static_cast<std::size_t>(row)]; }

 private:
  std::vector<std::string> paths_;
};

class WholeFilePiece : public Piece {
 public:
  WholeFilePiece(std::vector<File> files, std::shared_ptr<arrow::Schema> schema)
      : files_(std::move(files)), schema_(std::move(schema)) {}

  Block read() override {
    if (files_.empty()) return {};
    std::vector<std::string> paths;
    for (const File& file : files_) paths.push_back(file.path);
    arrow::ArrayVector columns;
    for (const auto& field : schema_->fields()) columns.push_back(column(field->name()));
    const auto rows = static_cast<std::int64_t>(files_.size());
    auto first = std::make_shared<const std::string>(files_.front().path);
    files_.clear();
    return {arrow::RecordBatch::Make(schema_, rows, std::move(columns)), std::move(first),
            std::make_shared<FilesAsRows>(std::move(paths))};
  }

 private:
  std::shared_ptr<arrow::Array> column(const std::string& name) const {
    if (name == "bytes") return bytes();
    arrow::StringBuilder builder;
    for (const File& file : files_) {
      const std::string& text = name == "path" ? file.path : file.label;
      check(name == "label" && text.empty() ? builder.AppendNull() : builder.Append(text), file.path);
    }
    return take(builder.Finish(), files_.front().path);
  }
  std::shared_ptr<arrow::Array> bytes() const {
    arrow::BinaryBuilder builder;
    for (const File& file : files_) check(builder.Append(read_stored(file.path, kMaxFileBytes)), file.path);
    return take(builder.Finish(), files_.front().path);
  }

  std::vector<File> files_;
  std::shared_ptr<arrow::Schema> schema_;
};

class WholeFileSource : public Source {
 public:
  WholeFileSource(std::string name, std::vector<File> files, const arrow::FieldVector& fields,
                  const ReadOptions& options)
      : name_(std::move(name)), files_(std::move(files)), piece_bytes_(options.piece_bytes) {
    arrow::FieldVector picked;
    for (const int i : pick_columns(arrow::schema(fields)->field_names(), options, name_)) {
      picked.push_back(fields[static_cast<std::size_t>(i)]);
      reads_bytes_ = reads_bytes_ || picked.back()->name() == "bytes";
    }
    schema_ = arrow::schema(std::move(picked));
  }

  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::unique_ptr<Piece> next() override {
    const PiecePlace place = place_at(next_);
    next_ = place.end;
    return place.rows == 0 ? nullptr : open(place);
  }
  std::vector<PiecePlace> places() override {
    std::vector<PiecePlace> places;
    for (std::uint64_t begin = 0; begin < files_.size(); begin = places.back().end) places.push_back(place_at(begin));
    return places;
  }
  std::unique_ptr<Piece> open(const PiecePlace& place) const override {
    const auto first = files_.begin();
    return std::make_unique<WholeFilePiece>(std::vector<File>(first + static_cast<std::ptrdiff_t>(place.begin),
                                                              first + static_cast<std::ptrdiff_t>(place.end)),
                                            schema_);
  }
  std::vector<std::string> files() const override {
    std::vector<std::string> paths;
    for (const File& file : files_) paths.push_back(file.path);
    return paths;
  }
  std::string describe() const override { return fmt::format("{}({} files)", name_, files_.size()); }
  std::int64_t num_rows() override { return static_cast<std::int64_t>(files_.size()); }

 private:
  /// Returns the piece that begins with a file: as many as fit.
  PiecePlace place_at(std::uint64_t begin) const {
    std::uint64_t bytes = 0;
    std::uint64_t end = begin;
    while (end < files_.size() && end - begin < kMaxFilesPerPiece && bytes < piece_bytes_) {
      if (reads_bytes_) {
        const StoredInfo info = look_at(files_[end].path);
        if (!info.exists) throw Error(ErrorCode::not_found, fmt::format("{}: no such file", files_[end].path));
        if (end > begin && bytes + info.bytes > kMaxFileBytes) break;
        bytes += info.bytes;
      }
      ++end;
    }
    return {begin, begin, end, end - begin};
  }

  std::string name_;
  std::vector<File> files_;
  std::uint64_t piece_bytes_;
  bool reads_bytes_ = false;
  std::shared_ptr<arrow::Schema> schema_;
  std::uint64_t next_ = 0;
};

bool is_image(const fs::path& path) {
  static constexpr std::array<std::string_view, 6> kExtensions = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".jpe"};
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

/// Returns the first folder between `root` and the file; empty where it lies in `root` itself.
std::string label_of(const fs::path& file, const fs::path& root) {
  const fs::path below = file.lexically_relative(root);
  const auto first = below.begin();
  return std::next(first) == below.end() ? std::string() : first->string();
}

}  // namespace

std::unique_ptr<Source> open_binary(std::vector<std::string> files, ReadOptions options) {
  std::vector<File> named;
  named.reserve(files.size());
  for (std::string& file : files) named.push_back({std::move(file), {}});
  return std::make_unique<WholeFileSource>(
      "binary", std::move(named),
      arrow::FieldVector{arrow::field("path", arrow::utf8()), arrow::field("bytes", arrow::binary())}, options);
}

std::unique_ptr<Source> open_images(const std::vector<std::string>& folders, ReadOptions options) {
  std::vector<File> named;
  for (const std::string& folder : folders) {
    const bool is_folder = look_at(folder).folder;
    for (std::string& file : expand_files({folder}, {})) {
      if (!is_image(file)) continue;
      std::string label = is_folder ? label_of(file, folder) : std::string();
      named.push_back({std::move(file), std::move(label)});
    }
  }
  if (named.empty()) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no images in it", fmt::join(folders, ", ")),
                "images are .jpg, .jpeg, .png, .ppm and .pgm files");
  }
  return std::make_unique<WholeFileSource>(
      "images", std::move(named),
      arrow::FieldVector{arrow::field("path", arrow::utf8()), arrow::field("label", arrow::utf8()),
                         arrow::field("bytes", arrow::binary())},
      options);
}

}  // namespace mobula::data

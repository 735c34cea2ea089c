#include "mobula/data/sources/text_pieces.hpp"

#include <arrow/buffer.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/data/storage/compression.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kMaxRecord = std::size_t{1} << 30;

}  // namespace

struct PieceMemory::Pool {
  struct Storage {
    std::unique_ptr<std::uint8_t[]> bytes;
    std::size_t capacity = 0;
  };
  static constexpr std::size_t kMaxIdle = 16;

  std::mutex mutex;
  std::vector<Storage> idle;
};

class PieceMemory::PooledBuffer : public arrow::MutableBuffer {
 public:
  PooledBuffer(Pool::Storage storage, std::shared_ptr<Pool> pool)
      : arrow::MutableBuffer(storage.bytes.get(), static_cast<std::int64_t>(storage.capacity)),
        storage_(std::move(storage)),
        pool_(std::move(pool)) {}
  ~PooledBuffer() override {
    const std::lock_guard lock(pool_->mutex);
    if (pool_->idle.size() < Pool::kMaxIdle) pool_->idle.push_back(std::move(storage_));
  }

 private:
  Pool::Storage storage_;
  std::shared_ptr<Pool> pool_;
};

PieceMemory::PieceMemory() : pool_(std::make_shared<Pool>()) {}

std::shared_ptr<arrow::Buffer> PieceMemory::get(std::size_t capacity) {
  Pool::Storage storage;
  {
    const std::lock_guard lock(pool_->mutex);
    if (!pool_->idle.empty()) {  // the one given back last is the warmest
      storage = std::move(pool_->idle.back());
      pool_->idle.pop_back();
    }
  }
  if (storage.capacity < capacity) {
    storage.capacity = capacity + capacity / 8;
    storage.bytes.reset(new std::uint8_t[storage.capacity]);
  }
  return std::make_shared<PooledBuffer>(std::move(storage), pool_);
}

TextPieces::TextPieces(std::vector<std::string> files, std::size_t piece_bytes, WholeRecords whole_records)
    : files_(std::move(files)), piece_bytes_(piece_bytes), whole_records_(std::move(whole_records)) {}

TextPieces::~TextPieces() = default;

void TextPieces::open() {
  name_ = std::make_shared<const std::string>(files_[file_index_]);
  stream_ = std::make_unique<ContentStream>(*name_);
  offset_ = 0;
  rest_.clear();
}

void TextPieces::rewind(std::size_t file_index) {
  stream_.reset();
  file_index_ = file_index;
}

bool TextPieces::next(TextPiece& piece) {
  while (file_index_ < files_.size()) {
    if (stream_ == nullptr) open();
    std::size_t capacity = rest_.size() + piece_bytes_;
    std::shared_ptr<arrow::Buffer> buffer = memory_.get(capacity + kTextPadding);
    std::memcpy(buffer->mutable_data(), rest_.data(), rest_.size());
    std::size_t filled = rest_.size();
    while (true) {
      filled += stream_->read(buffer->mutable_data() + filled, capacity - filled);
      const bool ended = filled < capacity;
      const char* const data = reinterpret_cast<const char*>(buffer->data());
      std::string_view text(data, filled);
      const std::size_t mark = offset_ == 0 && text.starts_with("\xEF\xBB\xBF") ? 3 : 0;
      text.remove_prefix(mark);
      const std::size_t whole = ended ? text.size() : whole_records_(text);
      if (whole == 0 && !ended) {  // one record is longer than the buffer
        if (capacity > kMaxRecord) {
          throw Error(ErrorCode::resource, fmt::format("{}: a record at byte {} is larger than 1 GiB", *name_, offset_),
                      "is the delimiter right, and is a quote left open?");
        }
        capacity *= 2;
        auto larger = memory_.get(capacity + kTextPadding);
        std::memcpy(larger->mutable_data(), buffer->data(), filled);
        buffer = std::move(larger);
        continue;
      }
      std::memset(buffer->mutable_data() + filled, 0, kTextPadding);
      piece.memory = buffer;
      piece.text = text.substr(0, whole);
      piece.file = name_;
      piece.file_index = file_index_;
      piece.offset = offset_ + mark;
      rest_.assign(text.substr(whole));
      offset_ += mark + whole;
      if (ended) {
        stream_.reset();
        ++file_index_;
      }
      if (whole > 0) return true;
      break;
    }
  }
  return false;
}

TextPiece read_text_piece(const std::string& file, std::uint64_t begin, std::uint64_t end) {
  TextPiece piece;
  const auto size = static_cast<std::size_t>(end - begin);
  piece.memory = PieceMemory().get(size + kTextPadding);
  const std::size_t got = read_content(file, begin, end, piece.memory->mutable_data());
  if (got < size) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: ends at byte {}, but had {} bytes before", file, begin + got, end),
                "the file has changed since it was indexed");
  }
  std::memset(piece.memory->mutable_data() + size, 0, kTextPadding);
  piece.text = {reinterpret_cast<const char*>(piece.memory->data()), size};
  piece.file = std::make_shared<const std::string>(file);
  piece.offset = begin;
  return piece;
}

std::vector<PiecePlace> text_places(const std::vector<std::string>& files, std::size_t piece_bytes,
                                    const TextPieces::WholeRecords& whole_records,
                                    const std::function<std::uint64_t(TextPiece&)>& count) {
  std::vector<PiecePlace> places;
  TextPieces pieces(files, piece_bytes, whole_records);
  TextPiece piece;
  while (pieces.next(piece)) {
    const std::uint64_t rows = count(piece);
    if (rows > 0) places.push_back({piece.file_index, piece.offset, piece.offset + piece.text.size(), rows});
  }
  return places;
}

std::size_t whole_lines(std::string_view text) {
  const std::size_t last = text.rfind('\n');
  return last == std::string_view::npos ? 0 : last + 1;
}

std::int64_t lines_before(const std::string& file, std::uint64_t offset) {
  TextPieces pieces({file}, std::size_t{4} << 20, whole_lines);
  TextPiece piece;
  std::int64_t lines = 0;
  while (pieces.next(piece) && piece.offset < offset) {
    const std::string_view text = piece.text.substr(0, offset - piece.offset);
    lines += std::count(text.begin(), text.end(), '\n');
  }
  return lines;
}

}  // namespace mobula::data

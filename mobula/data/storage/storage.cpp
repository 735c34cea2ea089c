#include "mobula/data/storage/storage.hpp"

#include <arrow/buffer.h>
#include <arrow/io/file.h>
#include <arrow/util/future.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/storage/remote_path.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

/// Read at a time from afar: enough that a request's delay is small beside its transfer.
constexpr std::int64_t kAheadBytes = std::int64_t{4} << 20;
constexpr std::size_t kAheadPieces = 3;

[[noreturn]] void throw_missing(const std::string& path) {
  throw Error(ErrorCode::not_found, fmt::format("{}: no such file", path));
}

}  // namespace

RemoteStore& remote_store(const std::string& path) {
  const RemotePath parsed = parse_remote_path(path);
  if (parsed.scheme.starts_with("http")) {
    static const std::unique_ptr<RemoteStore> web = make_web_store();
    return *web;
  }
  static const std::unique_ptr<RemoteStore> objects = make_object_store();
  return *objects;
}

StoredInfo look_at(const std::string& path) {
  if (is_remote(path)) return remote_store(path).look(path);
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  StoredInfo info{.exists = fs::exists(status), .folder = fs::is_directory(status)};
  if (fs::is_regular_file(status)) {
    info.bytes = fs::file_size(path, failure);
    info.version = fmt::format("{}", fs::last_write_time(path, failure).time_since_epoch().count());
  }
  return info;
}

std::string read_stored(const std::string& path, std::size_t max_bytes) {
  if (!is_remote(path)) return read_file(path, max_bytes);
  const auto file = open_stored(path);
  const auto size = static_cast<std::size_t>(take(file->GetSize(), path));
  if (size > max_bytes) {
    throw Error(ErrorCode::resource, fmt::format("{}: {} bytes, more than the {} expected", path, size, max_bytes));
  }
  std::string content(size, '\0');
  content.resize(
      static_cast<std::size_t>(take(file->ReadAt(0, static_cast<std::int64_t>(size), content.data()), path)));
  return content;
}

void write_stored(const std::string& path, std::string_view content) {
  if (!is_remote(path)) {
    write_file_atomic(path, content);
    return;
  }
  const auto stream = remote_store(path).create(path);
  check(stream->Write(content.data(), static_cast<std::int64_t>(content.size())), path);
  check(stream->Close(), path);
}

void remove_stored(const std::string& path) {
  if (is_remote(path)) {
    remote_store(path).remove(path);
    return;
  }
  std::error_code failure;
  fs::remove(path, failure);
  if (failure) throw_io(path, failure.value());
}

std::vector<std::string> files_below(const std::string& folder) {
  std::vector<std::string> files;
  if (is_remote(folder)) {
    files = remote_store(folder).list(folder);
  } else {
    if (!fs::is_directory(folder)) throw Error(ErrorCode::not_found, fmt::format("{}: no such folder", folder));
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file()) files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::shared_ptr<arrow::io::RandomAccessFile> open_stored(const std::string& path, std::string_view kind) {
  std::shared_ptr<arrow::io::RandomAccessFile> file;
  if (is_remote(path)) {
    file = remote_store(path).open(path);
    if (!kind.empty() && take(file->GetSize(), path) == 0) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: empty (0 bytes), not {}", path, kind));
    }
    return file;
  }
  const StoredInfo info = look_at(path);
  if (!info.exists) throw_missing(path);
  if (!kind.empty() && info.bytes == 0 && !info.version.empty()) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: empty (0 bytes), not {}", path, kind));
  }
  return take(arrow::io::ReadableFile::Open(path), path);
}

/// Requests that are under way, in the order of the file.
struct StoredStream::Ahead {
  std::shared_ptr<arrow::io::RandomAccessFile> file;
  std::int64_t next = 0;
  std::int64_t size = 0;
  std::deque<arrow::Future<std::shared_ptr<arrow::Buffer>>> pending;
  std::shared_ptr<arrow::Buffer> current;
  std::int64_t position = 0;  ///< in current

  void request() {
    while (pending.size() < kAheadPieces && next < size) {
      const std::int64_t bytes = std::min(kAheadBytes, size - next);
      pending.push_back(file->ReadAsync(arrow::io::default_io_context(), next, bytes));
      next += bytes;
    }
  }
};

StoredStream::StoredStream(const std::string& path, std::uint64_t offset) : path_(path) {
  if (is_remote(path)) {
    ahead_ = std::make_unique<Ahead>();
    ahead_->file = open_stored(path);
    ahead_->size = take(ahead_->file->GetSize(), path);
    ahead_->next = std::min(static_cast<std::int64_t>(offset), ahead_->size);
    return;
  }
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    if (errno == ENOENT) throw_missing(path);
    throw_io(path, errno);
  }
  if (offset > 0 && ::lseek(descriptor_, static_cast<off_t>(offset), SEEK_SET) < 0) {
    const int reason = errno;
    ::close(descriptor_);
    throw_io(path, reason);
  }
}

StoredStream::~StoredStream() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (ahead_ != nullptr) {
    for (auto& request : ahead_->pending) request.Wait();
  }
}

std::size_t StoredStream::read(void* to, std::size_t size) {
  auto* const bytes = static_cast<char*>(to);
  std::size_t done = 0;
  while (done < size) {
    if (ahead_ != nullptr) {
      if (ahead_->current == nullptr || ahead_->position == ahead_->current->size()) {
        ahead_->request();
        if (ahead_->pending.empty()) break;
        ahead_->current = take(ahead_->pending.front().result(), path_);
        ahead_->position = 0;
        ahead_->pending.pop_front();
        ahead_->request();
        if (ahead_->current->size() == 0) break;
      }
      const auto part =
          std::min<std::size_t>(size - done, static_cast<std::size_t>(ahead_->current->size() - ahead_->position));
      std::memcpy(bytes + done, ahead_->current->data() + ahead_->position, part);
      ahead_->position += static_cast<std::int64_t>(part);
      done += part;
      continue;
    }
    const ssize_t got = ::read(descriptor_, bytes + done, size - done);
    if (got < 0) {
      if (errno == EINTR) continue;
      throw_io(path_, errno);
    }
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

LocalCopy::LocalCopy(const std::string& path) : path_(path) {
  if (!is_remote(path)) return;
  folder_.emplace("mobula-copy");
  path_ = (folder_->path() / "file").string();
  StoredStream stream(path);
  AtomicFile copy(path_);
  std::string piece(std::size_t{1} << 20, '\0');
  while (const std::size_t got = stream.read(piece.data(), piece.size())) copy.write({piece.data(), got});
  copy.commit(false);
}

}  // namespace mobula::data

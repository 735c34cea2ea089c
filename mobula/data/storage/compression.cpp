#include "mobula/data/storage/compression.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>
#include <list>
#include <mutex>
#include <optional>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {

struct CompressionName {
  const char* name;
  const char* extension;
  int filter;
};

// lz4 is left out: libarchive 3.6 writes beyond its memory where an lz4 file is empty.
constexpr std::array<CompressionName, 4> kCompressions = {{{"gzip", ".gz", ARCHIVE_FILTER_GZIP},
                                                           {"bz2", ".bz2", ARCHIVE_FILTER_BZIP2},
                                                           {"xz", ".xz", ARCHIVE_FILTER_XZ},
                                                           {"zstd", ".zst", ARCHIVE_FILTER_ZSTD}}};
constexpr std::size_t kPieceBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxStreamsAtRest = 16;

const CompressionName* by_extension(std::string_view path) {
  path = without_query(path);
  const auto found = std::find_if(kCompressions.begin(), kCompressions.end(),
                                  [path](const CompressionName& each) { return path.ends_with(each.extension); });
  return found == kCompressions.end() ? nullptr : &*found;
}

using Archive = std::unique_ptr<archive, int (*)(archive*)>;

std::string reason_of(archive* handle) {
  const char* const reason = archive_error_string(handle);
  return reason == nullptr ? "unknown reason" : reason;
}

}  // namespace

std::string compression_of(std::string_view path) {
  const CompressionName* const found = by_extension(path);
  return found == nullptr ? "" : found->name;
}

std::string_view without_compression(std::string_view path) {
  const CompressionName* const found = by_extension(path);
  if (found != nullptr) path.remove_suffix(std::string_view(found->extension).size());
  return path;
}

std::string extension_of_compression(std::string_view compression) {
  for (const CompressionName& each : kCompressions) {
    if (compression == each.name) return each.extension;
  }
  return "";
}

const std::vector<std::string>& file_compressions() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all{"none"};
    for (const CompressionName& each : kCompressions) all.emplace_back(each.name);
    return all;
  }();
  return names;
}

struct ContentStream::State {
  explicit State(const std::string& name) : path(name), compression(by_extension(name)), stream(name) {
    if (compression == nullptr) return;
    piece.resize(kPieceBytes);
    archive_read_support_filter_gzip(handle.get());
    archive_read_support_filter_bzip2(handle.get());
    archive_read_support_filter_xz(handle.get());
    archive_read_support_filter_zstd(handle.get());
    archive_read_support_format_raw(handle.get());
    archive_read_support_format_empty(handle.get());
    if (archive_read_open(handle.get(), this, nullptr, &State::give, nullptr) != ARCHIVE_OK) fail();
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(handle.get(), &entry);
    ended = result == ARCHIVE_EOF;  // a file of 0 bytes
    if (ended) return;
    if (result != ARCHIVE_OK) fail();
    if (archive_filter_code(handle.get(), 0) != compression->filter) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: not compressed as its name says ({})", path, compression->name),
                  "rename the file, or fetch it again");
    }
  }

  /// Gives libarchive the file's next bytes; exceptions can't cross its C frames.
  static la_ssize_t give(archive*, void* self, const void** bytes) {
    auto& state = *static_cast<State*>(self);
    try {
      *bytes = state.piece.data();
      return static_cast<la_ssize_t>(state.stream.read(state.piece.data(), state.piece.size()));
    } catch (...) {
      state.failure = std::current_exception();
      return ARCHIVE_FATAL;
    }
  }
  [[noreturn]] void fail() const {
    if (failure) std::rethrow_exception(failure);
    throw Error(ErrorCode::corrupt,
                fmt::format("{}: can't be decompressed as {}: {}", path, compression->name, reason_of(handle.get())),
                "the file is damaged or cut short");
  }

  std::string path;
  const CompressionName* compression;
  StoredStream stream;
  std::string piece;
  std::exception_ptr failure;
  Archive handle{archive_read_new(), &archive_read_free};
  bool ended = false;
};

ContentStream::ContentStream(const std::string& path) : state_(std::make_unique<State>(path)) {}

ContentStream::~ContentStream() = default;

std::size_t ContentStream::read(void* to, std::size_t size) {
  std::size_t done = 0;
  if (state_->compression == nullptr) {
    done = state_->stream.read(to, size);
  } else {
    while (done < size && !state_->ended) {
      const la_ssize_t got = archive_read_data(state_->handle.get(), static_cast<char*>(to) + done, size - done);
      if (got < 0) state_->fail();
      state_->ended = got == 0;
      done += static_cast<std::size_t>(got);
    }
  }
  position_ += done;
  return done;
}

void ContentStream::pass_over_to(std::uint64_t position) {
  if (position <= position_) return;
  std::string piece(std::min<std::uint64_t>(position - position_, kPieceBytes), '\0');
  while (position_ < position && read(piece.data(), std::min<std::uint64_t>(position - position_, kPieceBytes)) > 0) {
  }
}

namespace {

/// Streams that stand inside compressed files.
class StreamsAtRest {
 public:
  std::unique_ptr<ContentStream> take(const std::string& path, const std::string& version, std::uint64_t begin) {
    const std::lock_guard lock(mutex_);
    auto best = streams_.end();
    for (auto each = streams_.begin(); each != streams_.end(); ++each) {
      const std::uint64_t position = each->stream->position();
      if (each->path != path || each->version != version || position > begin) continue;
      if (best == streams_.end() || position > best->stream->position()) best = each;
    }
    if (best == streams_.end()) return nullptr;
    auto stream = std::move(best->stream);
    streams_.erase(best);
    return stream;
  }
  void put(std::string path, std::string version, std::unique_ptr<ContentStream> stream) {
    const std::lock_guard lock(mutex_);
    streams_.push_back({std::move(path), std::move(version), std::move(stream)});
    if (streams_.size() > kMaxStreamsAtRest) streams_.pop_front();
  }

 private:
  struct Rested {
    std::string path;
    std::string version;
    std::unique_ptr<ContentStream> stream;
  };
  std::mutex mutex_;
  std::list<Rested> streams_;
};

}  // namespace

std::size_t read_content(const std::string& path, std::uint64_t begin, std::uint64_t end, void* to) {
  const auto size = static_cast<std::size_t>(end - begin);
  if (by_extension(path) == nullptr) return StoredStream(path, begin).read(to, size);
  static StreamsAtRest streams;
  const StoredInfo info = look_at(path);
  const std::string version = fmt::format("{} {}", info.bytes, info.version);
  auto stream = streams.take(path, version, begin);
  if (stream == nullptr) stream = std::make_unique<ContentStream>(path);
  stream->pass_over_to(begin);
  const std::size_t got = stream->read(to, size);
  streams.put(path, version, std::move(stream));
  return got;
}

struct Compressor::State {
  explicit State(std::function<void(std::string_view)> sink) : put(std::move(sink)) {}
  ~State() {
    if (entry != nullptr) archive_entry_free(entry);
    // Freeing an archive that was not closed closes it: what it would still write is of no use.
    abandoned = true;
    handle.reset();
  }

  static la_ssize_t take(archive* handle, void* self, const void* bytes, std::size_t size) {
    auto& state = *static_cast<State*>(self);
    if (state.abandoned) return static_cast<la_ssize_t>(size);
    try {
      state.put({static_cast<const char*>(bytes), size});
      return static_cast<la_ssize_t>(size);
    } catch (...) {
      state.failure = std::current_exception();
      archive_set_error(handle, EIO, "writing failed");
      return -1;
    }
  }
  void check(la_ssize_t result) const {
    if (result >= ARCHIVE_OK) return;
    if (failure) std::rethrow_exception(failure);
    throw Error(ErrorCode::io, fmt::format("compressing: {}", reason_of(handle.get())));
  }

  std::function<void(std::string_view)> put;
  std::exception_ptr failure;
  bool abandoned = false;
  archive_entry* entry = nullptr;
  std::string given;  ///< last; where writing it failed, the archive still looks at it when it is freed
  Archive handle{archive_write_new(), &archive_write_free};
};

Compressor::Compressor(const std::string& compression, std::function<void(std::string_view)> put)
    : state_(std::make_unique<State>(std::move(put))) {
  const auto known = std::find_if(kCompressions.begin(), kCompressions.end(),
                                  [&](const CompressionName& each) { return compression == each.name; });
  if (known == kCompressions.end())
    throw_invalid(fmt::format("unknown compression '{}'", compression), suggest(compression, file_compressions()));
  archive* const handle = state_->handle.get();
  state_->check(archive_write_set_format_raw(handle));
  state_->check(archive_write_add_filter(handle, known->filter));
  // The same rows give the same file.
  if (known->filter == ARCHIVE_FILTER_GZIP)
    state_->check(archive_write_set_filter_option(handle, "gzip", "timestamp", nullptr));
  archive_write_set_bytes_per_block(handle, 0);
  state_->check(archive_write_open(handle, state_.get(), nullptr, &State::take, nullptr));
  state_->entry = archive_entry_new();
  archive_entry_set_filetype(state_->entry, AE_IFREG);
  state_->check(archive_write_header(handle, state_->entry));
}

Compressor::~Compressor() = default;

void Compressor::append(std::string_view bytes) {
  while (!bytes.empty()) {
    state_->given.assign(bytes.substr(0, kPieceBytes));
    const la_ssize_t written = archive_write_data(state_->handle.get(), state_->given.data(), state_->given.size());
    state_->check(written);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void Compressor::finish() {
  state_->check(archive_write_close(state_->handle.get()));
}

}  // namespace mobula::data

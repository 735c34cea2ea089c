#include <arrow/buffer.h>
#include <arrow/io/interfaces.h>
#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/log.hpp"
#include "mobula/base/version.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/storage/remote_store.hpp"

namespace mobula::data {
namespace {

constexpr int kMaxAttempts = 5;
constexpr long kConnectSeconds = 5;
constexpr long kSilenceSeconds = 20;  ///< without a byte: the connection is dead
constexpr double kFirstPauseSeconds = 0.25;
constexpr double kLongestPauseSeconds = 10;
constexpr std::size_t kMaxIdleConnections = 16;

/// What a server said before the body.
struct Answer {
  long status = 0;
  std::optional<std::uint64_t> length;  ///< of the whole file
  std::string version;                  ///< ETag, else Last-Modified
  double retry_after = -1;              ///< seconds; -1: the server does not say
  bool ranges = false;
};

/// One request; `take` receives the body's pieces of a good answer.
struct Request {
  std::string url;
  bool head = false;
  std::int64_t begin = -1;  ///< of the range wanted; -1: the whole file
  std::int64_t end = -1;
  std::function<void(const Answer&, std::string_view)> take;
};

class Transfer {
 public:
  explicit Transfer(const Request& request) : request_(request) {}
  Answer answer;
  std::exception_ptr failure;

  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self) {
    static_cast<Transfer*>(self)->header({data, size * count});
    return size * count;
  }
  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    // Exceptions can't cross libcurl's C frames.
    try {
      if (transfer.answer.status < 300 && transfer.request_.take)
        transfer.request_.take(transfer.answer, {data, size * count});
      return size * count;
    } catch (...) {
      transfer.failure = std::current_exception();
      return 0;
    }
  }

 private:
  void header(std::string_view line) {
    if (line.starts_with("HTTP/")) {  // a new answer, such as after a redirect
      answer = {};
      const std::size_t space = line.find(' ');
      if (space != std::string_view::npos)
        std::from_chars(line.data() + space + 1, line.data() + line.size(), answer.status);
      return;
    }
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.front())) != 0) value.remove_prefix(1);
    while (!value.empty() && std::isspace(static_cast<unsigned char>(value.back())) != 0) value.remove_suffix(1);
    const auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
      std::uint64_t parsed = 0;
      const auto [rest, problem] = std::from_chars(text.data(), text.data() + text.size(), parsed);
      return problem == std::errc() && rest == text.data() + text.size() ? std::optional(parsed) : std::nullopt;
    };
    if (name == "content-length" && answer.status == 200) answer.length = number(value);
    if (name == "content-range" && value.rfind('/') != std::string_view::npos)
      answer.length = number(value.substr(value.rfind('/') + 1));
    if (name == "accept-ranges") answer.ranges = value == "bytes";
    if (name == "etag" || (name == "last-modified" && answer.version.empty())) answer.version = value;
    if (name == "retry-after") answer.retry_after = static_cast<double>(number(value).value_or(0));
  }

  const Request& request_;
};

/// Connections to web servers, kept open between requests. Thread-safe.
class Connections {
 public:
  ~Connections() {
    for (CURL* handle : idle_) curl_easy_cleanup(handle);
  }

  /// Sends a request, and again after a pause where the server is silent or busy. Throws Error(not_found),
  /// Error(unavailable), Error(io) naming the address. `take` may see a body's beginning again: `again` is called before.
  Answer send(const Request& request, const std::function<void()>& again) {
    for (int attempt = 0;; ++attempt) {
      std::string reason;
      Answer answer = once(request, reason);
      const bool busy = answer.status == 429 || answer.status >= 500;
      if (reason.empty() && !busy) {
        check_status(request.url, answer.status);
        return answer;
      }
      if (reason.empty()) reason = fmt::format("the server says HTTP {}", answer.status);
      if (attempt + 1 == kMaxAttempts) {
        throw Error(ErrorCode::unavailable, fmt::format("{}: {} ({} attempts)", request.url, reason, kMaxAttempts),
                    "check the address and the network");
      }
      const double pause =
          std::min(kLongestPauseSeconds, std::max(answer.retry_after, kFirstPauseSeconds * (1 << attempt)));
      log_debug("{}: {}; trying again in {:.2f} s", request.url, reason, pause);
      std::this_thread::sleep_for(std::chrono::duration<double>(pause));
      again();
    }
  }

 private:
  static void check_status(const std::string& url, long status) {
    if (status >= 200 && status < 300) return;
    if (status == 404 || status == 410)
      throw Error(ErrorCode::not_found, fmt::format("{}: no such file (HTTP {})", url, status));
    throw Error(
        ErrorCode::io, fmt::format("{}: the server refuses it (HTTP {})", url, status),
        status == 401 || status == 403 ? "the server wants a user it knows: https://user:password@host/..." : "");
  }

  /// Sends once; `reason` says why no whole answer came.
  Answer once(const Request& request, std::string& reason) {
    CURL* const handle = get();
    curl_easy_reset(handle);
    Transfer transfer(request);
    char text[CURL_ERROR_SIZE] = "";
    const std::string agent = fmt::format("mobula/{}", version());
    const std::string range = fmt::format("{}-{}", request.begin, request.end - 1);
    curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, "https,http");
    curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(handle, CURLOPT_MAXREDIRS, 10L);
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, kSilenceSeconds);
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_USERAGENT, agent.c_str());
    curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, text);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, &transfer);
    if (request.head) curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
    if (request.begin >= 0) curl_easy_setopt(handle, CURLOPT_RANGE, range.c_str());
    const CURLcode result = curl_easy_perform(handle);
    put(handle);
    if (transfer.failure) std::rethrow_exception(transfer.failure);
    if (result != CURLE_OK) {
      reason = *text != '\0' ? text : curl_easy_strerror(result);
      if (result == CURLE_URL_MALFORMAT || result == CURLE_UNSUPPORTED_PROTOCOL)
        throw_invalid(fmt::format("{}: {}", request.url, reason));
    }
    return transfer.answer;
  }

  CURL* get() {
    const std::lock_guard lock(mutex_);
    static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL* handle = nullptr;
    if (!idle_.empty()) {
      handle = idle_.back();
      idle_.pop_back();
    } else if (initialised == CURLE_OK) {
      handle = curl_easy_init();
    }
    if (handle == nullptr) throw_internal("libcurl does not start");
    return handle;
  }
  void put(CURL* handle) {
    const std::lock_guard lock(mutex_);
    if (idle_.size() < kMaxIdleConnections) {
      idle_.push_back(handle);
    } else {
      curl_easy_cleanup(handle);
    }
  }

  std::mutex mutex_;
  std::vector<CURL*> idle_;
};

/// A file that is read by ranges of bytes. It is an error when the server's file becomes another one meanwhile.
class WebFile : public arrow::io::RandomAccessFile {
 public:
  WebFile(std::string url, std::uint64_t size, std::string version, Connections& connections)
      : url_(std::move(url)),
        size_(static_cast<std::int64_t>(size)),
        version_(std::move(version)),
        connections_(connections) {}

  arrow::Status Close() override {
    closed_ = true;
    return arrow::Status::OK();
  }
  bool closed() const override { return closed_; }
  arrow::Result<std::int64_t> Tell() const override { return position_; }
  arrow::Status Seek(std::int64_t position) override {
    position_ = position;
    return arrow::Status::OK();
  }
  arrow::Result<std::int64_t> GetSize() override { return size_; }
  arrow::Result<std::int64_t> Read(std::int64_t size, void* to) override {
    ARROW_ASSIGN_OR_RAISE(const std::int64_t got, ReadAt(position_, size, to));
    position_ += got;
    return got;
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(std::int64_t size) override {
    ARROW_ASSIGN_OR_RAISE(auto buffer, ReadAt(position_, size));
    position_ += buffer->size();
    return buffer;
  }
  arrow::Result<std::int64_t> ReadAt(std::int64_t position, std::int64_t size, void* to) override {
    try {
      return read(position, size, static_cast<char*>(to));
    } catch (const Error& error) {
      return carrying(error);
    }
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(std::int64_t position, std::int64_t size) override {
    const std::int64_t wanted = std::max<std::int64_t>(0, std::min(size, size_ - position));
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer, arrow::AllocateBuffer(wanted));
    ARROW_RETURN_NOT_OK(ReadAt(position, wanted, buffer->mutable_data()));
    return buffer;
  }

 private:
  std::int64_t read(std::int64_t position, std::int64_t size, char* to) {
    size = std::min(size, size_ - position);
    if (position < 0 || size <= 0) return 0;
    std::int64_t done = 0;
    Request request{.url = url_, .begin = position, .end = position + size};
    request.take = [&](const Answer& answer, std::string_view piece) {
      if (answer.status != 206 || (!version_.empty() && answer.version != version_)) {
        throw Error(ErrorCode::corrupt, fmt::format("{}: has changed while it was read", url_), "read it again");
      }
      if (static_cast<std::int64_t>(piece.size()) > size - done) {
        throw Error(ErrorCode::corrupt,
                    fmt::format("{}: the server sends more than the {} bytes asked for", url_, size));
      }
      std::memcpy(to + done, piece.data(), piece.size());
      done += static_cast<std::int64_t>(piece.size());
    };
    connections_.send(request, [&done] { done = 0; });
    if (done != size) {
      throw Error(ErrorCode::unavailable,
                  fmt::format("{}: {} of the {} bytes from {} on came", url_, done, size, position),
                  "the server cut the answer short: try again");
    }
    return done;
  }

  std::string url_;
  std::int64_t size_;
  std::string version_;
  Connections& connections_;
  std::int64_t position_ = 0;
  bool closed_ = false;
};

/// A file that was fetched whole.
class FetchedFile : public arrow::io::RandomAccessFile {
 public:
  explicit FetchedFile(std::unique_ptr<TemporaryDirectory> folder)
      : folder_(std::move(folder)), mapped_(folder_->path() / "file") {}

  arrow::Status Close() override {
    closed_ = true;
    return arrow::Status::OK();
  }
  bool closed() const override { return closed_; }
  arrow::Result<std::int64_t> Tell() const override { return position_; }
  arrow::Status Seek(std::int64_t position) override {
    position_ = position;
    return arrow::Status::OK();
  }
  arrow::Result<std::int64_t> GetSize() override { return static_cast<std::int64_t>(mapped_.text().size()); }
  arrow::Result<std::int64_t> Read(std::int64_t size, void* to) override {
    ARROW_ASSIGN_OR_RAISE(const std::int64_t got, ReadAt(position_, size, to));
    position_ += got;
    return got;
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(std::int64_t size) override {
    ARROW_ASSIGN_OR_RAISE(auto buffer, ReadAt(position_, size));
    position_ += buffer->size();
    return buffer;
  }
  arrow::Result<std::int64_t> ReadAt(std::int64_t position, std::int64_t size, void* to) override {
    const auto all = static_cast<std::int64_t>(mapped_.text().size());
    const std::int64_t got = std::clamp<std::int64_t>(all - position, 0, size);
    if (got > 0) std::memcpy(to, mapped_.text().data() + position, static_cast<std::size_t>(got));
    return got;
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(std::int64_t position, std::int64_t size) override {
    const auto all = static_cast<std::int64_t>(mapped_.text().size());
    ARROW_ASSIGN_OR_RAISE(std::shared_ptr<arrow::Buffer> buffer,
                          arrow::AllocateBuffer(std::clamp<std::int64_t>(all - position, 0, size)));
    ARROW_RETURN_NOT_OK(ReadAt(position, buffer->size(), buffer->mutable_data()));
    return buffer;
  }

 private:
  std::unique_ptr<TemporaryDirectory> folder_;
  MappedFile mapped_;
  std::int64_t position_ = 0;
  bool closed_ = false;
};

class WebStore : public RemoteStore {
 public:
  StoredInfo look(const std::string& path) override {
    try {
      const Answer answer = ask(path);
      return {.exists = true, .bytes = answer.length.value_or(0), .version = answer.version};
    } catch (const Error& error) {
      if (error.code() == ErrorCode::not_found) return {};
      throw;
    }
  }
  std::vector<std::string> list(const std::string& folder) override {
    throw Error(ErrorCode::unsupported, fmt::format("{}: web servers don't list their folders", folder),
                "name each file, or read a format whose index names them (hf, mds)");
  }
  std::shared_ptr<arrow::io::RandomAccessFile> open(const std::string& path) override {
    const Answer answer = ask(path);
    if (answer.ranges && answer.length) {
      return std::make_shared<WebFile>(path, *answer.length, answer.version, connections_);
    }
    return fetch(path);
  }
  std::shared_ptr<arrow::io::OutputStream> create(const std::string& path) override { refuse(path); }
  bool aborts(const std::string&) const override { return false; }
  void remove(const std::string& path) override { refuse(path); }

 private:
  [[noreturn]] static void refuse(const std::string& path) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: web servers are only read", path),
                "write to a local path, s3://, gs:// or abfs://");
  }

  /// Asks for a file's size; where a server knows no HEAD, its first byte tells.
  Answer ask(const std::string& path) {
    try {
      return connections_.send({.url = path, .head = true}, [] {});
    } catch (const Error& error) {
      if (error.code() != ErrorCode::io) throw;
    }
    Answer answer = connections_.send({.url = path, .begin = 0, .end = 1}, [] {});
    answer.ranges = answer.status == 206;
    return answer;
  }

  std::shared_ptr<arrow::io::RandomAccessFile> fetch(const std::string& path) {
    auto folder = std::make_unique<TemporaryDirectory>("mobula-web");
    std::optional<AtomicFile> file(std::in_place, folder->path() / "file");
    std::uint64_t size = 0;
    Request request{.url = path};
    request.take = [&](const Answer&, std::string_view piece) {
      file->write(piece);
      size += piece.size();
    };
    const Answer answer = connections_.send(request, [&] {
      file.emplace(folder->path() / "file");
      size = 0;
    });
    if (answer.length && *answer.length != size) {
      throw Error(ErrorCode::unavailable, fmt::format("{}: {} of {} bytes came", path, size, *answer.length));
    }
    file->commit(false);
    file.reset();
    return std::make_shared<FetchedFile>(std::move(folder));
  }

  Connections connections_;
};

}  // namespace

std::unique_ptr<RemoteStore> make_web_store() {
  return std::make_unique<WebStore>();
}

}  // namespace mobula::data

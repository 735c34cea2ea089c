#include "mobula/hub/pull.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"
#include "mobula/http/http_client.hpp"
#include "mobula/hub/checksum.hpp"

namespace mobula::hub {
namespace {

namespace fs = std::filesystem;
using http::HttpClient, http::HttpRequest, http::HttpResponse;

constexpr std::size_t kMaxFiles = 100'000, kMaxFileName = 1024, kMaxToken = 4096;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string trimmed(std::string text) {
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.pop_back();
  return text;
}

std::string stored_token() {
  fs::path path = variable("HF_TOKEN_PATH");
  if (path.empty()) {
    fs::path home = variable("HF_HOME");
    if (home.empty()) home = fs::path(variable("HOME")) / ".cache/huggingface";
    path = home / "token";
  }
  return fs::is_regular_file(path) ? trimmed(read_file(path, kMaxToken)) : std::string();
}

// Escapes a path for a URL, part by part.
std::string escaped(std::string_view path) {
  std::string out;
  for (const unsigned char c : path) {
    const bool plain =
        std::isalnum(c) != 0 || std::string_view("-_.~/").find(static_cast<char>(c)) != std::string_view::npos;
    out += plain ? std::string(1, static_cast<char>(c)) : fmt::format("%{:02X}", c);
  }
  return out;
}

std::string header(const HttpResponse& response, const char* name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? std::string() : found->second;
}

std::string plain_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  std::erase(etag, '"');
  return etag;
}

std::uint64_t size_of(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// A lock that other processes' pulls of the same file wait for.
class FileLock {
 public:
  explicit FileLock(const fs::path& path) {
    fs::create_directories(path.parent_path());
    descriptor_ = ::open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (descriptor_ < 0) throw_io(path.string(), errno);
    if (::flock(descriptor_, LOCK_EX) != 0) throw_io(path.string(), errno);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() { ::close(descriptor_); }

 private:
  int descriptor_;
};

// What is there of a file's content, to be continued.
class PartialFile {
 public:
  explicit PartialFile(fs::path path) : path_(std::move(path)) {
    descriptor_ = ::open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (descriptor_ < 0) throw_io(path_.string(), errno);
    const auto end = ::lseek(descriptor_, 0, SEEK_END);
    if (end < 0) throw_io(path_.string(), errno);
    size_ = static_cast<std::uint64_t>(end);
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  ~PartialFile() { ::close(descriptor_); }

  std::uint64_t size() const { return size_; }
  void restart() {
    if (::ftruncate(descriptor_, 0) != 0 || ::lseek(descriptor_, 0, SEEK_SET) < 0) throw_io(path_.string(), errno);
    size_ = 0;
  }
  void append(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto count = ::write(descriptor_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_io(path_.string(), errno, "is the disk full?");
      bytes.remove_prefix(static_cast<std::size_t>(count));
      size_ += static_cast<std::uint64_t>(count);
    }
  }
  void sync() {
    if (::fsync(descriptor_) != 0) throw_io(path_.string(), errno);
  }

 private:
  fs::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

class Puller {
 public:
  Puller(const RepoName& repo, const PullOptions& options)
      : repo_(repo),
        options_(options),
        client_(options.token, "check the network and HF_ENDPOINT"),
        folder_(repo_folder(options.cache, repo)) {}

  PullResult run() {
    std::vector<std::string> files = list_files();
    std::erase_if(files, [&](const std::string& file) { return !wanted(file); });
    if (files.empty()) {
      throw Error(ErrorCode::not_found, fmt::format("{}: no file is wanted", repo_.id), "see --include and --exclude");
    }
    result_.path = folder_ / "snapshots" / result_.commit;
    struct Item {
      std::string file, etag, url;
      std::uint64_t size;
    };
    std::vector<Item> items;
    std::uint64_t total = 0;
    for (const std::string& file : files) {
      const HttpResponse found = look_up(file);
      const std::string linked = plain_etag(header(found, "x-linked-etag"));
      const std::string etag = linked.empty() ? plain_etag(header(found, "etag")) : linked;
      const std::string linked_size = header(found, "x-linked-size");
      const std::uint64_t size = size_of(linked_size.empty() ? header(found, "content-length") : linked_size);
      if (!is_checksum(etag)) {
        throw Error(ErrorCode::corrupt,
                    fmt::format("{}: the hub gives '{}' no checksum (ETag '{}')", repo_.id, file, etag.substr(0, 80)),
                    "is HF_ENDPOINT a hub?");
      }
      items.push_back({file, etag, resolve_url(file), size});
      total += size;
    }
    for (const Item& item : items) {
      fetch(item.file, item.etag, item.url, item.size, total);
      link(item.file, item.etag);
      done_ += item.size;
      progress(0, total, item.file);
    }
    // A branch or tag points to the commit only when all of it is there.
    if (repo_.revision != result_.commit) write_file_atomic(folder_ / "refs" / repo_.revision, result_.commit);
    result_.num_files = items.size();
    result_.bytes = total;
    return std::move(result_);
  }

 private:
  std::string resolve_url(const std::string& file) const {
    return fmt::format("{}/{}/resolve/{}/{}", options_.endpoint, repo_.id, result_.commit, escaped(file));
  }

  bool wanted(const std::string& file) const {
    const auto matches = [&](const std::string& pattern) { return ::fnmatch(pattern.c_str(), file.c_str(), 0) == 0; };
    return (options_.include.empty() || std::ranges::any_of(options_.include, matches)) &&
           std::ranges::none_of(options_.exclude, matches);
  }

  // Throws what an answer other than success means.
  void check(const HttpResponse& response, const std::string& what) const {
    if (response.status < 400) return;
    const std::string code = header(response, "x-error-code");
    const char* login =
        options_.token.empty() ? "set HF_TOKEN to a token that may read it" : "the token in HF_TOKEN may not read it";
    if (code == "GatedRepo") {
      throw Error(ErrorCode::unavailable, fmt::format("{} is gated: its conditions must be accepted first", what),
                  fmt::format("accept them on {}/{}, then set HF_TOKEN", options_.endpoint, repo_.id));
    }
    if (response.status == 401 || response.status == 403) {
      throw Error(ErrorCode::unavailable,
                  fmt::format("{}: the hub answers {}: private, or no such repository", what, response.status), login);
    }
    if (response.status == 404) {
      const bool revision = code == "RevisionNotFound";
      throw Error(ErrorCode::not_found,
                  revision ? fmt::format("{} has no revision '{}'", repo_.id, repo_.revision)
                           : fmt::format("{}: the hub answers 404: no such repository or file", what),
                  revision ? "name a branch, a tag or a commit" : "check the name");
    }
    if (response.status == 429) {
      throw Error(ErrorCode::unavailable, fmt::format("{}: the hub answers 429: too many requests", what),
                  "wait, or set HF_TOKEN for higher limits");
    }
    throw Error(ErrorCode::unavailable, fmt::format("{}: the hub answers {}", what, response.status),
                "try again later");
  }

  std::vector<std::string> list_files() {
    const std::string url =
        fmt::format("{}/api/models/{}/revision/{}", options_.endpoint, repo_.id, escaped_revision());
    const HttpResponse response = client_.send_patiently([&] { return HttpRequest{.url = url}; });
    check(response, repo_.id);
    const auto bad = [&](std::string_view what) {
      return Error(ErrorCode::corrupt, fmt::format("{}: {}", url, what), "is HF_ENDPOINT a hub?");
    };
    const Json json = parse_json(response.body, url, {.max_members = 1000});
    if (!json.is_object() || !json.contains("sha") || !json["sha"].is_string() || !json.contains("siblings") ||
        !json["siblings"].is_array()) {
      throw bad("expected an object with 'sha' and 'siblings'");
    }
    result_.commit = json["sha"].get<std::string>();
    if (result_.commit.size() != 40 || result_.commit.find_first_not_of("0123456789abcdef") != std::string::npos) {
      throw bad(fmt::format("'{}' is no commit", result_.commit.substr(0, 80)));
    }
    if (json["siblings"].size() > kMaxFiles) throw bad("too many files");
    std::vector<std::string> files;
    std::unordered_set<std::string> seen;
    for (const Json& sibling : json["siblings"]) {
      if (!sibling.is_object() || !sibling.contains("rfilename") || !sibling["rfilename"].is_string()) {
        throw bad("a file without a name");
      }
      files.push_back(sibling["rfilename"].get<std::string>());
      check_file_name(files.back());
      if (!seen.insert(files.back()).second) throw bad(fmt::format("'{}' is listed twice", files.back()));
    }
    return files;
  }

  std::string escaped_revision() const {
    std::string out;
    for (const char c : repo_.revision) out += c == '/' ? std::string("%2F") : std::string(1, c);
    return out;
  }

  void check_file_name(const std::string& name) const {
    bool good = !name.empty() && name.size() <= kMaxFileName && name.front() != '/' && name.back() != '/';
    for (const unsigned char c : name) good &= c >= ' ' && c != '\\' && c != 0x7f;
    for (const fs::path& part : fs::path(name)) good &= part != ".." && part != "." && !part.empty();
    if (!good) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: the hub names a file '{}', which leads out of its folder",
                                                  repo_.id, name.substr(0, 200)));
    }
  }

  HttpResponse look_up(const std::string& file) {
    // Redirects aren't followed: the hub's own answer holds the checksum, the store's behind it need not.
    std::string url = resolve_url(file);
    for (int hops = 0;; ++hops) {
      const HttpResponse response =
          client_.send_patiently([&] { return HttpRequest{.url = url, .method = "HEAD", .follow = false}; });
      check(response, fmt::format("{}: {}", repo_.id, file));
      // A repository that was renamed: the hub sends on to itself.
      const std::string place = header(response, "location");
      const bool renamed = response.status >= 300 && place.starts_with('/') && !place.starts_with("//");
      if (!renamed || hops == 3) return response;
      url = options_.endpoint + place;
    }
  }

  void fetch(const std::string& file, const std::string& etag, const std::string& url, std::uint64_t size,
             std::uint64_t total) {
    const fs::path blob = folder_ / "blobs" / etag;
    const FileLock lock(options_.cache / ".locks" / folder_.filename() / (etag + ".lock"));
    if (fs::exists(blob)) return;
    fs::create_directories(blob.parent_path());
    fs::path partial = blob;
    partial += ".incomplete";
    for (const bool again : {false, true}) {
      {
        PartialFile out(partial);
        if (out.size() > size) out.restart();
        const std::uint64_t before = out.size();
        if (out.size() < size || size == 0) download(file, url, size, total, out);
        if (out.size() != size) {
          throw Error(ErrorCode::unavailable,
                      fmt::format("{}: {} of {} bytes of '{}' came", repo_.id, out.size(), size, file),
                      "run it again: it goes on from there");
        }
        result_.downloaded += out.size() - std::min(before, out.size());
        out.sync();
      }
      if (has_checksum(partial, etag)) {
        fs::rename(partial, blob);
        sync_directory(blob.parent_path());
        return;
      }
      fs::remove(partial);
      if (again) break;
      log_warning("{}: '{}' doesn't have its checksum; reading it anew", repo_.id, file);
    }
    throw Error(ErrorCode::corrupt, fmt::format("{}: '{}' doesn't have the checksum {}", repo_.id, file, etag),
                "something between here and the hub changes files");
  }

  void download(const std::string& file, const std::string& url, std::uint64_t size, std::uint64_t total,
                PartialFile& out) {
    const HttpResponse response = client_.send_patiently([&] {
      HttpRequest request{.url = url, .from = out.size()};
      request.begin = [&](const HttpResponse& begun) {
        if (out.size() > 0 && begun.status != 206) out.restart();  // the server sends all of it
      };
      request.write = [&](std::string_view piece) {
        if (out.size() + piece.size() > size) {
          throw Error(ErrorCode::corrupt,
                      fmt::format("{}: '{}' is longer than the {} bytes the hub says", repo_.id, file, size));
        }
        out.append(piece);
        progress(out.size(), total, file);
      };
      return request;
    });
    if (response.status == 416) {  // the part that is there doesn't fit the file
      out.restart();
      throw Error(ErrorCode::unavailable, fmt::format("{}: the hub has no such part of '{}'", repo_.id, file),
                  "run it again");
    }
    check(response, fmt::format("{}: {}", repo_.id, file));
  }

  void link(const std::string& file, const std::string& etag) const {
    const fs::path place = result_.path / file;
    fs::create_directories(place.parent_path());
    const fs::path target = (folder_ / "blobs" / etag).lexically_relative(place.parent_path());
    if (!fs::is_symlink(place) || fs::read_symlink(place) != target) replace_symlink(target, place);
  }

  void progress(std::uint64_t of_file, std::uint64_t total, const std::string& file) const {
    if (options_.on_progress) options_.on_progress(done_ + of_file, total, file);
  }

  const RepoName& repo_;
  const PullOptions& options_;
  HttpClient client_;
  fs::path folder_;
  PullResult result_;
  std::uint64_t done_ = 0;
};

}  // namespace

PullOptions default_pull_options() {
  PullOptions options;
  options.endpoint = variable("HF_ENDPOINT");
  if (options.endpoint.empty()) options.endpoint = "https://huggingface.co";
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  if (!options.endpoint.starts_with("http://") && !options.endpoint.starts_with("https://")) {
    throw_invalid(fmt::format("HF_ENDPOINT is '{}', expected http:// or https://", options.endpoint.substr(0, 200)));
  }
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (options.token.empty()) options.token = trimmed(variable(name));
  }
  if (options.token.empty()) options.token = stored_token();
  options.cache = cache_root();
  return options;
}

PullResult pull(const RepoName& repo, const PullOptions& options) {
  return Puller(repo, options).run();
}

}  // namespace mobula::hub

#include <arrow/filesystem/azurefs.h>
#include <arrow/filesystem/filesystem.h>
#include <arrow/filesystem/s3fs.h>
#include <arrow/io/interfaces.h>
#include <arrow/util/config.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <any>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/storage/remote_file.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/remote_store.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t kMaxRetries = 5;
constexpr std::int64_t kFirstPauseMs = 100;
constexpr const char* kGcsRetrySeconds = "15";

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

/// Repeats what the service says may be repeated, after pauses that double: about 6 s in all, beside the requests.
class DoublingPauses : public arrow::fs::S3RetryStrategy {
 public:
  bool ShouldRetry(const AWSErrorDetail& error, std::int64_t attempted_retries) override {
    const bool again = error.should_retry && attempted_retries < kMaxRetries;
    if (again) log_debug("s3: {}; trying again", error.message);
    return again;
  }
  std::int64_t CalculateDelayBeforeNextRetry(const AWSErrorDetail&, std::int64_t attempted_retries) override {
    return kFirstPauseMs << (attempted_retries + 1);
  }
};

/// Loads Arrow's library of S3, which lies beside Arrow itself. A build of Arrow that holds S3 has none.
void load_s3() {
  static const bool loaded = [] {
    Dl_info arrow{};
    if (::dladdr(reinterpret_cast<const void*>(&arrow::fs::LoadFileSystemFactories), &arrow) == 0) return false;
    const std::filesystem::path own(arrow.dli_fname);
    std::string name = own.filename().string();  // libarrow.so.VERSION
    const std::size_t dot = name.find(".so");
    if (dot == std::string::npos) return false;
    const std::filesystem::path library = own.parent_path() / name.insert(dot, "_s3");
    if (!std::filesystem::exists(library)) return false;
    check(arrow::fs::LoadFileSystemFactories(library.c_str()), library.string());
    return true;
  }();
  if (!loaded) log_debug("s3: no library of its own beside Arrow's");
}

/// One bucket, container or account.
struct Opened {
  std::shared_ptr<arrow::fs::FileSystem> system;
  std::string base;  ///< what stands before a key, such as "bucket/"
  std::string root;  ///< likewise in paths, such as "s3://bucket/"
};

Opened open_s3(const RemotePath& path) {
  load_s3();
  std::string uri = fmt::format("s3://{}", path.authority);
  if (std::string endpoint = environment("MOBULA_S3_ENDPOINT"); !endpoint.empty()) {
    std::string scheme = "https";
    if (const std::size_t colon = endpoint.find("://"); colon != std::string::npos) {
      scheme = endpoint.substr(0, colon);
      endpoint.erase(0, colon + 3);
    }
    while (endpoint.ends_with('/')) endpoint.pop_back();
    uri += fmt::format("?endpoint_override={}&scheme={}", endpoint, scheme);
  }
  arrow::fs::FileSystemFactoryOptions options;
  options.emplace_back("retry_strategy",
                       std::any(std::shared_ptr<arrow::fs::S3RetryStrategy>(std::make_shared<DoublingPauses>())));
  std::string base;
  auto system = arrow::fs::FileSystemFromUriAndOptions(uri, options, &base);
  // What Amazon's library holds must be given back before its own static objects go: they are there by now, and what is
  // registered last runs first.
  static const int registered = std::atexit([] { arrow::fs::EnsureFinalized(); });
  if (registered != 0) log_warning("s3: the program may not end cleanly");
  return {take(std::move(system), "s3://" + path.authority), std::move(base), {}};
}

Opened open_gs(const RemotePath& path) {
  std::string uri = fmt::format("gs://{}?retry_limit_seconds={}", path.authority, kGcsRetrySeconds);
  if (std::string endpoint = environment("MOBULA_GS_ENDPOINT"); !endpoint.empty()) {
    const bool plain = endpoint.starts_with("http://");
    if (const std::size_t colon = endpoint.find("://"); colon != std::string::npos) endpoint.erase(0, colon + 3);
    while (endpoint.ends_with('/')) endpoint.pop_back();
    uri += fmt::format("&endpoint_override={}&scheme={}", endpoint, plain ? "http" : "https");
  }
  std::string base;
  auto system = take(arrow::fs::FileSystemFromUri(uri, &base), "gs://" + path.authority);
  return {std::move(system), std::move(base), {}};
}

Opened open_abfs(const RemotePath& path) {
  const std::string place = "abfs://" + path.authority;
  std::string base;
  auto options = take(arrow::fs::AzureOptions::FromUri(place, &base), place);
  if (options.account_name.empty()) options.account_name = environment("AZURE_STORAGE_ACCOUNT");
  if (std::string endpoint = environment("MOBULA_AZURE_ENDPOINT"); !endpoint.empty()) {
    const std::string scheme = endpoint.starts_with("http://") ? "http" : "https";
    if (const std::size_t colon = endpoint.find("://"); colon != std::string::npos) endpoint.erase(0, colon + 3);
    while (endpoint.ends_with('/')) endpoint.pop_back();
    options.blob_storage_authority = options.dfs_storage_authority = endpoint;
    options.blob_storage_scheme = options.dfs_storage_scheme = scheme;
  }
  if (const std::string key = environment("AZURE_STORAGE_KEY"); !key.empty()) {
    check(options.ConfigureAccountKeyCredential(key), place);
  } else if (const std::string token = environment("AZURE_STORAGE_SAS_TOKEN"); !token.empty()) {
    check(options.ConfigureSASCredential(token), place);
  }
  return {take(arrow::fs::AzureFileSystem::Make(options), place), std::move(base), {}};
}

class ObjectStore : public RemoteStore {
 public:
  StoredInfo look(const std::string& path) override {
    const auto [store, key] = find(path);
    const arrow::fs::FileInfo info = take_remote(store.system->GetFileInfo(key), path);
    if (info.type() == arrow::fs::FileType::NotFound) return {};
    StoredInfo found{.exists = true, .folder = info.IsDirectory()};
    if (!found.folder) {
      found.bytes = static_cast<std::uint64_t>(std::max<std::int64_t>(info.size(), 0));
      found.version = fmt::format("{}", info.mtime().time_since_epoch().count());
    }
    return found;
  }

  std::vector<std::string> list(const std::string& folder) override {
    const auto [store, key] = find(folder);
    arrow::fs::FileSelector selector;
    selector.base_dir = key;
    selector.recursive = true;
    std::vector<std::string> files;
    for (const arrow::fs::FileInfo& info : take_remote(store.system->GetFileInfo(selector), folder)) {
      if (info.IsFile()) files.push_back(store.root + info.path().substr(store.base.size()));
    }
    return files;
  }

  std::shared_ptr<arrow::io::RandomAccessFile> open(const std::string& path) override {
    const auto [store, key] = find(path);
    return std::make_shared<RemoteFile>(path, take_remote(store.system->OpenInputFile(key), path));
  }

  std::shared_ptr<arrow::io::OutputStream> create(const std::string& path) override {
    const auto [store, key] = find(path);
    return std::make_shared<RemoteOutput>(path, take_remote(store.system->OpenOutputStream(key, {}), path));
  }

  bool aborts(const std::string& path) const override { return parse_remote_path(path).scheme == "s3"; }

  void remove(const std::string& path) override {
    const auto [store, key] = find(path);
    const arrow::Status status = store.system->DeleteFile(key);
    if (!status.ok() && look(path).exists) throw_remote(status, path);
  }

 private:
  struct Found {
    const Opened& store;
    std::string key;
  };

  Found find(const std::string& path) {
    const RemotePath parsed = parse_remote_path(path);
    const std::lock_guard lock(mutex_);
    Opened& store = opened_[parsed.scheme + "://" + parsed.authority];
    if (store.system == nullptr) {
      try {
        store = parsed.scheme == "s3" ? open_s3(parsed) : parsed.scheme == "gs" ? open_gs(parsed) : open_abfs(parsed);
      } catch (const Error& error) {
        throw_remote(arrow::Status::IOError(error.message()), path);
      }
      while (store.base.ends_with('/')) store.base.pop_back();
      if (!store.base.empty()) store.base += '/';
      store.root = path.substr(0, path.find("://") + 3) + parsed.authority + "/";
    }
    std::string key = store.base + parsed.key;
    while (key.ends_with('/')) key.pop_back();
    return {store, std::move(key)};
  }

  std::mutex mutex_;
  std::map<std::string, Opened> opened_;
};

}  // namespace

std::unique_ptr<RemoteStore> make_object_store() {
  return std::make_unique<ObjectStore>();
}

}  // namespace mobula::data

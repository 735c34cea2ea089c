#include "mobula/data/tokens/download.hpp"

#include <curl/curl.h>
#include <fmt/format.h>

#include <exception>
#include <memory>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/log.hpp"
#include "mobula/data/tokens/sha256.hpp"

namespace mobula::data {
namespace {

struct Sink {
  AtomicFile* file;
  Sha256* digest;
  std::exception_ptr failure;
};

/// Takes bytes from libcurl; exceptions can't cross its C frames, so they wait in the sink.
size_t take_bytes(char* bytes, size_t size, size_t count, void* user) {
  auto& sink = *static_cast<Sink*>(user);
  try {
    const std::string_view part(bytes, size * count);
    sink.file->write(part);
    sink.digest->update(part);
    return part.size();
  } catch (...) {
    sink.failure = std::current_exception();
    return 0;
  }
}

}  // namespace

void download_file(const std::string& url, std::string_view sha256, const std::filesystem::path& path) {
  if (std::filesystem::exists(path) && sha256_file(path) == sha256) return;
  log_info("downloading {}", url);

  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, void (*)(CURL*)> request(curl_easy_init(), curl_easy_cleanup);
  if (initialised != CURLE_OK || !request) throw_internal("libcurl does not start");

  AtomicFile file(path);
  Sha256 digest;
  Sink sink{&file, &digest, {}};
  char reason[CURL_ERROR_SIZE] = "";
  CURL* const handle = request.get();
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "https,http,file");
  curl_easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, "https,http");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(handle, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(handle, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, 20L);
  // No bytes for half a minute counts as a dead connection; the whole may take as long as it needs.
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, 30L);
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, take_bytes);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &sink);

  const CURLcode result = curl_easy_perform(handle);
  if (sink.failure) std::rethrow_exception(sink.failure);
  if (result != CURLE_OK) {
    throw Error(ErrorCode::unavailable,
                fmt::format("{} can't be downloaded: {}", url, *reason ? reason : curl_easy_strerror(result)),
                fmt::format("check the network, or put the file at {}", path.string()));
  }
  const std::string got = digest.finish();
  if (got != sha256) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: its SHA-256 is {}, expected {}", url, got, sha256),
                "the file behind this address has changed, or something on the way altered it");
  }
  file.commit();
}

}  // namespace mobula::data

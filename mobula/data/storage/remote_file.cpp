#include "mobula/data/storage/remote_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/storage/remote_path.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t kFlushBytes = std::int64_t{64} << 20;

template <std::size_t N>
bool says(const std::string& message, const std::array<std::string_view, N>& words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return message.find(word) != std::string::npos; });
}

const char* credentials_hint(const std::string& scheme) {
  if (scheme == "s3") return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE with ~/.aws";
  if (scheme == "gs") return "set GOOGLE_APPLICATION_CREDENTIALS, or name gs://anonymous@bucket for a public bucket";
  if (scheme == "abfs") return "set AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_ID and its secret";
  return "the server wants a user it knows";
}

const char* endpoint_hint(const std::string& scheme) {
  if (scheme == "s3")
    return "check the network, AWS_REGION, and MOBULA_S3_ENDPOINT or AWS_ENDPOINT_URL where it is not Amazon's";
  if (scheme == "gs") return "check the network, and MOBULA_GS_ENDPOINT where it is not Google's";
  if (scheme == "abfs") return "check the network, and MOBULA_AZURE_ENDPOINT where it is not Microsoft's";
  return "check the address and the network";
}

Error remote_error(const arrow::Status& status, const std::string& path) {
  // The words are those of Amazon's, Google's and Microsoft's clients inside Arrow, and of libcurl.
  static constexpr std::array<std::string_view, 7> kMissing = {
      "NO_SUCH_BUCKET",  "NO_SUCH_KEY",       "NOT_FOUND",       "Path does not exist",
      "HTTP status 404", "ContainerNotFound", "No response body"};
  static constexpr std::array<std::string_view, 11> kRefused = {
      "ACCESS_DENIED",        "INVALID_ACCESS_KEY", "SIGNATURE",         "HTTP status 403",
      "HTTP status 401",      "PERMISSION_DENIED",  "UNAUTHENTICATED",   "AuthorizationFailure",
      "AuthenticationFailed", "credential",         "InvalidAccessKeyId"};
  static constexpr std::array<std::string_view, 9> kSilent = {
      "NETWORK_CONNECTION", "curlCode",  "CURL error",      "UNAVAILABLE",        "Fail to get a new connection",
      "SLOW_DOWN",          "timed out", "REQUEST_TIMEOUT", "SERVICE_UNAVAILABLE"};
  const std::string& text = status.message();
  const std::string message = fmt::format("{}: {}", path, text.substr(0, text.find('\n')));
  const std::string scheme = parse_remote_path(path).scheme;
  if (says(text, kSilent)) return {ErrorCode::unavailable, message, endpoint_hint(scheme)};
  if (says(text, kRefused)) return {ErrorCode::io, message, credentials_hint(scheme)};
  if (says(text, kMissing)) return {ErrorCode::not_found, message, "check the bucket's and the file's name"};
  return {ErrorCode::io, message, endpoint_hint(scheme)};
}

}  // namespace

void throw_remote(const arrow::Status& status, const std::string& path) {
  rethrow_carried(status);
  throw remote_error(status, path);
}

arrow::Status RemoteFile::named_status(const arrow::Status& status) const {
  return carrying(remote_error(status, path_));
}

RemoteOutput::~RemoteOutput() {
  if (!closed_) static_cast<void>(Abort());
}

arrow::Status RemoteOutput::Close() {
  if (closed_) return arrow::Status::OK();
  const arrow::Status status = stream_->Close();
  if (!status.ok()) return carrying(remote_error(status, path_));
  closed_ = true;
  return status;
}

arrow::Status RemoteOutput::Abort() {
  closed_ = true;
  // Parts that are under way would come in after the upload is gone.
  static_cast<void>(stream_->Flush());
  return stream_->Abort();
}

arrow::Status RemoteOutput::Write(const void* data, std::int64_t size) {
  arrow::Status status = stream_->Write(data, size);
  unflushed_ += size;
  if (status.ok() && unflushed_ >= kFlushBytes) {
    unflushed_ = 0;
    status = stream_->Flush();
  }
  return status.ok() ? status : carrying(remote_error(status, path_));
}

}  // namespace mobula::data

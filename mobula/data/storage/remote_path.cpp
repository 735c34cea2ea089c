#include "mobula/data/storage/remote_path.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::data {

bool is_remote(std::string_view path) {
  const std::size_t colon = path.find("://");
  return colon != std::string_view::npos && colon > 0 &&
         std::all_of(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(colon),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '+' || c == '-' || c == '.'; });
}

RemotePath parse_remote_path(const std::string& path) {
  const std::size_t colon = path.find("://");
  RemotePath parsed;
  parsed.scheme = path.substr(0, colon);
  std::transform(parsed.scheme.begin(), parsed.scheme.end(), parsed.scheme.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (parsed.scheme == "s3a" || parsed.scheme == "s3n") parsed.scheme = "s3";
  if (parsed.scheme == "gcs") parsed.scheme = "gs";
  if (parsed.scheme == "abfss") parsed.scheme = "abfs";
  static const std::vector<std::string> known = {"s3", "gs", "abfs", "http", "https"};
  if (std::find(known.begin(), known.end(), parsed.scheme) == known.end()) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: files of '{}://' can't be read", path, parsed.scheme),
                suggest(parsed.scheme, known));
  }
  const std::string rest = path.substr(colon + 3);
  const std::size_t slash = rest.find('/');
  parsed.authority = rest.substr(0, slash);
  if (slash != std::string::npos) parsed.key = rest.substr(slash + 1);
  if (parsed.authority.empty()) {
    throw_invalid(fmt::format("{}: no bucket or host behind '{}://'", path, parsed.scheme),
                  fmt::format("such as {}://bucket/folder/file.parquet", parsed.scheme));
  }
  return parsed;
}

std::string_view without_query(std::string_view path) {
  if (!path.starts_with("http://") && !path.starts_with("https://")) return path;
  return path.substr(0, path.find_first_of("?#"));
}

}  // namespace mobula::data

/// Paths that lie outside this machine: object stores and web servers.
#pragma once

#include <string>
#include <string_view>

namespace mobula::data {

/// The parts of a path such as s3://bucket/folder/file.csv.
struct RemotePath {
  std::string scheme;     ///< s3, gs, abfs or http(s), in lower case
  std::string authority;  ///< bucket, container@account or host
  std::string key;        ///< what stands behind the first slash
};

/// Tells paths that begin with a scheme and "://".
bool is_remote(std::string_view path);
/// Takes a remote path apart. Throws Error(unsupported) for a scheme that is not known, Error(invalid_argument) where
/// there is no bucket or host.
RemotePath parse_remote_path(const std::string& path);
/// Returns a path without what tells no file: the query and the fragment of a web address.
std::string_view without_query(std::string_view path);

}  // namespace mobula::data

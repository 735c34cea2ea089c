/// Downloads of a known file: whole and with the right digest, or not there.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace mobula::data {

/// Fetches `url` (https, http or file) to `path` unless a file with this SHA-256 is there already. The file
/// appears under its name only when its digest is right. Throws Error(unavailable) where the server can't be
/// reached or answers with an error, Error(corrupt) for a wrong digest, Error(io) where it can't be written.
void download_file(const std::string& url, std::string_view sha256, const std::filesystem::path& path);

}  // namespace mobula::data

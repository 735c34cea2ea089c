/// The checksums by which hubs name files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace mobula::hub {

/// Returns whether `etag` is one that content can be held to: the SHA-256 of a large file, or git's SHA-1 of a small one.
bool is_checksum(const std::string& etag);

/// Tells whether a file's content has that checksum.
bool has_checksum(const std::filesystem::path& file, const std::string& etag);

}  // namespace mobula::hub

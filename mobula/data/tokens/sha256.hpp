/// SHA-256 (FIPS 180-4), by which files are known.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace mobula::data {

/// A digest that grows with the bytes it is fed. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::string_view bytes);
  /// Returns the digest as 64 hexadecimal digits; nothing may be added afterwards.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Returns the digest of some bytes as 64 hexadecimal digits.
std::string sha256(std::string_view bytes);
/// Returns the digest of a file's bytes. Throws Error(not_found) or Error(io).
std::string sha256_file(const std::filesystem::path& path);

}  // namespace mobula::data

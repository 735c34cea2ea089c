#include "mobula/hub/checksum.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string_view>
#include <vector>

#include "mobula/base/error.hpp"

namespace mobula::hub {
namespace {

constexpr std::size_t kSha256Digits = 64, kSha1Digits = 40;

}  // namespace

bool is_checksum(const std::string& etag) {
  return (etag.size() == kSha256Digits || etag.size() == kSha1Digits) &&
         etag.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool has_checksum(const std::filesystem::path& file, const std::string& etag) {
  const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const bool large = etag.size() == kSha256Digits;
  if (EVP_DigestInit_ex(context.get(), large ? EVP_sha256() : EVP_sha1(), nullptr) != 1) throw_internal("no digest");
  if (!large) {
    const std::string header = fmt::format("blob {}", std::filesystem::file_size(file));
    EVP_DigestUpdate(context.get(), header.c_str(), header.size() + 1);
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) throw Error(ErrorCode::io, fmt::format("{}: can't be opened", file.string()));
  std::vector<char> buffer(1 << 20);
  while (in.read(buffer.data(), static_cast<std::streamsize>(buffer.size())), in.gcount() > 0) {
    EVP_DigestUpdate(context.get(), buffer.data(), static_cast<std::size_t>(in.gcount()));
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &size);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex == etag;
}

}  // namespace mobula::hub

#include "mobula/data/sinks/content_file.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::data {
namespace {

/// Returns how a file is to be compressed; empty for not at all.
std::string compression_for(const std::string& path, const WriteOptions& options) {
  const std::string ending = content_file_ending(options);
  const std::string by_name = compression_of(path);
  if (options.compression.empty()) return by_name;
  if (by_name != (options.compression == "none" ? "" : options.compression)) {
    throw_invalid(fmt::format("{}: compression {} does not go with this name", path, options.compression),
                  by_name.empty() ? fmt::format("name it {}{}", path, ending)
                                  : fmt::format("leave out the compression, which is {} by the name", by_name));
  }
  return by_name;
}

}  // namespace

std::string content_file_ending(const WriteOptions& options) {
  const auto& known = file_compressions();
  if (!options.compression.empty() && std::find(known.begin(), known.end(), options.compression) == known.end()) {
    throw_invalid(fmt::format("unknown compression '{}'", options.compression), suggest(options.compression, known));
  }
  return extension_of_compression(options.compression);
}

ContentFile::ContentFile(const std::string& path, const WriteOptions& options)
    : file_(path), durable_(options.durable) {
  const std::string compression = compression_for(path, options);
  if (!compression.empty()) compressor_.emplace(compression, [this](std::string_view bytes) { file_.append(bytes); });
}

void ContentFile::append(std::string_view bytes) {
  size_ += static_cast<std::int64_t>(bytes.size());
  if (compressor_) {
    compressor_->append(bytes);
  } else {
    file_.append(bytes);
  }
}

void ContentFile::commit() {
  if (compressor_) compressor_->finish();
  file_.commit(durable_);
}

}  // namespace mobula::data

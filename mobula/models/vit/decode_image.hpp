/// Compressed image files to samples, by libpng and libjpeg.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::models {

/// Rows from top to bottom, pixels from left to right, channels together.
struct DecodedImage {
  std::int64_t height = 0, width = 0, num_channels = 0;
  std::vector<std::uint8_t> samples;
};

/// Decode the file's bytes to red, green and blue; `name` leads messages. Throw Error(corrupt) for damaged files and for
/// images of more than `max_pixels`, Error(unavailable) where this build lacks the library.
DecodedImage decode_png(std::string_view file, const std::string& name, std::int64_t max_pixels);
DecodedImage decode_jpeg(std::string_view file, const std::string& name, std::int64_t max_pixels);

}  // namespace mobula::models

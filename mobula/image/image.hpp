/// Images in memory: files to pixels, by libjpeg and libpng.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::image {

/// Rows from top to bottom, pixels from left to right, channels together: samples[(y * width + x) * num_channels + c].
struct Image {
  std::int64_t height = 0, width = 0, num_channels = 0;
  std::vector<std::uint8_t> samples;
};

/// More pixels than this are refused: 256 million, as many as a decompression bomb needs little space for.
inline constexpr std::int64_t kMaxPixels = std::int64_t{1} << 28;

/// Decodes a JPEG, PNG, PPM (P6) or PGM (P5) file's bytes to red, green and blue; grey becomes all three, transparency is
/// dropped. `name` leads messages. Throws Error(corrupt) for damaged files and those of more than kMaxPixels,
/// Error(unsupported) for other formats, Error(unavailable) where this build lacks the library. Thread-safe.
Image decode_image(std::string_view file, const std::string& name);

/// Returns the brightness of red, green and blue by ITU-R 601, as one channel, rounded as Pillow's convert("L") does.
Image to_grey(const Image& image);

}  // namespace mobula::image

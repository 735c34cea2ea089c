/// Options of the operator that turns image files into pixels.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mobula::data {

/// What becomes of each image; steps in this order: decode, grey, resize, crop, scale. All images come out with one size.
struct DecodeImageOptions {
  std::string column = "bytes";  ///< JPEG, PNG, PPM or PGM files as bytes; null stays null
  std::string into = "image";    ///< lists of one length: uint8, or float32 where mean and deviation are given
  bool grey = false;             ///< one channel instead of three
  std::optional<std::pair<std::int64_t, std::int64_t>> resize;       ///< height, width
  std::int64_t shorter_side = 0;                                     ///< instead of `resize`: keeps the shape; 0: no
  std::optional<std::pair<std::int64_t, std::int64_t>> center_crop;  ///< height, width
  std::string filter = "bilinear";  ///< nearest, bilinear, bicubic, lanczos, as Pillow has them
  std::vector<double> mean;         ///< of samples / 255, one a channel: (x / 255 - mean) / deviation
  std::vector<double> deviation;
  bool channels_first = false;  ///< [channels, height, width] instead of [height, width, channels]

  /// Throws Error(invalid_argument) that names the member.
  void validate() const;
};

}  // namespace mobula::data

/// Images of other sizes, with the pixels that Pillow gives.
#pragma once

#include <cstdint>

#include "mobula/image/image.hpp"

namespace mobula::image {

/// How pixels between pixels are made. All but `nearest` average over what a smaller pixel covers (antialiasing).
enum class Filter { nearest, bilinear, bicubic, lanczos };

/// Returns the image at another size. Bit for bit what Pillow's Image.resize gives (Pillow 12, libImaging/Resample.c: two
/// passes with weights of 22 bits after the point). Throws Error(invalid_argument) for a size below 1.
Image resize(const Image& image, std::int64_t height, std::int64_t width, Filter filter);

/// Returns a part of the image. Throws Error(invalid_argument) where it does not lie inside.
Image crop(const Image& image, std::int64_t top, std::int64_t left, std::int64_t height, std::int64_t width);

}  // namespace mobula::image

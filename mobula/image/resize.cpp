#include "mobula/image/resize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "mobula/base/error.hpp"

namespace mobula::image {
namespace {

constexpr int kWeightBits = 22;

double triangle(double x) {
  x = std::abs(x);
  return x < 1.0 ? 1.0 - x : 0.0;
}

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos3(double x) {
  return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
}

/// Which pixels of a line make each pixel of the new one, and how much each counts.
struct Weights {
  struct Span {
    std::int64_t first = 0;
    std::int64_t count = 0;
  };
  std::vector<Span> spans;
  std::vector<std::int32_t> values;  ///< `most` for each span
  std::int64_t most = 0;
};

Weights weights_of(std::int64_t before, std::int64_t after, Filter filter) {
  double (*const function)(double) = filter == Filter::bilinear  ? triangle
                                     : filter == Filter::bicubic ? cubic
                                                                 : lanczos3;
  const double reach = filter == Filter::bilinear ? 1.0 : filter == Filter::bicubic ? 2.0 : 3.0;
  const double scale = static_cast<double>(before) / static_cast<double>(after);
  const double stretch = std::max(scale, 1.0);
  const double support = reach * stretch;
  Weights weights;
  weights.most = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  weights.values.resize(static_cast<std::size_t>(after * weights.most));
  std::vector<double> exact(static_cast<std::size_t>(weights.most));
  for (std::int64_t i = 0; i < after; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(center - support + 0.5));
    const auto last = std::min(before, static_cast<std::int64_t>(center + support + 0.5));
    const std::int64_t count = last - first;
    double sum = 0.0;
    for (std::int64_t k = 0; k < count; ++k) {
      const double w = function((static_cast<double>(k + first) - center + 0.5) * (1.0 / stretch));
      exact[static_cast<std::size_t>(k)] = w;
      sum += w;
    }
    for (std::int64_t k = 0; k < count; ++k) {
      const double w = exact[static_cast<std::size_t>(k)] / (sum == 0.0 ? 1.0 : sum) * (1 << kWeightBits);
      weights.values[static_cast<std::size_t>(i * weights.most + k)] =
          static_cast<std::int32_t>(w < 0 ? w - 0.5 : w + 0.5);
    }
    weights.spans.push_back({first, count});
  }
  return weights;
}

std::uint8_t clipped(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kWeightBits, 0, 255));
}

constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);

/// Makes lines of another length. The channels' number is a constant where it can be, for the sake of speed.
template <int kChannels>
void resize_rows(const Image& from, Image& to, const Weights& weights) {
  for (std::int64_t y = 0; y < from.height; ++y) {
    const std::uint8_t* const line = from.samples.data() + y * from.width * kChannels;
    std::uint8_t* out = to.samples.data() + y * to.width * kChannels;
    for (std::int64_t x = 0; x < to.width; ++x, out += kChannels) {
      const auto [first, count] = weights.spans[static_cast<std::size_t>(x)];
      const std::int32_t* const w = weights.values.data() + x * weights.most;
      const std::uint8_t* pixel = line + first * kChannels;
      std::int32_t sums[kChannels];
      std::fill_n(sums, kChannels, kHalf);
      for (std::int64_t k = 0; k < count; ++k, pixel += kChannels) {
        for (int c = 0; c < kChannels; ++c) sums[c] += pixel[c] * w[k];
      }
      for (int c = 0; c < kChannels; ++c) out[c] = clipped(sums[c]);
    }
  }
}

void resize_columns(const Image& from, Image& to, const Weights& weights) {
  const std::int64_t line = from.width * from.num_channels;
  std::vector<std::int32_t> sums(static_cast<std::size_t>(line));
  for (std::int64_t y = 0; y < to.height; ++y) {
    const auto [first, count] = weights.spans[static_cast<std::size_t>(y)];
    const std::int32_t* const w = weights.values.data() + y * weights.most;
    std::fill(sums.begin(), sums.end(), kHalf);
    for (std::int64_t k = 0; k < count; ++k) {
      const std::uint8_t* const samples = from.samples.data() + (first + k) * line;
      const std::int32_t weight = w[k];
      for (std::int64_t x = 0; x < line; ++x) sums[static_cast<std::size_t>(x)] += samples[x] * weight;
    }
    std::uint8_t* const out = to.samples.data() + y * line;
    for (std::int64_t x = 0; x < line; ++x) out[x] = clipped(sums[static_cast<std::size_t>(x)]);
  }
}

Image blank(std::int64_t height, std::int64_t width, std::int64_t num_channels) {
  Image image{height, width, num_channels, {}};
  image.samples.resize(static_cast<std::size_t>(height * width * num_channels));
  return image;
}

/// Returns the pixel that lies nearest to each of the new line's. Steps are added up as Pillow does, roundings included.
std::vector<std::int64_t> nearest_of(std::int64_t before, std::int64_t after) {
  const double step = static_cast<double>(before) / static_cast<double>(after);
  std::vector<std::int64_t> nearest;
  double at = step * 0.5;
  for (std::int64_t i = 0; i < after; ++i, at += step)
    nearest.push_back(std::min(before - 1, static_cast<std::int64_t>(at)));
  return nearest;
}

Image resize_nearest(const Image& image, std::int64_t height, std::int64_t width) {
  Image out = blank(height, width, image.num_channels);
  const auto columns = nearest_of(image.width, width);
  std::uint8_t* at = out.samples.data();
  for (const std::int64_t y : nearest_of(image.height, height)) {
    const std::uint8_t* const line = image.samples.data() + y * image.width * image.num_channels;
    for (const std::int64_t x : columns) at = std::copy_n(line + x * image.num_channels, image.num_channels, at);
  }
  return out;
}

}  // namespace

Image resize(const Image& image, std::int64_t height, std::int64_t width, Filter filter) {
  if (height < 1 || width < 1 || height > kMaxPixels / width) {
    throw_invalid(fmt::format("an image can't be made {} x {} pixels large", width, height));
  }
  if (filter == Filter::nearest) return resize_nearest(image, height, width);
  Image wide = image;
  if (width != image.width) {
    const Weights weights = weights_of(image.width, width, filter);
    wide = blank(image.height, width, image.num_channels);
    if (image.num_channels == 3) {
      resize_rows<3>(image, wide, weights);
    } else {
      resize_rows<1>(image, wide, weights);
    }
  }
  if (height == image.height) return wide;
  Image out = blank(height, width, image.num_channels);
  resize_columns(wide, out, weights_of(image.height, height, filter));
  return out;
}

Image crop(const Image& image, std::int64_t top, std::int64_t left, std::int64_t height, std::int64_t width) {
  if (top < 0 || left < 0 || height < 1 || width < 1 || top > image.height - height || left > image.width - width) {
    throw_invalid(fmt::format("{} x {} pixels at ({}, {}) do not lie in an image of {} x {}", width, height, left, top,
                              image.width, image.height));
  }
  Image out = blank(height, width, image.num_channels);
  const std::int64_t line = width * image.num_channels;
  for (std::int64_t y = 0; y < height; ++y) {
    std::copy_n(image.samples.data() + ((top + y) * image.width + left) * image.num_channels, line,
                out.samples.data() + y * line);
  }
  return out;
}

}  // namespace mobula::image

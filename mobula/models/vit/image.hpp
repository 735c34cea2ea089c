/// Images for vision models: files to pixels, pixels to what a model reads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <vector>

#include "mobula/models/vit/config.hpp"

namespace mobula::models {

/// Reads a PNG, JPEG, PPM (P6) or PGM (P5) file of at most 256 MiB and 2^28 pixels as uint8 [3, height, width]; grey
/// becomes red, green and blue, transparency is dropped. Throws Error(not_found), Error(corrupt), or Error(unsupported) for
/// other formats.
at::Tensor read_image(const std::filesystem::path& path);

/// How pixels become a model's input; the defaults are those of transformers' ViTImageProcessor.
struct ImageOptions {
  bool resize = true;
  std::int64_t height = 224, width = 224;
  int resample = 2;  ///< as PIL numbers them: 2 bilinear, 3 bicubic; both with antialiasing
  bool rescale = true;
  double rescale_factor = 1.0 / 255.0;
  bool normalize = true;
  std::vector<double> mean = {0.5, 0.5, 0.5};
  std::vector<double> deviation = {0.5, 0.5, 0.5};
  std::int64_t num_channels = 3;  ///< 1: the image becomes grey
};

/// Reads preprocessor_config.json of a checkpoint folder; without one, the defaults for the model's sizes. Throws Error
/// naming the key.
ImageOptions read_image_options(const std::filesystem::path& directory, const VitConfig& config);

/// Returns float [channels, height, width].
at::Tensor prepare_image(const at::Tensor& pixels_3HW, const ImageOptions& options);

}  // namespace mobula::models

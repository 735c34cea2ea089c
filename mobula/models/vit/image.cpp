#include "mobula/models/vit/image.hpp"

#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/div.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <array>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/image/image.hpp"
#include "mobula/models/config_reader.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{256} << 20;

}  // namespace

at::Tensor read_image(const std::filesystem::path& path) {
  const std::string file = read_file(path, kMaxBytes);
  const image::Image image = image::decode_image(file, path.string());
  const at::Tensor pixels = at::tensor(at::ArrayRef<std::uint8_t>(image.samples), at::TensorOptions().dtype(at::kByte))
                                .view({image.height, image.width, image.num_channels})
                                .permute({2, 0, 1});
  return pixels.expand({3, image.height, image.width}).contiguous();
}

ImageOptions read_image_options(const std::filesystem::path& directory, const VitConfig& config) {
  ImageOptions options;
  options.height = config.image_height;
  options.width = config.image_width;
  options.num_channels = config.num_channels;
  const auto path = directory / "preprocessor_config.json";
  if (std::filesystem::exists(path)) {
    const Json json = nn::read_json_file(path);
    const ConfigReader reader(json);
    options.resize = reader.boolean("do_resize", true);
    options.rescale = reader.boolean("do_rescale", true);
    options.normalize = reader.boolean("do_normalize", true);
    options.rescale_factor = reader.number("rescale_factor", options.rescale_factor);
    options.resample = static_cast<int>(reader.integer("resample", options.resample, 0, 5));
    if (json.contains("size") && json["size"].is_number()) {
      options.height = options.width = reader.integer("size", options.height, 1, 1 << 16);
    } else if (const auto size = reader.object("size")) {
      options.height = size->integer("height", options.height, 1, 1 << 16);
      options.width = size->integer("width", options.width, 1, 1 << 16);
    }
    if (reader.has("image_mean")) options.mean = reader.numbers("image_mean");
    if (reader.has("image_std")) options.deviation = reader.numbers("image_std");
  }
  const auto channels = static_cast<std::size_t>(options.num_channels);
  if (options.num_channels != 1 && options.num_channels != 3) {
    throw Error(ErrorCode::unsupported, fmt::format("images of {} channels are not supported", options.num_channels));
  }
  // One number stands for all channels.
  for (std::vector<double>* values : {&options.mean, &options.deviation}) {
    if (values->empty()) throw_invalid(fmt::format("{}: image_mean or image_std is empty", path.string()));
    values->resize(channels, values->front());
  }
  if (options.resample != 2 && options.resample != 3) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: resample {} is not supported", path.string(), options.resample),
                "known: 2 (bilinear), 3 (bicubic)");
  }
  return options;
}

at::Tensor prepare_image(const at::Tensor& pixels_3HW, const ImageOptions& options) {
  at::Tensor x = pixels_3HW;
  if (options.num_channels == 1) {
    // ITU-R 601 luma, as the common image libraries weigh it.
    const at::Tensor weights = at::tensor({0.299f, 0.587f, 0.114f}).view({3, 1, 1});
    x = at::mul(x.to(at::kFloat), weights).sum(at::IntArrayRef{0}, /*keepdim=*/true).round().to(at::kByte);
  }
  if (options.resize && (x.size(1) != options.height || x.size(2) != options.width)) {
    const at::Tensor batch = x.unsqueeze(0);
    const std::array<std::int64_t, 2> size = {options.height, options.width};
    x = (options.resample == 2 ? at::_upsample_bilinear2d_aa(batch, size, false, std::nullopt, std::nullopt)
                               : at::_upsample_bicubic2d_aa(batch, size, false, std::nullopt, std::nullopt))
            .squeeze(0);
  }
  x = x.to(at::kFloat);
  if (options.rescale) x = at::mul(x, options.rescale_factor);
  if (!options.normalize) return x;
  const auto column = [](const std::vector<double>& values) {
    return at::tensor(values).to(at::kFloat).view({-1, 1, 1});
  };
  return at::div(at::sub(x, column(options.mean)), column(options.deviation));
}

}  // namespace mobula::models

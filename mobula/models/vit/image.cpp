#include "mobula/models/vit/image.hpp"

#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/_upsample_bilinear2d_aa.h>
#include <ATen/ops/div.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <array>
#include <cctype>
#include <charconv>
#include <string>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/models/config_reader.hpp"
#include "mobula/models/vit/decode_image.hpp"
#include "mobula/nn/checkpoint.hpp"

namespace mobula::models {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{256} << 20;
constexpr std::int64_t kMaxPixels = std::int64_t{1} << 28;

// The netpbm formats' header: a magic number and three numbers, with comments between.
DecodedImage decode_netpbm(std::string_view file, const std::string& name) {
  std::size_t at = 2;
  const auto corrupt = [&](const char* what) { return Error(ErrorCode::corrupt, fmt::format("{}: {}", name, what)); };
  const auto number = [&] {
    while (at < file.size() && (std::isspace(static_cast<unsigned char>(file[at])) || file[at] == '#')) {
      if (file[at] == '#') {
        while (at < file.size() && file[at] != '\n') ++at;
      } else {
        ++at;
      }
    }
    std::int64_t value = 0;
    const auto [end, problem] = std::from_chars(file.data() + at, file.data() + file.size(), value);
    if (problem != std::errc() || value < 1 || value > kMaxPixels) throw corrupt("the header has a bad number");
    at = static_cast<std::size_t>(end - file.data());
    return value;
  };
  DecodedImage image;
  image.num_channels = file[1] == '6' ? 3 : 1;
  image.width = number();
  image.height = number();
  if (number() != 255) throw Error(ErrorCode::unsupported, fmt::format("{}: only 8 bits a sample are supported", name));
  ++at;  // one white space
  if (image.width > kMaxPixels / image.height) throw corrupt("the image is too large");
  const auto size = static_cast<std::size_t>(image.width * image.height * image.num_channels);
  if (at + size > file.size()) throw corrupt("the pixels are cut off");
  const auto* begin = reinterpret_cast<const std::uint8_t*>(file.data()) + at;
  image.samples.assign(begin, begin + size);
  return image;
}

}  // namespace

at::Tensor read_image(const std::filesystem::path& path) {
  const std::string file = read_file(path, kMaxBytes);
  const std::string name = path.string();
  DecodedImage image;
  if (file.starts_with("\x89PNG")) {
    image = decode_png(file, name, kMaxPixels);
  } else if (file.starts_with("\xff\xd8")) {
    image = decode_jpeg(file, name, kMaxPixels);
  } else if (file.size() > 2 && file[0] == 'P' && (file[1] == '5' || file[1] == '6')) {
    image = decode_netpbm(file, name);
  } else {
    throw Error(ErrorCode::unsupported, fmt::format("{}: no PNG, JPEG, PPM (P6) or PGM (P5) file", name));
  }
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

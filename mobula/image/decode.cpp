#include "mobula/image/image.hpp"

#include <fmt/format.h>

#include <cctype>
#include <charconv>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "mobula/base/error.hpp"

#ifdef MOBULA_WITH_PNG
#include <png.h>
#endif
#ifdef MOBULA_WITH_JPEG
#include <jpeglib.h>

#include <jerror.h>
#endif

namespace mobula::image {
namespace {

#if defined(MOBULA_WITH_PNG) || defined(MOBULA_WITH_JPEG)
void check_size(const std::string& name, std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1 || width > kMaxPixels / height) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: an image of {} x {} pixels is refused", name, width, height));
  }
}
#endif

#ifdef MOBULA_WITH_JPEG
// libjpeg reports errors by a function that must not return.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf back;
  char message[JMSG_LENGTH_MAX];
  bool cut_off;  // the pixels ended early, and the library made the rest up
};

void leave(j_common_ptr info) {
  auto* errors = reinterpret_cast<JpegErrors*>(info->err);
  errors->base.format_message(info, errors->message);
  std::longjmp(errors->back, 1);
}

void note_message(j_common_ptr info, int level) {
  if (level < 0 && (info->err->msg_code == JWRN_JPEG_EOF || info->err->msg_code == JWRN_HIT_MARKER)) {
    reinterpret_cast<JpegErrors*>(info->err)->cut_off = true;
  }
}
#endif

// The netpbm formats' header: a magic number and three numbers, with comments between.
Image decode_netpbm(std::string_view file, const std::string& name) {
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
  Image image;
  image.num_channels = file[1] == '6' ? 3 : 1;
  image.width = number();
  image.height = number();
  if (number() != 255) throw Error(ErrorCode::unsupported, fmt::format("{}: only 8 bits a sample are supported", name));
  ++at;  // one white space
  if (image.width > kMaxPixels / image.height) throw corrupt("the image is too large");
  const auto size = static_cast<std::size_t>(image.width * image.height * image.num_channels);
  if (at + size > file.size()) throw corrupt("the pixels are cut off");
  const auto* begin = reinterpret_cast<const std::uint8_t*>(file.data()) + at;
  if (image.num_channels == 3) {
    image.samples.assign(begin, begin + size);
    return image;
  }
  image.num_channels = 3;
  image.samples.reserve(size * 3);
  for (std::size_t i = 0; i < size; ++i) image.samples.insert(image.samples.end(), 3, begin[i]);
  return image;
}

Image decode_png(std::string_view file, const std::string& name) {
#ifdef MOBULA_WITH_PNG
  png_image header;
  std::memset(&header, 0, sizeof header);
  header.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&header, file.data(), file.size()) == 0) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {}", name, header.message));
  }
  header.format = PNG_FORMAT_RGB;
  Image image{header.height, header.width, 3, {}};
  try {
    check_size(name, image.width, image.height);
    image.samples.resize(PNG_IMAGE_SIZE(header));
  } catch (...) {
    png_image_free(&header);
    throw;
  }
  const png_color black = {0, 0, 0};
  if (png_image_finish_read(&header, &black, image.samples.data(), 0, nullptr) == 0) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {}", name, header.message));
  }
  return image;
#else
  (void)file;
  throw Error(ErrorCode::unavailable, fmt::format("{}: this build reads no PNG files", name),
              "install libpng-dev and build");
#endif
}

Image decode_jpeg(std::string_view file, const std::string& name) {
#ifdef MOBULA_WITH_JPEG
  jpeg_decompress_struct info;
  JpegErrors errors;
  info.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = leave;
  errors.base.emit_message = note_message;
  errors.cut_off = false;
  Image image;
  // Nothing with a destructor is made between here and the end, so that a jump skips none.
  if (setjmp(errors.back) != 0) {
    jpeg_destroy_decompress(&info);
    throw Error(ErrorCode::corrupt, fmt::format("{}: {}", name, errors.message));
  }
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, reinterpret_cast<const unsigned char*>(file.data()), file.size());
  jpeg_read_header(&info, TRUE);
  info.out_color_space = JCS_RGB;
  jpeg_start_decompress(&info);
  try {
    check_size(name, info.output_width, info.output_height);
    image.samples.resize(std::size_t{info.output_width} * info.output_height * 3);
  } catch (...) {
    jpeg_destroy_decompress(&info);
    throw;
  }
  image.height = info.output_height;
  image.width = info.output_width;
  image.num_channels = 3;
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = image.samples.data() + std::size_t{info.output_scanline} * info.output_width * 3;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  if (errors.cut_off) throw Error(ErrorCode::corrupt, fmt::format("{}: the pixels are cut off", name));
  return image;
#else
  (void)file;
  throw Error(ErrorCode::unavailable, fmt::format("{}: this build reads no JPEG files", name),
              "install libjpeg62-turbo-dev and build");
#endif
}

}  // namespace

Image decode_image(std::string_view file, const std::string& name) {
  if (file.starts_with("\x89PNG")) return decode_png(file, name);
  if (file.starts_with("\xff\xd8")) return decode_jpeg(file, name);
  if (file.size() > 2 && file[0] == 'P' && (file[1] == '5' || file[1] == '6')) return decode_netpbm(file, name);
  throw Error(ErrorCode::unsupported, fmt::format("{}: no PNG, JPEG, PPM (P6) or PGM (P5) file", name));
}

Image to_grey(const Image& image) {
  if (image.num_channels == 1) return image;
  Image grey{image.height, image.width, 1, {}};
  grey.samples.resize(static_cast<std::size_t>(image.height * image.width));
  const std::uint8_t* pixel = image.samples.data();
  for (std::uint8_t& sample : grey.samples) {
    // Weights of 16 bits after the point: 0.299, 0.587 and 0.114.
    sample = static_cast<std::uint8_t>((pixel[0] * 19595 + pixel[1] * 38470 + pixel[2] * 7471 + 0x8000) >> 16);
    pixel += 3;
  }
  return grey;
}

}  // namespace mobula::image

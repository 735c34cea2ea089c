#include "mobula/models/vit/decode_image.hpp"

#include <fmt/format.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "mobula/base/error.hpp"

#ifdef MOBULA_WITH_PNG
#include <png.h>
#endif
#ifdef MOBULA_WITH_JPEG
#include <jerror.h>
#include <jpeglib.h>
#endif

namespace mobula::models {
namespace {

#if defined(MOBULA_WITH_PNG) || defined(MOBULA_WITH_JPEG)
void check_size(const std::string& name, std::int64_t width, std::int64_t height, std::int64_t max_pixels) {
  if (width < 1 || height < 1 || width > max_pixels / height) {
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

}  // namespace

DecodedImage decode_png(std::string_view file, const std::string& name, std::int64_t max_pixels) {
#ifdef MOBULA_WITH_PNG
  png_image header;
  std::memset(&header, 0, sizeof header);
  header.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_memory(&header, file.data(), file.size()) == 0) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {}", name, header.message));
  }
  header.format = PNG_FORMAT_RGB;
  DecodedImage image{header.height, header.width, 3, {}};
  try {
    check_size(name, image.width, image.height, max_pixels);
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
  (void)file, (void)max_pixels;
  throw Error(ErrorCode::unavailable, fmt::format("{}: this build reads no PNG files", name),
              "install libpng-dev and build");
#endif
}

DecodedImage decode_jpeg(std::string_view file, const std::string& name, std::int64_t max_pixels) {
#ifdef MOBULA_WITH_JPEG
  jpeg_decompress_struct info;
  JpegErrors errors;
  info.err = jpeg_std_error(&errors.base);
  errors.base.error_exit = leave;
  errors.base.emit_message = note_message;
  errors.cut_off = false;
  DecodedImage image;
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
    check_size(name, info.output_width, info.output_height, max_pixels);
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
  (void)file, (void)max_pixels;
  throw Error(ErrorCode::unavailable, fmt::format("{}: this build reads no JPEG files", name),
              "install libjpeg62-turbo-dev and build");
#endif
}

}  // namespace mobula::models

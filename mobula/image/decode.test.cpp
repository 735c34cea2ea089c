#include "mobula/image/image.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/testing/refusal.hpp"

#ifdef MOBULA_WITH_JPEG
#include <jpeglib.h>
#endif

namespace mobula::image {
namespace {

#ifdef MOBULA_WITH_JPEG
constexpr int kWidth = 37, kHeight = 21;

// A soft slope of colours, which JPEG keeps nearly as it is.
std::uint8_t sample(int y, int x, int channel) {
  return static_cast<std::uint8_t>(channel == 0 ? 4 * x + 40 : channel == 1 ? 6 * y + 60 : 220 - 2 * x - 2 * y);
}

std::string encode_jpeg(bool progressive) {
  jpeg_compress_struct info;
  jpeg_error_mgr errors;
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &bytes, &size);
  info.image_width = kWidth;
  info.image_height = kHeight;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 100, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  for (int y = 0; y < kHeight; ++y) {
    std::vector<std::uint8_t> row;
    for (int x = 0; x < kWidth; ++x) {
      for (int c = 0; c < 3; ++c) row.push_back(sample(y, x, c));
    }
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&info, &pointer, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  std::string file(reinterpret_cast<char*>(bytes), size);
  std::free(bytes);
  return file;
}

std::string refusal(const std::string& file) {
  const std::string message = mobula::refusal([&] { decode_image(file, "photo.jpg"); }, ErrorCode::corrupt);
  if (message != "accepted") {
    EXPECT_NE(message.find("photo.jpg"), std::string::npos);
  }
  return message;
}

TEST(DecodeJpeg, GivesThePixelsRowByRowInRedGreenBlue) {
  for (const bool progressive : {false, true}) {
    const Image image = decode_image(encode_jpeg(progressive), "photo.jpg");
    EXPECT_EQ(image.width, kWidth);
    EXPECT_EQ(image.height, kHeight);
    EXPECT_EQ(image.num_channels, 3);
    ASSERT_EQ(image.samples.size(), std::size_t{kWidth} * kHeight * 3);
    for (int y = 0; y < kHeight; ++y) {
      for (int x = 0; x < kWidth; ++x) {
        for (int c = 0; c < 3; ++c) {
          EXPECT_NEAR(image.samples[static_cast<std::size_t>((y * kWidth + x) * 3 + c)], sample(y, x, c), 6)
              << y << " " << x << " " << c;
        }
      }
    }
  }
}

TEST(DecodeJpeg, RefusesFilesThatAreCutOffOrTooLarge) {
  const std::string file = encode_jpeg(false);
  EXPECT_EQ(refusal(file), "accepted");
  for (std::size_t size = 2; size < file.size() - 2; size += 7) EXPECT_NE(refusal(file.substr(0, size)), "accepted");
  EXPECT_NE(refusal(file.substr(0, file.size() - file.size() / 8)).find("cut off"), std::string::npos);
  std::string bomb = file;
  const std::size_t frame = bomb.find("\xff\xc0");
  ASSERT_NE(frame, std::string::npos);
  bomb.replace(frame + 5, 4, "\xff\xdc\xff\xdc");  // height and width
  EXPECT_NE(refusal(bomb).find("65500 x 65500"), std::string::npos) << refusal(bomb);
  EXPECT_NE(refusal("\xff\xd8 this is no JPEG file"), "accepted");
}
#endif

}  // namespace
}  // namespace mobula::image

#include "mobula/image/resize.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/image/image.hpp"

namespace mobula::image {
namespace {

/// Has Pillow write images of random sizes, their pixels, and what it makes of them.
class PillowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(std::filesystem::exists(MOBULA_TEST_PYTHON))
        << MOBULA_TEST_PYTHON << " is missing: run ./dev setup --all";
    seed_ = std::random_device()();
    RecordProperty("seed", static_cast<int>(seed_));
  }
  void run(const std::string& body) {
    const std::string script = fmt::format(
        "import numpy, PIL.Image, random\n"
        "numpy.random.seed({0}); random.seed({0})\n"
        "def noise(height, width, channels=3):\n"
        "    small = numpy.random.randint(0, 256, (max(1, height // 3), max(1, width // 3), channels), "
        "dtype=numpy.uint8)\n"
        "    return PIL.Image.fromarray(small if channels == 3 else small[:, :, 0]).resize((width, height), "
        "PIL.Image.BICUBIC)\n"
        "{1}",
        seed_, body);
    write_file_atomic(folder_.path() / "make.py", script);
    const std::string command =
        fmt::format("cd '{}' && '{}' make.py > log 2>&1", folder_.path().string(), MOBULA_TEST_PYTHON);
    ASSERT_EQ(std::system(command.c_str()), 0) << "seed " << seed_ << ": " << read_file(folder_.path() / "log");
  }
  Image raw(const std::string& name, std::int64_t height, std::int64_t width, std::int64_t channels = 3) const {
    const std::string bytes = read_file(folder_.path() / name);
    EXPECT_EQ(bytes.size(), static_cast<std::size_t>(height * width * channels));
    return {height, width, channels, {bytes.begin(), bytes.end()}};
  }
  std::string file(const std::string& name) const { return read_file(folder_.path() / name); }

  TemporaryDirectory folder_;
  unsigned seed_ = 0;
};

TEST_F(PillowTest, ResizesToTheSamePixels) {
  run("for number in range(60):\n"
      "    height, width, after, across = (random.randint(1, 90) for _ in range(4))\n"
      "    channels = random.choice([1, 3])\n"
      "    image = noise(height, width, channels)\n"
      "    kind = number % 4\n"
      "    made = image.resize((across, after), [PIL.Image.NEAREST, PIL.Image.BILINEAR, PIL.Image.BICUBIC, "
      "PIL.Image.LANCZOS][kind])\n"
      "    open(f'{number}.from', 'wb').write(image.tobytes())\n"
      "    open(f'{number}.to', 'wb').write(made.tobytes())\n"
      "    print(height, width, channels, after, across, kind, file=open(f'{number}.txt', 'w'))\n");
  for (int number = 0; number < 60; ++number) {
    long height = 0, width = 0, channels = 0, after = 0, across = 0;
    int kind = 0;
    ASSERT_EQ(std::sscanf(file(fmt::format("{}.txt", number)).c_str(), "%ld %ld %ld %ld %ld %d", &height, &width,
                          &channels, &after, &across, &kind),
              6);
    const Image made =
        resize(raw(fmt::format("{}.from", number), height, width, channels), after, across, static_cast<Filter>(kind));
    ASSERT_EQ(made.samples, raw(fmt::format("{}.to", number), after, across, channels).samples)
        << "seed " << seed_ << ", case " << number << ": " << width << " x " << height << " to " << across << " x "
        << after << ", filter " << kind;
  }
}

TEST_F(PillowTest, DecodesPngToTheSamePixelsAndJpegNearly) {
  run("for number in range(12):\n"
      "    height, width = random.randint(1, 70), random.randint(1, 70)\n"
      "    image = noise(height, width, 1 if number % 3 == 2 else 3)\n"
      "    image.save(f'{number}.png'); image.save(f'{number}.ppm')\n"
      "    image.save(f'{number}.jpg', quality=random.randint(30, 95), progressive=number % 2 == 1)\n"
      "    open(f'{number}.raw', 'wb').write(image.convert('RGB').tobytes())\n"
      "    open(f'{number}.jraw', 'wb').write(PIL.Image.open(f'{number}.jpg').convert('RGB').tobytes())\n"
      "    open(f'{number}.grey', 'wb').write(image.convert('RGB').convert('L').tobytes())\n");
  for (int number = 0; number < 12; ++number) {
    const Image png = decode_image(file(fmt::format("{}.png", number)), "a.png");
    EXPECT_EQ(png.num_channels, 3);
    EXPECT_EQ(png.samples, raw(fmt::format("{}.raw", number), png.height, png.width).samples) << "seed " << seed_;
    EXPECT_EQ(decode_image(file(fmt::format("{}.ppm", number)), "a.ppm").samples, png.samples);
    EXPECT_EQ(to_grey(png).samples, raw(fmt::format("{}.grey", number), png.height, png.width, 1).samples);
    const Image jpeg = decode_image(file(fmt::format("{}.jpg", number)), "a.jpg");
    const Image expected = raw(fmt::format("{}.jraw", number), jpeg.height, jpeg.width);
    // Both are libjpeg-turbo, of other versions: the inverse transform is exact, upsampled colour may round otherwise.
    for (std::size_t i = 0; i < jpeg.samples.size(); ++i) {
      ASSERT_LE(std::abs(int{jpeg.samples[i]} - int{expected.samples[i]}), 2)
          << "seed " << seed_ << ", case " << number;
    }
  }
}

TEST_F(PillowTest, RefusesFilesThatAreCutOff) {
  run("image = noise(64, 64)\n"
      "for kind in ('png', 'jpg', 'ppm'):\n"
      "    image.save('a.' + kind)\n");
  for (const std::string kind : {"png", "jpg", "ppm"}) {
    const std::string whole = file("a." + kind);
    EXPECT_NO_THROW(decode_image(whole, "a"));
    for (const double share : {0.1, 0.5, 0.9}) {
      const std::string part = whole.substr(0, static_cast<std::size_t>(share * static_cast<double>(whole.size())));
      EXPECT_THROW(decode_image(part, "a." + kind), Error) << kind << " cut at " << share;
    }
  }
}

TEST(DecodeImage, RefusesOtherFormatsAndBombs) {
  EXPECT_THROW(decode_image("GIF89a", "a.gif"), Error);
  EXPECT_THROW(decode_image("", "empty"), Error);
  EXPECT_THROW(decode_image("P6 1000000 1000000 255\n", "bomb.ppm"), Error);
}

TEST(Resize, RefusesSizesBelowOne) {
  const Image image{1, 1, 1, {7}};
  EXPECT_THROW(resize(image, 0, 1, Filter::bilinear), Error);
  EXPECT_EQ(resize(image, 2, 2, Filter::bicubic).samples, (std::vector<std::uint8_t>{7, 7, 7, 7}));
}

TEST(Crop, TakesAPartAndRefusesWhatLiesOutside) {
  const Image image{2, 3, 1, {1, 2, 3, 4, 5, 6}};
  EXPECT_EQ(crop(image, 0, 1, 2, 2).samples, (std::vector<std::uint8_t>{2, 3, 5, 6}));
  EXPECT_THROW(crop(image, 1, 0, 2, 1), Error);
  EXPECT_THROW(crop(image, -1, 0, 1, 1), Error);
}

}  // namespace
}  // namespace mobula::image

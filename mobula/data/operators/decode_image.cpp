#include "mobula/data/operators/decode_image.hpp"

#include <arrow/array.h>
#include <arrow/array/util.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <arrow/util/bitmap_builders.h>
#include <fmt/format.h>

#include <array>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/operators/block_operators.hpp"
#include "mobula/data/operators/failing_rows.hpp"
#include "mobula/image/image.hpp"
#include "mobula/image/resize.hpp"

namespace mobula::data {
namespace {

constexpr std::int64_t kMaxSide = 1 << 16;

image::Filter filter_named(const std::string& name) {
  if (name == "nearest") return image::Filter::nearest;
  if (name == "bilinear") return image::Filter::bilinear;
  if (name == "bicubic") return image::Filter::bicubic;
  if (name == "lanczos") return image::Filter::lanczos;
  throw_invalid(fmt::format("decode_image: unknown filter '{}'", name),
                suggest(name, {"nearest", "bilinear", "bicubic", "lanczos"}));
}

class DecodeImage : public BlockOperator {
 public:
  DecodeImage(DecodeImageOptions options, std::shared_ptr<BadRows> bad_rows)
      : options_(std::move(options)),
        bad_rows_(std::move(bad_rows)),
        filter_(filter_named(options_.filter)),
        channels_(options_.grey ? 1 : 3),
        size_(options_.center_crop ? *options_.center_crop : *options_.resize) {
    for (std::size_t c = 0; c < options_.mean.size(); ++c) {
      scale_[c] = static_cast<float>(1.0 / (255.0 * options_.deviation[c]));
      shift_[c] = static_cast<float>(-options_.mean[c] / options_.deviation[c]);
    }
  }

  std::string describe() const override {
    return fmt::format("decode_image({} -> {} x {})", options_.column, size_.second, size_.first);
  }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    column_ = input->GetFieldIndex(options_.column);
    if (column_ < 0) {
      throw Error(ErrorCode::not_found, fmt::format("decode_image: no column '{}'", options_.column),
                  suggest(options_.column, input->field_names()));
    }
    if (input->field(column_)->type()->id() != arrow::Type::BINARY) {
      throw_invalid(fmt::format("decode_image: column '{}' is {}, not bytes", options_.column,
                                input->field(column_)->type()->ToString()));
    }
    const auto item = options_.mean.empty() ? arrow::uint8() : arrow::float32();
    type_ = arrow::fixed_size_list(arrow::field("item", item, false), static_cast<std::int32_t>(samples()));
    arrow::FieldVector fields = input->fields();
    replaced_ = input->GetFieldIndex(options_.into);
    if (replaced_ >= 0) {
      fields[static_cast<std::size_t>(replaced_)] = arrow::field(options_.into, type_);
    } else {
      fields.push_back(arrow::field(options_.into, type_));
    }
    schema_ = arrow::schema(std::move(fields));
    return schema_;
  }
  void change(Block& block) const override {
    auto images = options_.mean.empty() ? pixels<std::uint8_t>(block) : pixels<float>(block);
    arrow::ArrayVector arrays = block.batch->columns();
    if (replaced_ >= 0) {
      arrays[static_cast<std::size_t>(replaced_)] = std::move(images);
    } else {
      arrays.push_back(std::move(images));
    }
    block.batch = arrow::RecordBatch::Make(schema_, block.batch->num_rows(), std::move(arrays));
  }

 private:
  std::int64_t samples() const { return size_.first * size_.second * channels_; }

  /// Decodes the files of a block, out of which rows whose file can't be decoded are left.
  template <class T>
  std::shared_ptr<arrow::Array> pixels(Block& block) const {
    const auto column = block.batch->column(column_);
    const auto& files = static_cast<const arrow::BinaryArray&>(*column);
    std::shared_ptr<arrow::Buffer> buffer =
        take(arrow::AllocateBuffer(files.length() * samples() * static_cast<std::int64_t>(sizeof(T))), describe());
    T* out = reinterpret_cast<T*>(buffer->mutable_data());
    std::vector<std::uint8_t> present;
    std::vector<std::uint32_t> kept;
    for (std::int64_t row = 0; row < files.length(); ++row) {
      if (files.IsNull(row)) {
        std::fill_n(out, samples(), T{0});
      } else {
        try {
          place(prepared(files.GetView(row)), out);
        } catch (const Error& error) {
          fail_row(named(block, row), row, describe(), error, *bad_rows_);
          continue;
        }
      }
      out += samples();
      present.push_back(files.IsValid(row) ? 1 : 0);
      kept.push_back(static_cast<std::uint32_t>(row));
    }
    block.pick(kept, describe());
    std::shared_ptr<arrow::Buffer> validity;
    if (files.null_count() > 0) validity = take(arrow::internal::BytesToBits(present), describe());
    const auto item = type_->field(0)->type();
    const auto rows = static_cast<std::int64_t>(kept.size());
    auto items = arrow::MakeArray(arrow::ArrayData::Make(item, rows * samples(), {nullptr, std::move(buffer)}, 0));
    return std::make_shared<arrow::FixedSizeListArray>(type_, rows, std::move(items), std::move(validity),
                                                       files.null_count());
  }
  /// Names the file that a row's bytes came from where the column "path" tells it: more than the row's own place does.
  static Block named(const Block& block, std::int64_t row) {
    const auto paths = block.batch->GetColumnByName("path");
    if (paths == nullptr || paths->type_id() != arrow::Type::STRING || paths->IsNull(row)) return block;
    Block named{block.batch};
    named.file = std::make_shared<const std::string>(static_cast<const arrow::StringArray&>(*paths).GetView(row));
    return named;
  }
  image::Image prepared(std::string_view file) const {
    image::Image made = image::decode_image(file, "image");
    if (options_.grey) made = image::to_grey(made);
    if (options_.resize) made = image::resize(made, options_.resize->first, options_.resize->second, filter_);
    if (options_.shorter_side > 0) {
      // The longer side is cut to whole pixels, as torchvision's Resize(int) does.
      const std::int64_t shorter = std::min(made.height, made.width);
      made = image::resize(made, options_.shorter_side * made.height / shorter,
                           options_.shorter_side * made.width / shorter, filter_);
    }
    if (!options_.center_crop) return made;
    const auto [height, width] = *options_.center_crop;
    if (made.height < height || made.width < width) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("{} x {} pixels are too few for a crop of {} x {}", made.width, made.height, width, height),
          "resize first");
    }
    // Halves are rounded to even, as torchvision's CenterCrop does.
    const auto middle = [](std::int64_t rest) { return rest % 4 == 3 ? (rest + 1) / 2 : rest / 2; };
    return image::crop(made, middle(made.height - height), middle(made.width - width), height, width);
  }
  void place(const image::Image& from, std::uint8_t* out) const {
    if (!options_.channels_first || channels_ == 1) {
      std::copy(from.samples.begin(), from.samples.end(), out);
      return;
    }
    const std::int64_t plane = size_.first * size_.second;
    for (std::int64_t i = 0; i < plane; ++i) {
      for (std::int64_t c = 0; c < channels_; ++c)
        out[c * plane + i] = from.samples[static_cast<std::size_t>(i * channels_ + c)];
    }
  }
  void place(const image::Image& from, float* out) const {
    const std::int64_t plane = size_.first * size_.second;
    for (std::int64_t c = 0; c < channels_; ++c) {
      const float scale = scale_[static_cast<std::size_t>(c)];
      const float shift = shift_[static_cast<std::size_t>(c)];
      const std::uint8_t* sample = from.samples.data() + c;
      float* at = options_.channels_first ? out + c * plane : out + c;
      const std::int64_t step = options_.channels_first ? 1 : channels_;
      for (std::int64_t i = 0; i < plane; ++i, sample += channels_, at += step)
        *at = static_cast<float>(*sample) * scale + shift;
    }
  }

  DecodeImageOptions options_;
  std::shared_ptr<BadRows> bad_rows_;
  image::Filter filter_;
  std::int64_t channels_;
  std::pair<std::int64_t, std::int64_t> size_;
  std::array<float, 3> scale_{};
  std::array<float, 3> shift_{};
  int column_ = -1;
  int replaced_ = -1;
  std::shared_ptr<arrow::DataType> type_;
  std::shared_ptr<arrow::Schema> schema_;
};

}  // namespace

void DecodeImageOptions::validate() const {
  filter_named(filter);
  const auto check_size = [](const char* name, std::int64_t height, std::int64_t width) {
    if (height < 1 || width < 1 || height > kMaxSide || width > kMaxSide) {
      throw_invalid(
          fmt::format("decode_image: {} is {} x {}, but a side has 1 to {} pixels", name, height, width, kMaxSide));
    }
  };
  if (resize) check_size("resize", resize->first, resize->second);
  if (center_crop) check_size("center_crop", center_crop->first, center_crop->second);
  if (shorter_side != 0) check_size("shorter_side", shorter_side, shorter_side);
  if (resize && shorter_side != 0) throw_invalid("decode_image: resize and shorter_side exclude each other");
  if (!resize && !center_crop) {
    throw_invalid("decode_image: nothing says what size the images come out with", "set resize or center_crop");
  }
  const std::size_t channels = grey ? 1 : 3;
  if (mean.size() != deviation.size() || (!mean.empty() && mean.size() != channels)) {
    throw_invalid(fmt::format("decode_image: mean and deviation need {} numbers each", channels));
  }
  for (const double value : deviation) {
    if (!(value > 0)) throw_invalid(fmt::format("decode_image: a deviation of {} is not above 0", value));
  }
}

std::unique_ptr<BlockOperator> decode_image_operator(const DecodeImageOptions& options,
                                                     std::shared_ptr<BadRows> bad_rows) {
  options.validate();
  return std::make_unique<DecodeImage>(options, std::move(bad_rows));
}

}  // namespace mobula::data

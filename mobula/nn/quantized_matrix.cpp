#include "mobula/nn/quantized_matrix.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/nn/parallel_for.hpp"

namespace mobula::nn {
namespace {

constexpr std::int64_t kGroup = 64;

// The 16 quantiles of a normal distribution that QLoRA's appendix E gives.
constexpr std::array<float, 16> kNf4Levels = {-1.0f,
                                              -0.6961928009986877f,
                                              -0.5250730514526367f,
                                              -0.39491748809814453f,
                                              -0.28444138169288635f,
                                              -0.18477343022823334f,
                                              -0.09105003625154495f,
                                              0.0f,
                                              0.07958029955625534f,
                                              0.16093020141124725f,
                                              0.24611230194568634f,
                                              0.33791524171829224f,
                                              0.44070982933044434f,
                                              0.5626170039176941f,
                                              0.7229568362236023f,
                                              1.0f};

// How many numbers a word of 32 bits holds.
std::int64_t per_word(QuantizedFormat format) {
  return format == QuantizedFormat::int8 ? 4 : 8;
}

float round_to(float x, at::ScalarType type) {
  if (type == at::kBFloat16) return static_cast<float>(at::BFloat16(x));
  return type == at::kHalf ? static_cast<float>(at::Half(x)) : x;
}

// Rounds one group. Its scale is of the matrix's type: what is nearest is nearest under the rounded scale.
float round_group(const float* x, std::int64_t count, QuantizedFormat format, at::ScalarType type,
                  std::uint8_t* digits) {
  float extreme = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (std::abs(x[i]) > std::abs(extreme)) extreme = x[i];
  }
  // With 4 bits the largest number becomes -8, the only digit of that size, so that it is met exactly.
  const bool eight = format == QuantizedFormat::int8;
  const float scale = round_to(eight ? std::abs(extreme) / 127.0f : extreme / -8.0f, type);
  const long zero = eight ? 128 : 8, most = eight ? 255 : 15;
  for (std::int64_t i = 0; i < count; ++i) {
    const long digit = scale != 0.0f && std::isfinite(scale) ? std::lrint(x[i] / scale) : 0;
    digits[i] = static_cast<std::uint8_t>(std::clamp(zero + digit, 0L, most));
  }
  return scale;
}

QuantizedMatrix quantize_groups(const Array& weight, QuantizedFormat format) {
  const std::int64_t num_out = weight.size(0), num_in = weight.size(1);
  if (num_in % kGroup != 0) {
    throw_invalid(fmt::format("a matrix of {} inputs has no whole groups of {}", num_in, kGroup));
  }
  QuantizedMatrix result;
  result.format = format;
  result.num_out = num_out;
  result.num_in = num_in;
  result.type = weight.scalar_type();
  const std::int64_t groups = num_in / kGroup, words = num_in / per_word(format);
  const int bits = 32 / static_cast<int>(per_word(format));
  result.digits = Array::empty({num_out, words}, at::kInt);
  Array scales = Array::empty({num_out, groups}, at::kFloat);
  auto* out = result.digits.data_ptr<std::int32_t>();
  auto* scale = scales.data_ptr<float>();
  parallel_for(num_out, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> digits(static_cast<std::size_t>(num_in));
    for (std::int64_t row = begin; row < end; ++row) {
      const Array wide = weight.select(row).to(at::kFloat);
      const float* x = wide.const_data_ptr<float>();
      for (std::int64_t g = 0; g < groups; ++g) {
        scale[row * groups + g] =
            round_group(x + g * kGroup, kGroup, format, weight.scalar_type(), digits.data() + g * kGroup);
      }
      for (std::int64_t w = 0; w < words; ++w) {
        std::uint32_t word = 0;
        for (std::int64_t i = 0; i < per_word(format); ++i) {
          word |= std::uint32_t{digits[static_cast<std::size_t>(w * per_word(format) + i)]} << (i * bits);
        }
        out[row * words + w] = static_cast<std::int32_t>(word);
      }
    }
  });
  result.scales = scales.to(result.type);
  return result;
}

std::uint8_t nearest_level(float x) {
  // Between two levels lies the mean of both.
  std::uint8_t level = 0;
  while (level < 15 && x > 0.5f * (kNf4Levels[level] + kNf4Levels[level + 1])) ++level;
  return level;
}

QuantizedMatrix quantize_nf4(const Array& weight) {
  const std::int64_t count = weight.numel(), blocks = (count + kGroup - 1) / kGroup;
  QuantizedMatrix result;
  result.format = QuantizedFormat::nf4;
  result.num_out = weight.size(0);
  result.num_in = weight.size(1);
  result.type = weight.scalar_type();
  result.block = kGroup;
  result.digits = Array::empty({(count + 1) / 2}, at::kByte);
  std::memset(result.digits.data_ptr(), 0, result.digits.nbytes());
  result.scales = Array::empty({blocks}, at::kFloat);
  result.levels = Array::of(std::vector<float>(kNf4Levels.begin(), kNf4Levels.end()));
  const Array flat = weight.flatten();
  auto* out = result.digits.data_ptr<std::uint8_t>();
  auto* scales = result.scales.data_ptr<float>();
  parallel_for(blocks, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * kGroup, length = std::min(kGroup, count - first);
      const Array wide = flat.narrow(first, length).to(at::kFloat);
      const float* x = wide.const_data_ptr<float>();
      float largest = 0;
      for (std::int64_t i = 0; i < length; ++i) largest = std::max(largest, std::abs(x[i]));
      scales[block] = largest;
      const float inverse = largest > 0 ? 1.0f / largest : 0.0f;
      for (std::int64_t i = 0; i < length; ++i) {
        const std::uint8_t level = nearest_level(x[i] * inverse);
        out[(first + i) / 2] |= static_cast<std::uint8_t>(i % 2 == 0 ? level << 4 : level);
      }
    }
  });
  return result;
}

// What is wrong with a stored matrix, led by its file and name.
class Reader {
 public:
  Reader(const std::string& file, const std::string& name, const std::function<Array(const std::string&)>& part)
      : file_(file), module_(name.substr(0, name.rfind('.'))), part_(part) {}

  QuantizedMatrix read() const { return part_(module_ + ".weight_packed").defined() ? read_groups() : read_nf4(); }

 private:
  [[noreturn]] void bad(const std::string& part, const std::string& what) const {
    throw Error(ErrorCode::corrupt, fmt::format("{}: tensor '{}{}' {}", file_, module_, part, what));
  }
  Array need(const std::string& part, at::ScalarType type) const {
    const Array tensor = part_(module_ + part);
    if (!tensor.defined()) bad(part, "is missing: it belongs to a quantized matrix");
    if (tensor.scalar_type() != type) {
      bad(part, fmt::format("holds {}, expected {}", c10::toString(tensor.scalar_type()), c10::toString(type)));
    }
    return tensor;
  }

  QuantizedMatrix read_groups() const {
    for (const char* part : {".weight_zero_point", ".weight_g_idx"}) {
      if (part_(module_ + part).defined()) {
        throw Error(ErrorCode::unsupported,
                    fmt::format("{}: tensor '{}{}': only symmetric groups of inputs in their order are read", file_,
                                module_, part));
      }
    }
    QuantizedMatrix matrix;
    matrix.digits = need(".weight_packed", at::kInt);
    const Array shape = need(".weight_shape", at::kLong);
    if (shape.numel() != 2) bad(".weight_shape", "holds no two numbers");
    matrix.num_out = shape.const_data_ptr<std::int64_t>()[0];
    matrix.num_in = shape.const_data_ptr<std::int64_t>()[1];
    constexpr std::int64_t kMost = std::int64_t{1} << 31;
    if (matrix.num_out < 1 || matrix.num_in < 1 || matrix.num_out > kMost || matrix.num_in > kMost) {
      bad(".weight_shape", fmt::format("says [{}, {}]", matrix.num_out, matrix.num_in));
    }
    const auto words = [&](std::int64_t numbers) { return (matrix.num_in + numbers - 1) / numbers; };
    const Array& digits = matrix.digits;
    if (digits.dim() != 2 || digits.size(0) != matrix.num_out ||
        (digits.size(1) != words(4) && digits.size(1) != words(8))) {
      bad(".weight_packed", fmt::format("has the shape [{}], weight_shape says [{}, {}] in 4 or 8 bits",
                                        fmt::join(digits.sizes(), ", "), matrix.num_out, matrix.num_in));
    }
    matrix.format = digits.size(1) == words(4) ? QuantizedFormat::int8 : QuantizedFormat::int4;
    matrix.scales = part_(module_ + ".weight_scale");
    if (!matrix.scales.defined()) bad(".weight_scale", "is missing: it belongs to a quantized matrix");
    if (!matrix.scales.is_floating_point()) bad(".weight_scale", "holds no floating-point numbers");
    if (matrix.scales.dim() != 2 || matrix.scales.size(0) != matrix.num_out || matrix.scales.size(1) < 1 ||
        matrix.num_in % matrix.scales.size(1) != 0) {
      bad(".weight_scale", fmt::format("has the shape [{}], which fits no groups of [{}, {}]",
                                       fmt::join(matrix.scales.sizes(), ", "), matrix.num_out, matrix.num_in));
    }
    matrix.type = matrix.scales.scalar_type();
    return matrix;
  }

  QuantizedMatrix read_nf4() const {
    const std::string state_name = ".weight.quant_state.bitsandbytes__nf4";
    const Array text = need(state_name, at::kByte);
    constexpr std::int64_t kMostText = 4096;
    if (text.numel() > kMostText) bad(state_name, fmt::format("is {} bytes long", text.numel()));
    const Json state = parse_json(
        {reinterpret_cast<const char*>(text.const_data_ptr<std::uint8_t>()), static_cast<std::size_t>(text.numel())},
        fmt::format("{}: tensor '{}{}'", file_, module_, state_name), {.max_depth = 4});
    const auto positive = [&](const Json& value) {
      if (!value.is_number_integer() || value.get<std::int64_t>() < 1 ||
          value.get<std::int64_t>() > (std::int64_t{1} << 31)) {
        bad(state_name, fmt::format("says {}", to_line(state).substr(0, 200)));
      }
      return value.get<std::int64_t>();
    };
    const auto at = [&](const char* key) -> const Json& {
      if (!state.is_object() || !state.contains(key)) bad(state_name, fmt::format("has no '{}'", key));
      return state[key];
    };
    QuantizedMatrix matrix;
    matrix.format = QuantizedFormat::nf4;
    const Json& shape = at("shape");
    if (!shape.is_array() || shape.size() != 2) bad(state_name, "has no shape of two numbers");
    matrix.num_out = positive(shape[0]);
    matrix.num_in = positive(shape[1]);
    matrix.block = positive(at("blocksize"));
    matrix.type = type_of(state_name, at("dtype"));
    matrix.digits = need(".weight", at::kByte).flatten();
    matrix.levels = need(".weight.quant_map", at::kFloat).flatten();
    // Both sizes are below 2^31 each.
    const std::int64_t count = matrix.num_out * matrix.num_in, blocks = (count + matrix.block - 1) / matrix.block;
    if (matrix.digits.numel() != (count + 1) / 2) {
      bad(".weight",
          fmt::format("has {} bytes, its state says [{}, {}]", matrix.digits.numel(), matrix.num_out, matrix.num_in));
    }
    if (matrix.levels.numel() != 16) bad(".weight.quant_map", "has no 16 numbers");
    const Array largest = part_(module_ + ".weight.absmax");
    if (!largest.defined()) bad(".weight.absmax", "is missing: it belongs to a quantized matrix");
    if (largest.numel() != blocks) {
      bad(".weight.absmax", fmt::format("has {} numbers, expected {}", largest.numel(), blocks));
    }
    matrix.scales = largest.scalar_type() == at::kByte
                        ? unnested(largest.flatten(), state_name, positive(at("nested_blocksize")), at("nested_offset"))
                        : need(".weight.absmax", at::kFloat).flatten();
    return matrix;
  }

  // The scales rounded to 8 bits themselves ("double quantization").
  Array unnested(const Array& digits, const std::string& state_name, std::int64_t block, const Json& offset) const {
    const Array levels = need(".weight.nested_quant_map", at::kFloat).flatten();
    const Array largest = need(".weight.nested_absmax", at::kFloat).flatten();
    if (levels.numel() != 256) bad(".weight.nested_quant_map", "has no 256 numbers");
    if (largest.numel() != (digits.numel() + block - 1) / block) {
      bad(".weight.nested_absmax", fmt::format("has {} numbers", largest.numel()));
    }
    if (!offset.is_number()) bad(state_name, "has no number 'nested_offset'");
    const auto shift = offset.get<float>();
    Array scales = Array::empty({digits.numel()}, at::kFloat);
    auto* out = scales.data_ptr<float>();
    for (std::int64_t i = 0; i < digits.numel(); ++i) {
      const std::uint8_t digit = digits.const_data_ptr<std::uint8_t>()[i];
      out[i] = levels.const_data_ptr<float>()[digit] * largest.const_data_ptr<float>()[i / block] + shift;
    }
    return scales;
  }

  at::ScalarType type_of(const std::string& part, const Json& name) const {
    if (name == "float32") return at::kFloat;
    if (name == "bfloat16") return at::kBFloat16;
    if (name == "float16") return at::kHalf;
    bad(part, fmt::format("has the dtype {}", to_line(name).substr(0, 40)));
  }

  const std::string& file_;
  std::string module_;
  const std::function<Array(const std::string&)>& part_;
};

}  // namespace

std::string_view to_string(QuantizedFormat format) {
  switch (format) {
    case QuantizedFormat::int8:
      return "int8";
    case QuantizedFormat::int4:
      return "int4";
    case QuantizedFormat::nf4:
      return "nf4";
  }
  throw_internal("no such format");
}

Array QuantizedMatrix::dequantize() const {
  Array result = Array::empty({num_out, num_in}, type);
  const Array wide_scales = scales.to(at::kFloat);
  const float* scale = wide_scales.const_data_ptr<float>();
  auto* target = static_cast<std::byte*>(result.data_ptr());
  const std::size_t row_bytes = static_cast<std::size_t>(num_in) * element_size(type);
  parallel_for(num_out, 16, [&](std::int64_t begin, std::int64_t end) {
    // A run of rows at a time is widened, so that the whole matrix never is.
    Array row = Array::empty({num_in}, at::kFloat);
    auto* x = row.data_ptr<float>();
    for (std::int64_t out = begin; out < end; ++out) {
      if (format == QuantizedFormat::nf4) {
        const auto* bytes = digits.const_data_ptr<std::uint8_t>();
        const float* level = levels.const_data_ptr<float>();
        for (std::int64_t i = 0; i < num_in; ++i) {
          const std::int64_t place = out * num_in + i;
          x[i] = level[bytes[place / 2] >> (place % 2 == 0 ? 4 : 0) & 15] * scale[place / block];
        }
      } else {
        const std::int64_t each = per_word(format), bits = 32 / each, groups = scales.size(1), group = num_in / groups;
        const std::int32_t zero = format == QuantizedFormat::int8 ? 128 : 8;
        const auto* words = digits.const_data_ptr<std::int32_t>() + out * digits.size(1);
        for (std::int64_t i = 0; i < num_in; ++i) {
          const auto digit = static_cast<std::uint32_t>(words[i / each]) >> (i % each * bits) & ((1u << bits) - 1);
          x[i] = static_cast<float>(static_cast<std::int32_t>(digit) - zero) * scale[out * groups + i / group];
        }
      }
      std::memcpy(target + static_cast<std::size_t>(out) * row_bytes, row.to(type).const_data_ptr(), row_bytes);
    }
  });
  return result;
}

QuantizedMatrix QuantizedMatrix::select_rows(const std::function<Array(const Array&)>& rows) const {
  if (!has_rows()) throw_internal("the rows of an NF4 matrix don't lie by themselves");
  QuantizedMatrix result = *this;
  result.digits = rows(digits);
  result.scales = rows(scales);
  result.num_out = result.digits.size(0);
  return result;
}

QuantizedMatrix quantize_matrix(const Array& weight, QuantizedFormat format) {
  if (weight.dim() != 2 || !weight.is_floating_point()) throw_invalid("only matrices of numbers can be quantized");
  return format == QuantizedFormat::nf4 ? quantize_nf4(weight) : quantize_groups(weight, format);
}

std::vector<NamedArray> stored_tensors(const std::string& name, const QuantizedMatrix& matrix) {
  const std::string module = name.substr(0, name.rfind('.'));
  if (matrix.format != QuantizedFormat::nf4) {
    return {{module + ".weight_packed", matrix.digits},
            {module + ".weight_scale", matrix.scales},
            {module + ".weight_shape", Array::of(std::vector<std::int64_t>{matrix.num_out, matrix.num_in})}};
  }
  const char* type = matrix.type == at::kBFloat16 ? "bfloat16" : matrix.type == at::kHalf ? "float16" : "float32";
  const std::string state = to_line({{"quant_type", "nf4"},
                                     {"blocksize", matrix.block},
                                     {"dtype", type},
                                     {"shape", {matrix.num_out, matrix.num_in}}});
  Array text = Array::empty({static_cast<std::int64_t>(state.size())}, at::kByte);
  std::memcpy(text.data_ptr<std::uint8_t>(), state.data(), state.size());
  return {{name, matrix.digits.reshaped({matrix.digits.numel(), 1})},
          {name + ".absmax", matrix.scales},
          {name + ".quant_map", matrix.levels},
          {name + ".quant_state.bitsandbytes__nf4", text}};
}

const std::vector<std::string>& quantized_part_names() {
  static const std::vector<std::string> names = {".weight_packed",
                                                 ".weight_scale",
                                                 ".weight_shape",
                                                 ".weight_zero_point",
                                                 ".weight_g_idx",
                                                 ".weight",
                                                 ".weight.absmax",
                                                 ".weight.quant_map",
                                                 ".weight.nested_absmax",
                                                 ".weight.nested_quant_map",
                                                 ".weight.quant_state.bitsandbytes__nf4"};
  return names;
}

std::string quantized_name(std::string_view stored) {
  for (const std::string_view end : {".weight_packed", ".weight.quant_state.bitsandbytes__nf4"}) {
    if (stored.ends_with(end)) return std::string(stored.substr(0, stored.size() - end.size())) + ".weight";
  }
  return {};
}

std::shared_ptr<const QuantizedMatrix> read_quantized(const std::string& file, const std::string& name,
                                                      const std::function<Array(const std::string&)>& part) {
  return std::make_shared<const QuantizedMatrix>(Reader(file, name, part).read());
}

}  // namespace mobula::nn

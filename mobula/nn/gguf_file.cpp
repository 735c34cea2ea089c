#include "mobula/nn/gguf_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/nn/parallel_for.hpp"

namespace mobula::nn {
namespace {

constexpr std::uint64_t kMaxKey = 65535, kMaxText = std::uint64_t{64} << 20, kMaxAlignment = 1 << 20;
constexpr std::uint32_t kMaxDimensions = 4;
constexpr std::int64_t kMaxNumbers = std::int64_t{1} << 50;

// The types of metadata.
enum : std::uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kText, kArray, kU64, kI64, kF64 };

class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {} (byte {})", name_, what, at_));
  }
  std::uint64_t place() const { return at_; }
  std::uint64_t left() const { return bytes_.size() - at_; }

  template <class T>
  T number() {
    T value;
    if (sizeof value > left()) fail("the header is cut off");
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string text(std::uint64_t limit) {
    const auto size = number<std::uint64_t>();
    if (size > limit || size > left()) fail(fmt::format("a text of {} bytes doesn't fit", size));
    std::string value(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
    at_ += size;
    return value;
  }
  // Reads a count of things that take at least `each` bytes.
  std::uint64_t count(std::uint64_t each, std::string_view what) {
    const auto value = number<std::uint64_t>();
    if (value > left() / each) fail(fmt::format("{} {} don't fit into the file", value, what));
    return value;
  }

  std::int64_t integer(std::uint32_t type) {
    switch (type) {
      case kU8:
        return number<std::uint8_t>();
      case kI8:
        return number<std::int8_t>();
      case kU16:
        return number<std::uint16_t>();
      case kI16:
        return number<std::int16_t>();
      case kU32:
        return number<std::uint32_t>();
      case kI32:
        return number<std::int32_t>();
      case kU64: {
        const auto value = number<std::uint64_t>();
        if (value > INT64_MAX) fail("a number over 2^63");
        return static_cast<std::int64_t>(value);
      }
      case kI64:
        return number<std::int64_t>();
      default:
        fail(fmt::format("metadata of the unknown type {}", type));
    }
  }
  bool boolean() {
    const auto value = number<std::uint8_t>();
    if (value > 1) fail("a boolean that is neither 0 nor 1");
    return value == 1;
  }
  double real(std::uint32_t type) { return type == kF32 ? static_cast<double>(number<float>()) : number<double>(); }

  GgufValue value(std::uint32_t type) {
    if (type == kBool) return boolean();
    if (type == kText) return text(kMaxText);
    if (type == kF32 || type == kF64) return real(type);
    if (type == kArray) return array();
    return integer(type);
  }

 private:
  GgufValue array() {
    const auto type = number<std::uint32_t>();
    if (type == kArray) fail("a list of lists");
    if (type == kText) {
      std::vector<std::string> values(count(8, "texts"));
      for (std::string& value : values) value = text(kMaxText);
      return values;
    }
    if (type == kF32 || type == kF64) {
      std::vector<double> values(count(type == kF32 ? 4 : 8, "numbers"));
      for (double& value : values) value = real(type);
      return values;
    }
    std::vector<std::int64_t> values(count(1, "numbers"));
    for (std::int64_t& value : values) value = type == kBool ? boolean() : integer(type);
    return values;
  }

  std::span<const std::byte> bytes_;
  std::string_view name_;
  std::uint64_t at_ = 0;
};

GgufEntry read_entry(Reader& in) {
  GgufEntry entry;
  entry.info.name = in.text(kMaxKey);
  const auto bad = [&](const std::string& what) {
    in.fail(fmt::format("tensor '{}' {}", entry.info.name.substr(0, 200), what));
  };
  const auto num_dimensions = in.number<std::uint32_t>();
  if (num_dimensions > kMaxDimensions) bad(fmt::format("has {} dimensions", num_dimensions));
  std::int64_t numbers = 1;
  for (std::uint32_t d = 0; d < num_dimensions; ++d) {
    const auto size = in.number<std::uint64_t>();
    if (size == 0 || size > kMaxNumbers || __builtin_mul_overflow(numbers, static_cast<std::int64_t>(size), &numbers) ||
        numbers > kMaxNumbers) {
      bad(fmt::format("has a dimension of {}", size));
    }
    entry.info.shape.insert(entry.info.shape.begin(), static_cast<std::int64_t>(size));  // the innermost comes first
  }
  const auto type = in.number<std::uint32_t>();
  entry.type = find_gguf_type(type);
  if (entry.type == nullptr) {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("tensor '{}' has the GGUF type {}, which is not supported", entry.info.name.substr(0, 200), type),
        "known: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K");
  }
  const std::int64_t row = entry.info.shape.empty() ? 1 : entry.info.shape.back();
  if (row % entry.type->block_numbers != 0) {
    bad(fmt::format("has rows of {}, no multiple of {}'s blocks of {}", row, entry.type->name,
                    entry.type->block_numbers));
  }
  entry.info.stored_type = entry.type->name;
  entry.info.type = entry.type->name == "F16" ? at::kHalf : entry.type->name == "BF16" ? at::kBFloat16 : at::kFloat;
  entry.info.num_bytes = static_cast<std::uint64_t>(numbers / entry.type->block_numbers * entry.type->block_bytes);
  entry.begin = in.number<std::uint64_t>();  // from the data's beginning, for now
  return entry;
}

}  // namespace

template <class T>
const T* GgufMetadata::find(const std::string& key, std::string_view expected) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) throw Error(ErrorCode::corrupt, fmt::format("{}: {} is no {}", file_, key, expected));
  return value;
}

std::optional<std::int64_t> GgufMetadata::integer(const std::string& key) const {
  const auto* value = find<std::int64_t>(key, "whole number");
  return value == nullptr ? std::nullopt : std::optional(*value);
}
std::optional<double> GgufMetadata::number(const std::string& key) const {
  const auto found = values_.find(key);
  if (found != values_.end() && std::holds_alternative<std::int64_t>(found->second)) {
    return static_cast<double>(std::get<std::int64_t>(found->second));
  }
  const auto* value = find<double>(key, "number");
  if (value != nullptr && !std::isfinite(*value)) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {} is not finite", file_, key));
  }
  return value == nullptr ? std::nullopt : std::optional(*value);
}
std::optional<bool> GgufMetadata::boolean(const std::string& key) const {
  const auto* value = find<bool>(key, "boolean");
  return value == nullptr ? std::nullopt : std::optional(*value);
}
std::optional<std::string> GgufMetadata::text(const std::string& key) const {
  const auto* value = find<std::string>(key, "text");
  return value == nullptr ? std::nullopt : std::optional(*value);
}
const std::vector<std::string>* GgufMetadata::texts(const std::string& key) const {
  return find<std::vector<std::string>>(key, "list of texts");
}
const std::vector<std::int64_t>* GgufMetadata::integers(const std::string& key) const {
  return find<std::vector<std::int64_t>>(key, "list of whole numbers");
}
const std::vector<double>* GgufMetadata::numbers(const std::string& key) const {
  return find<std::vector<double>>(key, "list of numbers");
}

GgufHeader parse_gguf(std::span<const std::byte> file, std::string_view name) {
  Reader in(file, name);
  if (file.size() < 24 || std::memcmp(file.data(), "GGUF", 4) != 0) in.fail("no GGUF file");
  in.number<std::uint32_t>();
  const auto version = in.number<std::uint32_t>();
  if (version != 2 && version != 3) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: GGUF version {}, expected 2 or 3", name, version));
  }
  const auto num_tensors = in.count(24, "tensors");  // name's length, dimensions, type, offset
  const auto num_keys = in.count(13, "keys");
  GgufHeader header{GgufMetadata(std::string(name)), {}};
  for (std::uint64_t i = 0; i < num_keys; ++i) {
    std::string key = in.text(kMaxKey);
    const auto type = in.number<std::uint32_t>();
    std::string shown = key.substr(0, 200);
    if (!header.metadata.add(std::move(key), in.value(type))) in.fail(fmt::format("the key '{}' occurs twice", shown));
  }
  const std::int64_t alignment = header.metadata.integer("general.alignment").value_or(32);
  if (alignment < 1 || static_cast<std::uint64_t>(alignment) > kMaxAlignment ||
      !std::has_single_bit(static_cast<std::uint64_t>(alignment))) {
    in.fail(fmt::format("general.alignment is {}", alignment));
  }
  try {
    for (std::uint64_t i = 0; i < num_tensors; ++i) header.entries.push_back(read_entry(in));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::unsupported) throw;
    throw Error(error.code(), fmt::format("{}: {}", name, error.message()), error.hint());
  }
  const auto step = static_cast<std::uint64_t>(alignment);
  const std::uint64_t data = (in.place() + step - 1) / step * step;
  std::unordered_map<std::string_view, int> names;
  std::vector<const GgufEntry*> order;
  for (GgufEntry& entry : header.entries) {
    const auto bad = [&](const std::string& what) {
      in.fail(fmt::format("tensor '{}' {}", entry.info.name.substr(0, 200), what));
    };
    if (!names.emplace(entry.info.name, 0).second) bad("occurs twice");
    if (entry.begin % step != 0) bad(fmt::format("begins at byte {}, no multiple of {}", entry.begin, step));
    if (data > file.size() || entry.begin > file.size() - data ||
        entry.info.num_bytes > file.size() - data - entry.begin) {
      bad(fmt::format("lies at bytes {} to {} of the data, the file has {}: truncated?", entry.begin,
                      entry.begin + entry.info.num_bytes, data > file.size() ? 0 : file.size() - data));
    }
    entry.begin += data;
    order.push_back(&entry);
  }
  std::ranges::sort(order, {}, &GgufEntry::begin);
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->begin + order[i - 1]->info.num_bytes > order[i]->begin) {
      in.fail(fmt::format("tensor '{}' overlaps the one before it", order[i]->info.name.substr(0, 200)));
    }
  }
  return header;
}

GgufFile::GgufFile(const std::filesystem::path& path)
    : path_(path), mapping_(std::make_shared<MappedFile>(path)), header_(parse_gguf(mapping_->bytes(), path.string())) {
  for (const GgufEntry& entry : header_.entries) infos_.push_back(entry.info);
  for (std::size_t i = 0; i < infos_.size(); ++i) by_name_.emplace(infos_[i].name, i);
}

Array GgufFile::tensor(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) throw_no_tensor(*this, name);
  const GgufEntry& entry = header_.entries[found->second];
  const GgufType& type = *entry.type;
  const std::byte* address = mapping_->bytes().data() + entry.begin;
  const bool aligned = reinterpret_cast<std::uintptr_t>(address) % element_size(entry.info.type) == 0;
  if (type.block_numbers == 1 && aligned) return {address, entry.info.shape, entry.info.type, mapping_};
  Array result = Array::empty(entry.info.shape, at::kFloat);
  auto* out = result.data_ptr<float>();
  parallel_for(result.numel() / type.block_numbers, 4096, [&](std::int64_t begin, std::int64_t end) {
    type.to_float(address + begin * type.block_bytes, end - begin, out + begin * type.block_numbers);
  });
  return result.to(entry.info.type);
}

}  // namespace mobula::nn

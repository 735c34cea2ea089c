#include "mobula/nn/safetensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <unordered_set>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"

namespace mobula::nn {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit
constexpr std::size_t kMaxDimensions = 64;

constexpr std::array<std::pair<std::string_view, at::ScalarType>, 15> kTypes = {{
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I16", at::kShort},
    {"I8", at::kChar},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
    {"U16", at::kUInt16},
    {"U32", at::kUInt32},
    {"U64", at::kUInt64},
}};

// Receives the header's JSON token by token, so that no tree is built and nesting and duplicates are seen at once.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string_view file) : file_(file) {}

  std::vector<SafetensorsEntry> entries;
  std::map<std::string, std::string> metadata;

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::shape) {
      if (current_.shape.size() == kMaxDimensions) fail(fmt::format("has more than {} dimensions", kMaxDimensions));
      if (value > std::uint64_t{1} << 62) fail(fmt::format("has a dimension of {}", value));
      current_.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ == Place::offsets && num_offsets_ < 2) {
      (num_offsets_++ == 0 ? current_.begin : current_.end) = value;
      return true;
    }
    return refuse("a number");
  }
  bool number_float(number_float_t, const string_t&) override { return refuse("a fraction"); }
  bool string(string_t& value) override {
    if (place_ == Place::metadata) {
      metadata.insert_or_assign(key_, value);
      return true;
    }
    if (place_ == Place::tensor && key_ == "dtype") {
      const auto found = std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return t.first == value; });
      if (found == kTypes.end()) {
        throw Error(ErrorCode::unsupported, fmt::format("{}: tensor '{}' has the type '{}', which is not supported",
                                                        file_, current_.name, value.substr(0, 40)));
      }
      current_.type = found->second;
      return true;
    }
    return refuse("a string");
  }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) {
      place_ = Place::top;
    } else if (place_ == Place::top && key_ == "__metadata__") {
      place_ = Place::metadata;
    } else if (place_ == Place::top) {
      place_ = Place::tensor;
      current_ = {.name = key_};
      num_offsets_ = 0;
      seen_keys_ = 0;
    } else {
      return refuse("an object");
    }
    return true;
  }
  bool key(string_t& value) override {
    if (place_ == Place::top && !names_.insert(value).second) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("{}: tensor '{}' occurs twice in the header", file_, value.substr(0, 200)));
    }
    if (place_ == Place::tensor) {
      const unsigned bit = value == "dtype" ? 1 : value == "shape" ? 2 : value == "data_offsets" ? 4 : 0;
      if (bit == 0) fail(fmt::format("has the unknown key '{}'", value.substr(0, 80)));
      if ((seen_keys_ & bit) != 0) fail(fmt::format("has the key '{}' twice", value));
      seen_keys_ |= bit;
    }
    key_ = value;
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) {
      if (seen_keys_ != 7) fail("lacks one of dtype, shape, data_offsets");
      if (num_offsets_ != 2) fail("needs two data_offsets");
      entries.push_back(std::move(current_));
    }
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ == Place::tensor && key_ == "shape") {
      place_ = Place::shape;
    } else if (place_ == Place::tensor && key_ == "data_offsets") {
      place_ = Place::offsets;
    } else {
      return refuse("an array");
    }
    return true;
  }
  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    throw Error(ErrorCode::corrupt, fmt::format("{}: the header is no JSON at byte {}", file_, position));
  }

 private:
  enum class Place { outside, top, metadata, tensor, shape, offsets };

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::corrupt, fmt::format("{}: tensor '{}' {}", file_, current_.name.substr(0, 200), what));
  }
  bool refuse(std::string_view found) const {
    throw Error(ErrorCode::corrupt, fmt::format("{}: the header holds {} under '{}' where none belongs", file_, found,
                                                key_.substr(0, 200)));
  }

  std::string_view file_;
  Place place_ = Place::outside;
  std::string key_;
  SafetensorsEntry current_;
  int num_offsets_ = 0;
  unsigned seen_keys_ = 0;
  std::unordered_set<std::string> names_;
};

// Returns the number of bytes of the entry's shape, or nothing where it (or, beside an empty dimension, the strides that go
// with it) doesn't fit 62 bits.
std::optional<std::uint64_t> num_bytes(const SafetensorsEntry& entry) {
  std::uint64_t total = element_size(entry.type);
  bool empty = false;
  for (const std::int64_t size : entry.shape) {
    empty |= size == 0;
    if (size != 0 && __builtin_mul_overflow(total, static_cast<std::uint64_t>(size), &total)) return std::nullopt;
  }
  if (total > std::uint64_t{1} << 62) return std::nullopt;
  return empty ? 0 : total;
}

}  // namespace

std::string_view safetensors_type(at::ScalarType type) {
  for (const auto& [name, known] : kTypes) {
    if (known == type) return name;
  }
  throw Error(ErrorCode::unsupported, fmt::format("safetensors has no type for {}", c10::toString(type)));
}

std::vector<SafetensorsEntry> parse_safetensors(std::span<const std::byte> file, std::string_view name,
                                                std::map<std::string, std::string>* metadata) {
  const auto corrupt = [&](const std::string& what) {
    return Error(ErrorCode::corrupt, fmt::format("{}: {}", name, what));
  };
  if (file.size() < 8) throw corrupt(fmt::format("{} bytes are too few for a safetensors file", file.size()));
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), 8);
  if (header_size > kMaxHeader) {
    throw corrupt(fmt::format("the header would take {} bytes, at most {} are allowed: no safetensors file?",
                              header_size, kMaxHeader));
  }
  if (header_size > file.size() - 8) {
    throw corrupt(fmt::format("the header takes {} bytes, the file has {}: truncated?", header_size, file.size() - 8));
  }
  const auto* text = reinterpret_cast<const char*>(file.data()) + 8;
  if (header_size == 0 || text[0] != '{') throw corrupt("the header doesn't start with '{'");
  HeaderReader reader(name);
  nlohmann::json::sax_parse(text, text + header_size, &reader);

  const std::uint64_t data_size = file.size() - 8 - header_size;
  std::vector<SafetensorsEntry>& entries = reader.entries;
  std::stable_sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    const auto bad = [&](const std::string& what) {
      return corrupt(fmt::format("tensor '{}' {}", entry.name.substr(0, 200), what));
    };
    if (entry.begin > entry.end || entry.end > data_size) {
      throw bad(fmt::format("lies at bytes {} to {} of {}: truncated?", entry.begin, entry.end, data_size));
    }
    const auto wanted = num_bytes(entry);
    if (!wanted || *wanted != entry.end - entry.begin) {
      throw bad(fmt::format("has {} bytes, its shape [{}] needs {}", entry.end - entry.begin,
                            fmt::join(entry.shape, ", "),
                            wanted ? std::to_string(*wanted) : "more than an address can hold"));
    }
    if (entry.begin < covered) throw bad(fmt::format("overlaps the tensor before it at byte {}", entry.begin));
    if (entry.begin > covered) throw bad(fmt::format("leaves a hole before it: bytes {} to {}", covered, entry.begin));
    covered = entry.end;
  }
  if (covered != data_size)
    throw corrupt(fmt::format("{} bytes after the last tensor belong to none", data_size - covered));
  if (metadata != nullptr) *metadata = std::move(reader.metadata);
  return std::move(entries);
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path), mapping_(std::make_shared<MappedFile>(path)) {
  entries_ = parse_safetensors(mapping_->bytes(), path.string(), &metadata_);
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, mapping_->bytes().data(), 8);
  data_ = mapping_->bytes().data() + 8 + header_size;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const SafetensorsEntry& entry = entries_[i];
    by_name_.emplace(entry.name, i);
    infos_.push_back({.name = entry.name,
                      .stored_type = std::string(safetensors_type(entry.type)),
                      .type = entry.type,
                      .shape = entry.shape,
                      .num_bytes = entry.end - entry.begin});
  }
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &entries_[found->second];
}

Array SafetensorsFile::tensor(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (entry == nullptr) throw_no_tensor(*this, name);
  const std::byte* address = data_ + entry->begin;
  if (reinterpret_cast<std::uintptr_t>(address) % element_size(entry->type) == 0) {
    return {address, entry->shape, entry->type, mapping_};
  }
  return Array::copy_of(address, entry->shape, entry->type);
}

}  // namespace mobula::nn

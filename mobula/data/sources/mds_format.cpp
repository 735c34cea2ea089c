#include "mobula/data/sources/mds_format.hpp"

#include <arrow/type.h>
#include <arrow/type_traits.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <xxhash.h>

#include <algorithm>
#include <filesystem>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/data/sources/value_parsing.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kMaxIndexBytes = std::size_t{1} << 30;
constexpr std::int64_t kMaxArrayElements = std::int64_t{1} << 28;

/// Reads members of the index with their place in what is thrown.
class IndexReader {
 public:
  explicit IndexReader(std::string file) : file_(std::move(file)) {}
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {}", file_, message));
  }
  const Json& member(const Json& object, const char* key) const {
    if (!object.is_object() || !object.contains(key)) fail(fmt::format("'{}' is missing", key));
    return object[key];
  }
  std::string text(const Json& object, const char* key) const {
    const Json& value = member(object, key);
    if (!value.is_string()) fail(fmt::format("'{}' is no string", key));
    return value.get<std::string>();
  }
  std::int64_t count(const Json& object, const char* key) const {
    const Json& value = member(object, key);
    if (!value.is_number_integer() || value.get<std::int64_t>() < 0) fail(fmt::format("'{}' is no count", key));
    return value.get<std::int64_t>();
  }
  MdsFile file(const Json& object, const char* key) const {
    const Json& value = member(object, key);
    if (value.is_null()) return {};
    MdsFile file{text(value, "basename"), static_cast<std::uint64_t>(count(value, "bytes")), {}};
    if (file.name.empty() || file.name.find('/') != std::string::npos || file.name == "..") {
      fail(fmt::format("'basename' is '{}', no plain file name", file.name));
    }
    const Json& hashes = member(value, "hashes");
    if (!hashes.is_object()) fail("'hashes' is no object");
    for (const auto& [algorithm, digest] : hashes.items()) {
      if (!digest.is_string()) fail("a hash is no string");
      file.hashes.emplace(algorithm, digest.get<std::string>());
    }
    return file;
  }
  std::vector<MdsColumn> columns(const Json& shard) const {
    const Json& names = member(shard, "column_names");
    const Json& encodings = member(shard, "column_encodings");
    const Json& sizes = member(shard, "column_sizes");
    if (!names.is_array() || !encodings.is_array() || !sizes.is_array() || names.size() != encodings.size() ||
        names.size() != sizes.size()) {
      fail("'column_names', 'column_encodings' and 'column_sizes' are no lists of one length");
    }
    std::vector<MdsColumn> columns;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (!names[i].is_string() || !encodings[i].is_string()) fail("a column's name or encoding is no string");
      MdsColumn column{names[i].get<std::string>(), encodings[i].get<std::string>(), -1};
      if (sizes[i].is_number_integer()) column.size = sizes[i].get<std::int64_t>();
      if (!sizes[i].is_null() && column.size <= 0) fail(fmt::format("column '{}' has no size", column.name));
      columns.push_back(std::move(column));
    }
    return columns;
  }

 private:
  std::string file_;
};

struct ScalarEncoding {
  const char* name;
  arrow::Type::type type;
};
constexpr ScalarEncoding kScalars[] = {
    {"uint8", arrow::Type::UINT8},   {"uint16", arrow::Type::UINT16},  {"uint32", arrow::Type::UINT32},
    {"uint64", arrow::Type::UINT64}, {"int8", arrow::Type::INT8},      {"int16", arrow::Type::INT16},
    {"int32", arrow::Type::INT32},   {"int64", arrow::Type::INT64},    {"float16", arrow::Type::HALF_FLOAT},
    {"float32", arrow::Type::FLOAT}, {"float64", arrow::Type::DOUBLE},
};

std::shared_ptr<arrow::DataType> scalar_type(std::string_view name) {
  for (const auto& scalar : kScalars) {
    if (name == scalar.name) {
      static const arrow::DataTypeVector primitives = [] {
        arrow::DataTypeVector types = arrow::NumericTypes();
        types.push_back(arrow::float16());
        return types;
      }();
      const auto found = std::find_if(primitives.begin(), primitives.end(),
                                      [&scalar](const auto& type) { return type->id() == scalar.type; });
      return *found;
    }
  }
  return nullptr;
}

}  // namespace

std::vector<MdsShard> read_mds_index(const std::string& directory) {
  const std::string file = (std::filesystem::path(directory) / "index.json").string();
  const IndexReader reader(file);
  const Json document = parse_json(read_stored(file, kMaxIndexBytes), file);
  const Json& entries = reader.member(document, "shards");
  if (!entries.is_array()) reader.fail("'shards' is no list");
  std::vector<MdsShard> shards;
  for (const Json& entry : entries) {
    if (reader.count(entry, "version") != 2 || reader.text(entry, "format") != "mds") {
      throw Error(ErrorCode::unsupported, fmt::format("{}: a shard of another format than MDS, version 2", file));
    }
    MdsShard shard;
    shard.columns = reader.columns(entry);
    const Json& compression = reader.member(entry, "compression");
    if (compression.is_string()) shard.compression = compression.get<std::string>();
    shard.raw = reader.file(entry, "raw_data");
    shard.zipped = reader.file(entry, "zip_data");
    shard.samples = reader.count(entry, "samples");
    if (shard.raw.name.empty()) reader.fail("'raw_data' is null");
    shards.push_back(std::move(shard));
  }
  if (shards.empty()) reader.fail("no shards: no columns either");
  return shards;
}

std::shared_ptr<arrow::DataType> mds_type(std::string_view encoding) {
  if (encoding == "str" || encoding == "json" || encoding == "str_int" || encoding == "str_float" ||
      encoding == "str_decimal") {
    return arrow::utf8();
  }
  if (encoding == "bytes" || encoding == "jpeg" || encoding == "png") return arrow::binary();
  if (encoding == "int") return arrow::int64();
  if (auto type = scalar_type(encoding)) return type;
  if (!encoding.starts_with("ndarray:")) return nullptr;
  encoding.remove_prefix(8);
  const std::size_t colon = encoding.find(':');
  if (colon == std::string_view::npos) return nullptr;
  const auto item = scalar_type(encoding.substr(0, colon));
  std::int64_t elements = 1;
  for (std::string_view shape = encoding.substr(colon + 1);;) {
    const std::size_t comma = shape.find(',');
    std::int64_t size = 0;
    if (!parse_int64(shape.substr(0, comma), size) || size < 1 || size > kMaxArrayElements / elements) return nullptr;
    elements *= size;
    if (comma == std::string_view::npos) break;
    shape.remove_prefix(comma + 1);
  }
  return item == nullptr ? nullptr : arrow::fixed_size_list(item, static_cast<std::int32_t>(elements));
}

std::pair<std::string, std::int64_t> mds_encoding(const arrow::DataType& type) {
  if (type.id() == arrow::Type::STRING) return {"str", -1};
  if (type.id() == arrow::Type::BINARY) return {"bytes", -1};
  for (const auto& scalar : kScalars) {
    if (type.id() == scalar.type) return {scalar.name, arrow::bit_width(type.id()) / 8};
  }
  if (type.id() == arrow::Type::FIXED_SIZE_LIST) {
    const auto& list = static_cast<const arrow::FixedSizeListType&>(type);
    const auto [item, size] = mds_encoding(*list.value_type());
    if (size > 0 && list.list_size() > 0 && list.value_type()->id() != arrow::Type::FIXED_SIZE_LIST) {
      return {fmt::format("ndarray:{}:{}", item, list.list_size()), size * list.list_size()};
    }
  }
  return {};
}

std::string mds_digest(const std::string& algorithm, std::string_view bytes) {
  if (algorithm == "xxh64") return fmt::format("{:016x}", XXH64(bytes.data(), bytes.size(), 0));
  if (algorithm == "xxh32") return fmt::format("{:08x}", XXH32(bytes.data(), bytes.size(), 0));
  if (algorithm == "xxh3_64") return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size()));
  if (algorithm == "xxh128" || algorithm == "xxh3_128") {
    const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
  }
  std::string name = algorithm;  // hashlib writes sha3_256 and blake2b, OpenSSL SHA3-256 and BLAKE2b512
  std::replace(name.begin(), name.end(), '_', '-');
  if (name == "blake2b") name = "blake2b512";
  if (name == "blake2s") name = "blake2s256";
  const EVP_MD* const digest = EVP_get_digestbyname(name.c_str());
  unsigned char value[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (digest == nullptr || EVP_Digest(bytes.data(), bytes.size(), value, &size, digest, nullptr) != 1) return {};
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", value[i]);
  return text;
}

}  // namespace mobula::data

#include "mobula/data/blocks/type_names.hpp"

#include <arrow/type.h>
#include <fmt/format.h>

#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula::data {
namespace {

const std::vector<std::pair<std::string, std::shared_ptr<arrow::DataType>>>& named_types() {
  static const std::vector<std::pair<std::string, std::shared_ptr<arrow::DataType>>> types = {
      {"bool", arrow::boolean()},
      {"int8", arrow::int8()},
      {"int16", arrow::int16()},
      {"int32", arrow::int32()},
      {"int64", arrow::int64()},
      {"uint8", arrow::uint8()},
      {"uint16", arrow::uint16()},
      {"uint32", arrow::uint32()},
      {"uint64", arrow::uint64()},
      {"float32", arrow::float32()},
      {"float64", arrow::float64()},
      {"string", arrow::utf8()},
      {"binary", arrow::binary()},
      {"date", arrow::date32()},
      {"timestamp", arrow::timestamp(arrow::TimeUnit::MICRO)},
      {"timestamp_ns", arrow::timestamp(arrow::TimeUnit::NANO)},
      {"timestamp_utc", arrow::timestamp(arrow::TimeUnit::MICRO, "UTC")},
  };
  return types;
}

}  // namespace

std::shared_ptr<arrow::DataType> type_of_name(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& [known, type] : named_types()) {
    if (known == name) return type;
    names.push_back(known);
  }
  throw_invalid(fmt::format("unknown type '{}'", name), suggest(name, names));
}

std::string name_of_type(const arrow::DataType& type) {
  for (const auto& [name, known] : named_types()) {
    if (known->Equals(type)) return name;
  }
  return type.ToString();
}

std::map<std::string, std::string> parse_types(std::string_view text) {
  std::map<std::string, std::string> types;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(item.size() + (item.size() < text.size()));
    const std::size_t equals = item.rfind('=');
    if (equals == std::string_view::npos || equals == 0) {
      throw_invalid(fmt::format("'{}' is not column=type", item), "write --types a=string,b=int64");
    }
    const std::string_view type = item.substr(equals + 1);
    type_of_name(type);
    if (!types.emplace(item.substr(0, equals), type).second) {
      throw_invalid(fmt::format("column '{}' has two types", item.substr(0, equals)));
    }
  }
  return types;
}

}  // namespace mobula::data

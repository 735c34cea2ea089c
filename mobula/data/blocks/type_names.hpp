/// Names of column types as people write them in --types and in cast().
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace arrow {
class DataType;
}

namespace mobula::data {

/// Returns the type of a name: bool, int8 .. int64, uint8 .. uint64, float32, float64, string, binary, date, timestamp
/// (microseconds), timestamp_ns, timestamp_utc. Throws Error(invalid_argument) with the nearest name.
std::shared_ptr<arrow::DataType> type_of_name(std::string_view name);
/// Returns the short name of a type; Arrow's own spelling for those that type_of_name() does not make.
std::string name_of_type(const arrow::DataType& type);

/// Parses "a=string,b=int64". Throws Error(invalid_argument).
std::map<std::string, std::string> parse_types(std::string_view text);

}  // namespace mobula::data

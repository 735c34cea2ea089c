#include "mobula/base/json.hpp"

#include <fmt/format.h>

#include <vector>

#include "mobula/base/error.hpp"

namespace mobula {

Json parse_json(std::string_view text, std::string_view name, const JsonLimits& limits) {
  std::vector<std::size_t> members;  // of the objects around the current place
  // nlohmann reports the depth of the value whose event it is at; refusing there bounds the recursion of its
  // users.
  const auto bounded = [&](int depth, Json::parse_event_t event, Json&) {
    if (depth > static_cast<int>(limits.max_depth)) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: JSON nested deeper than {} levels", name, limits.max_depth));
    }
    if (event == Json::parse_event_t::object_start) members.push_back(0);
    if (event == Json::parse_event_t::object_end) members.pop_back();
    if (event == Json::parse_event_t::key && ++members.back() > limits.max_members) {
      throw Error(ErrorCode::corrupt, fmt::format("{}: an object of more than {} members", name, limits.max_members));
    }
    return true;
  };
  try {
    return Json::parse(text, bounded);
  } catch (const nlohmann::json::parse_error& error) {
    std::string reason = error.what();
    if (const size_t cut = reason.find("parse error"); cut != std::string::npos) reason.erase(0, cut);
    throw Error(ErrorCode::corrupt, fmt::format("{}: not valid JSON: {}", name, reason));
  } catch (const nlohmann::json::out_of_range& error) {  // a number such as 1e999
    std::string reason = error.what();
    if (const size_t cut = reason.find("number"); cut != std::string::npos) reason.erase(0, cut);
    throw Error(ErrorCode::corrupt, fmt::format("{}: not valid JSON: {}", name, reason));
  }
}

std::string to_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace mobula

#include "mobula/jobs/runtime_environment.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::jobs {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;
constexpr std::size_t kMaxNodes = 100'000;  // aliases make a small text large
constexpr int kMaxDepth = 64;

Json scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() == "!") return text;  // in quotes
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  const char* end = text.data() + text.size();
  std::int64_t whole = 0;
  if (const auto [at, problem] = std::from_chars(text.data(), end, whole); problem == std::errc() && at == end)
    return whole;
  double number = 0;
  const bool digits = text.find_first_of("0123456789") != std::string::npos;
  if (const auto [at, problem] = std::from_chars(text.data(), end, number);
      digits && problem == std::errc() && at == end && std::isfinite(number)) {
    return number;
  }
  return text;
}

Json to_json(const YAML::Node& node, const std::string& name, int depth, std::size_t& count) {
  if (depth > kMaxDepth || ++count > kMaxNodes) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: more than {} levels or {} values", name, kMaxDepth, kMaxNodes));
  }
  switch (node.Type()) {
    case YAML::NodeType::Scalar:
      return scalar(node);
    case YAML::NodeType::Sequence: {
      Json list = Json::array();
      for (const auto& element : node) list.push_back(to_json(element, name, depth + 1, count));
      return list;
    }
    case YAML::NodeType::Map: {
      Json object = Json::object();
      for (const auto& item : node) {
        if (!item.first.IsScalar()) throw Error(ErrorCode::corrupt, fmt::format("{}: a key that is no text", name));
        object[item.first.Scalar()] = to_json(item.second, name, depth + 1, count);
      }
      return object;
    }
    default:
      return nullptr;
  }
}

}  // namespace

Json parse_runtime_environment(std::string_view text, const std::string& name) {
  if (text.size() > kMaxBytes) {
    throw Error(ErrorCode::corrupt, fmt::format("{}: {} bytes, at most {} are read", name, text.size(), kMaxBytes));
  }
  Json environment;
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{') {
    environment = parse_json(text, name);
  } else {
    try {
      std::size_t count = 0;
      environment = to_json(YAML::Load(std::string(text)), name, 0, count);
    } catch (const YAML::Exception& error) {
      throw Error(ErrorCode::corrupt, fmt::format("{}:{}: {}", name, error.mark.line + 1, error.msg));
    }
  }
  if (environment.is_null()) return Json::object();
  if (!environment.is_object()) {
    throw_invalid(fmt::format("{}: a runtime environment is a mapping, such as 'env_vars: {{KEY: value}}'", name),
                  "a name of a file that does not end so is not looked for as text");
  }
  return environment;
}

Json read_runtime_environment(const std::string& given) {
  if (given.empty()) return Json::object();
  if (given.find('{') != std::string::npos) return parse_runtime_environment(given, "--runtime-env");
  return parse_runtime_environment(read_file(given, kMaxBytes), given);
}

void set_job_variable(Json& environment, const std::string& name, const std::string& value, bool replace) {
  if (name.empty() || name.find('=') != std::string::npos || name.find('\0') != std::string::npos) {
    throw_invalid(fmt::format("'{}' is no name of a variable", name), "write --env NAME=VALUE");
  }
  Json& variables = environment["env_vars"];
  if (variables.is_null()) variables = Json::object();
  if (!variables.is_object()) throw_invalid("the runtime environment's env_vars is no mapping");
  if (replace || !variables.contains(name)) variables[name] = value;
}

std::pair<std::string, std::string> split_assignment(const std::string& text, std::string_view option) {
  const auto mark = text.find('=');
  if (mark == std::string::npos || mark == 0) {
    throw_invalid(fmt::format("{} '{}': expected KEY=VALUE", option, text));
  }
  return {text.substr(0, mark), text.substr(mark + 1)};
}

Json redacted(Json environment) {
  if (environment.is_object() && environment.contains("env_vars") && environment["env_vars"].is_object()) {
    for (auto& [name, value] : environment["env_vars"].items()) value = "<redacted>";
  }
  return environment;
}

std::string shell_command(const std::vector<std::string>& words) {
  std::string command;
  for (const std::string& word : words) {
    const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](unsigned char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             std::string_view("-_./:=@%+,").find(static_cast<char>(c)) != std::string_view::npos;
    });
    if (!command.empty()) command += ' ';
    if (plain) {
      command += word;
      continue;
    }
    command += '\'';
    for (const char c : word) {
      if (c == '\'') {
        command += "'\\''";
      } else {
        command += c;
      }
    }
    command += '\'';
  }
  return command;
}

}  // namespace mobula::jobs

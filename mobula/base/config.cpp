#include "mobula/base/config.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"

namespace mobula {

struct Config::State {
  YAML::Node root;
  std::string origin;
};

std::string expand_environment(const std::string& text, const std::string& where) {
  std::string result;
  size_t at = 0;
  while (true) {
    const size_t open = text.find("${", at);
    if (open == std::string::npos) return result + text.substr(at);
    const size_t close = text.find('}', open);
    if (close == std::string::npos) throw_invalid(fmt::format("{}: '${{' without '}}' in '{}'", where, text));
    result += text.substr(at, open - at);
    std::string name = text.substr(open + 2, close - open - 2);
    std::optional<std::string> fallback;
    if (const size_t mark = name.find(":-"); mark != std::string::npos) {
      fallback = name.substr(mark + 2);
      name.resize(mark);
    }
    const char* value = std::getenv(name.c_str());
    if (value != nullptr && *value != '\0') {
      result += value;
    } else if (fallback) {
      result += *fallback;
    } else {
      throw_invalid(fmt::format("{}: environment variable {} is not set", where, name),
                    fmt::format("set it, or write ${{{}:-default}}", name));
    }
    at = close + 1;
  }
}

namespace {

constexpr std::size_t kMaxConfigBytes = 1 << 20;

class ConfigReader final : public ConfigVisitor {
 public:
  ConfigReader(YAML::Node root, std::string origin) : origin_(std::move(origin)) {
    levels_.push_back({"", root, {}});
    check_map(root, "");
  }

  void field(std::string_view name, bool& value, std::string_view) override {
    if (const YAML::Node node = find(name)) {
      const std::string text = scalar(node, name, "true or false");
      if (!YAML::convert<bool>::decode(YAML::Node(text), value)) wrong_type(node, name, text, "true or false");
    }
  }
  void field(std::string_view name, std::int64_t& value, std::string_view) override {
    if (const YAML::Node node = find(name)) {
      const std::string text = scalar(node, name, "a whole number");
      std::string digits;
      for (char c : text) {
        if (c != '_') digits += c;
      }
      const char* end = digits.data() + digits.size();
      const auto [stop, error] = std::from_chars(digits.data(), end, value);
      if (error != std::errc() || stop != end) wrong_type(node, name, text, "a whole number");
    }
  }
  void field(std::string_view name, double& value, std::string_view) override {
    if (const YAML::Node node = find(name)) value = number(node, name);
  }
  void field(std::string_view name, std::string& value, std::string_view) override {
    if (const YAML::Node node = find(name)) value = scalar(node, name, "a text");
  }
  void field(std::string_view name, std::vector<std::string>& value, std::string_view) override {
    if (const YAML::Node node = find(name)) {
      value.clear();
      if (!node.IsSequence()) {
        value.push_back(scalar(node, name, "a list of texts"));
        return;
      }
      for (const auto& element : node) value.push_back(scalar(element, name, "a list of texts"));
    }
  }
  void field(std::string_view name, std::vector<double>& value, std::string_view) override {
    if (const YAML::Node node = find(name)) {
      if (!node.IsSequence()) wrong_type(node, name, "it", "a list of numbers");
      value.clear();
      for (const auto& element : node) value.push_back(number(element, name));
    }
  }

  void finish() const { refuse_unknown(levels_.front()); }

 protected:
  void enter(std::string_view name, std::string_view) override {
    const YAML::Node node = find(name);
    if (node) check_map(node, key(name));
    levels_.push_back({key(name), node, {}});
  }
  void leave() override {
    refuse_unknown(levels_.back());
    levels_.pop_back();
  }
  bool begin_optional(std::string_view name, bool present, std::string_view) override {
    const YAML::Node& map = levels_.back().node;
    levels_.back().known.insert(std::string(name));
    if (!map || !map.IsMap()) return present;
    const YAML::Node node = map[std::string(name)];
    return node ? !node.IsNull() : present;
  }
  void choice_text(std::string_view name, std::string& text, const std::vector<std::string>& names,
                   std::string_view) override {
    if (const YAML::Node node = find(name)) {
      const std::string given = scalar(node, name, "one word");
      if (std::find(names.begin(), names.end(), given) == names.end()) {
        throw_invalid(
            fmt::format("{}: '{}' is '{}', expected one of {}", place(node), key(name), given, fmt::join(names, ", ")),
            suggest(given, names));
      }
      text = given;
    }
  }
  void check_range(std::string_view name, std::int64_t value, bool fits) override {
    if (!fits) throw_invalid(fmt::format("{}: '{}' is {}, which is out of range", origin_, key(name), value));
  }

 private:
  struct Level {
    std::string path;
    YAML::Node node;
    std::set<std::string> known;
  };

  YAML::Node find(std::string_view name) {
    Level& level = levels_.back();
    level.known.insert(std::string(name));
    // A const node: operator[] of a mutable one would insert the key it looks for.
    const YAML::Node& map = level.node;
    if (!map || !map.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
    const YAML::Node found = static_cast<const YAML::Node&>(map)[std::string(name)];
    if (found && found.IsNull()) return YAML::Node(YAML::NodeType::Undefined);
    return found;
  }

  std::string key(std::string_view name) const {
    const std::string& path = levels_.back().path;
    return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
  }

  std::string place(const YAML::Node& node) const {
    const YAML::Mark mark = node.Mark();
    return mark.line >= 0 ? fmt::format("{}:{}", origin_, mark.line + 1) : origin_;
  }

  std::string scalar(const YAML::Node& node, std::string_view name, const char* expected) const {
    if (!node.IsScalar()) wrong_type(node, name, node.IsMap() ? "a section" : "a list", expected);
    return expand_environment(node.Scalar(), place(node));
  }

  double number(const YAML::Node& node, std::string_view name) const {
    const std::string text = scalar(node, name, "a number");
    double value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stop != end || !std::isfinite(value)) wrong_type(node, name, text, "a number");
    return value;
  }

  [[noreturn]] void wrong_type(const YAML::Node& node, std::string_view name, std::string_view got,
                               const char* expected) const {
    throw_invalid(fmt::format("{}: '{}' is {}, expected {}", place(node), key(name),
                              node.IsScalar() ? fmt::format("'{}'", got) : std::string(got), expected));
  }

  void check_map(const YAML::Node& node, const std::string& path) const {
    if (node && !node.IsNull() && !node.IsMap()) {
      throw_invalid(fmt::format("{}: {} must be a section of 'key: value' lines", place(node),
                                path.empty() ? "the file" : fmt::format("'{}'", path)));
    }
  }

  void refuse_unknown(const Level& level) const {
    if (!level.node || !level.node.IsMap()) return;
    for (const auto& entry : level.node) {
      const std::string name = entry.first.IsScalar() ? entry.first.Scalar() : "?";
      if (level.known.contains(name)) continue;
      throw_invalid(
          fmt::format("{}: unknown key '{}'", place(entry.first), level.path.empty() ? name : level.path + "." + name),
          suggest(name, {level.known.begin(), level.known.end()}));
    }
  }

  std::string origin_;
  std::vector<Level> levels_;
};

std::string yaml_scalar(const std::string& text) {
  YAML::Emitter emitter;
  // A text that would read back as something else is quoted.
  const bool plain = !text.empty() && text.find_first_of(":#{}[],&*!|>'\"%@`\n\t ") == std::string::npos &&
                     !(YAML::Node(text).IsNull());
  if (plain) {
    emitter << text;
  } else {
    emitter << YAML::DoubleQuoted << text;
  }
  return emitter.c_str();
}

class ConfigLister final : public ConfigVisitor {
 public:
  struct Line {
    std::string path;
    std::string name;
    std::string value;
    std::string help;
    int depth;
    bool section;
  };
  std::vector<Line> lines;

  void field(std::string_view name, bool& value, std::string_view help) override {
    add(name, value ? "true" : "false", help);
  }
  void field(std::string_view name, std::int64_t& value, std::string_view help) override {
    add(name, fmt::format("{}", value), help);
  }
  void field(std::string_view name, double& value, std::string_view help) override {
    add(name, fmt::format("{}", value), help);
  }
  void field(std::string_view name, std::string& value, std::string_view help) override {
    add(name, yaml_scalar(value), help);
  }
  void field(std::string_view name, std::vector<std::string>& value, std::string_view help) override {
    std::vector<std::string> quoted;
    for (const std::string& element : value) quoted.push_back(yaml_scalar(element));
    add(name, fmt::format("[{}]", fmt::join(quoted, ", ")), help);
  }
  void field(std::string_view name, std::vector<double>& value, std::string_view help) override {
    add(name, fmt::format("[{}]", fmt::join(value, ", ")), help);
  }

 protected:
  void enter(std::string_view name, std::string_view help) override {
    lines.push_back({path(name), std::string(name), "", std::string(help), depth(), true});
    sections_.emplace_back(name);
  }
  void leave() override { sections_.pop_back(); }
  bool begin_optional(std::string_view name, bool present, std::string_view help) override {
    if (!present) add(name, "null", help);
    return present;
  }
  void choice_text(std::string_view name, std::string& text, const std::vector<std::string>& names,
                   std::string_view help) override {
    add(name, text, fmt::format("{} ({})", help, fmt::join(names, ", ")));
  }
  void check_range(std::string_view, std::int64_t, bool) override {}

 private:
  int depth() const { return static_cast<int>(sections_.size()); }
  std::string path(std::string_view name) const {
    std::string result;
    for (const std::string& section : sections_) result += section + ".";
    return result + std::string(name);
  }
  void add(std::string_view name, std::string value, std::string_view help) {
    lines.push_back({path(name), std::string(name), std::move(value), std::string(help), depth(), false});
  }

  std::vector<std::string> sections_;
};

}  // namespace

Config::Config() : state_(std::make_unique<State>()) {
  state_->origin = "configuration";
}
Config::Config(Config&&) noexcept = default;
Config& Config::operator=(Config&&) noexcept = default;
Config::~Config() = default;

Config Config::from_file(const std::filesystem::path& path) {
  return from_text(read_file(path, kMaxConfigBytes), path.string());
}

Config Config::from_text(std::string_view text, std::string origin) {
  Config config;
  config.state_->origin = std::move(origin);
  try {
    config.state_->root = YAML::Load(std::string(text));
  } catch (const YAML::Exception& error) {
    throw_invalid(fmt::format("{}:{}: {}", config.state_->origin, error.mark.line + 1, error.msg),
                  "check the YAML: indentation with spaces, 'key: value' with a space behind the colon");
  }
  return config;
}

void Config::set(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw_invalid(fmt::format("--set '{}' is no assignment", assignment), "write --set section.key=value");
  }
  YAML::Node value;
  const std::string text(assignment.substr(equals + 1));
  try {
    value = text.empty() ? YAML::Node(std::string()) : YAML::Load(text);
  } catch (const YAML::Exception& error) {
    throw_invalid(fmt::format("--set '{}': {}", assignment, error.msg));
  }
  // Handles of an empty document don't share what is put into them, those of a map do.
  if (!state_->root.IsDefined() || state_->root.IsNull()) state_->root = YAML::Node(YAML::NodeType::Map);
  std::string_view path = assignment.substr(0, equals);
  YAML::Node node = state_->root;
  while (true) {
    const size_t dot = path.find('.');
    const std::string name(path.substr(0, dot));
    if (name.empty()) throw_invalid(fmt::format("--set '{}' has an empty key", assignment));
    if (node.IsDefined() && !node.IsNull() && !node.IsMap()) {
      throw_invalid(fmt::format("--set '{}': what stands above '{}' is no section", assignment, name));
    }
    if (dot == std::string_view::npos) {
      node[name] = value;
      return;
    }
    // reset() re-points the handle; plain assignment would overwrite the node it points to.
    node.reset(node[name]);
    path.remove_prefix(dot + 1);
  }
}

bool Config::has(std::string_view dotted_key) const {
  YAML::Node node = state_->root;
  while (true) {
    if (!node || !node.IsMap()) return false;
    const size_t dot = dotted_key.find('.');
    const YAML::Node next = static_cast<const YAML::Node&>(node)[std::string(dotted_key.substr(0, dot))];
    if (!next) return false;
    if (dot == std::string_view::npos) return true;
    node.reset(next);
    dotted_key.remove_prefix(dot + 1);
  }
}

void Config::read_fields(const std::function<void(ConfigVisitor&)>& visit) const {
  ConfigReader reader(state_->root, state_->origin);
  visit(reader);
  reader.finish();
}

std::string config_to_yaml(const std::function<void(ConfigVisitor&)>& visit) {
  ConfigLister lister;
  visit(lister);
  std::string text;
  for (const auto& line : lister.lines) {
    const std::string indent(static_cast<size_t>(line.depth) * 2, ' ');
    const std::string entry =
        line.section ? fmt::format("{}{}:", indent, line.name) : fmt::format("{}{}: {}", indent, line.name, line.value);
    text += line.help.empty() ? entry + "\n" : fmt::format("{:<40}  # {}\n", entry, line.help);
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> config_to_list(const std::function<void(ConfigVisitor&)>& visit) {
  ConfigLister lister;
  visit(lister);
  std::vector<std::pair<std::string, std::string>> list;
  for (auto& line : lister.lines) {
    if (!line.section) list.emplace_back(std::move(line.path), std::move(line.value));
  }
  return list;
}

}  // namespace mobula

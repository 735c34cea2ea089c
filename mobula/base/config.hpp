/// Configuration: a YAML file with overrides, read into plain structs that carry their defaults.
///
///     struct OptimizerConfig {
///       double lr = 1e-3;
///       void visit(ConfigVisitor& v) { v.field("lr", lr, "peak learning rate"); }
///       void validate() const;                                    // optional
///     };
///     Config file = Config::from_file("run.yaml");
///     file.set("optimizer.lr=3e-4");                              // --set
///     file.read(config);                                          // unknown keys are refused with the
///     nearest name
///
/// Values may hold ${VAR} and ${VAR:-default}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula {

/// Sees every field of a configuration struct: to read it, to print it, to list its keys.
class ConfigVisitor {
 public:
  virtual ~ConfigVisitor() = default;

  virtual void field(std::string_view name, bool& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::int64_t& value, std::string_view help) = 0;
  virtual void field(std::string_view name, double& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::string& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::vector<std::string>& value, std::string_view help) = 0;
  virtual void field(std::string_view name, std::vector<double>& value, std::string_view help) = 0;

  /// Visits any other integer type; a value that does not fit is refused.
  template <class Integer>
  requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, bool> &&
           !std::is_same_v<Integer, std::int64_t>) void field(std::string_view name, Integer& value,
                                                              std::string_view help) {
    auto wide = static_cast<std::int64_t>(value);
    field(name, wide, help);
    check_range(name, wide, std::in_range<Integer>(wide));
    value = static_cast<Integer>(wide);
  }
  /// Visits a field that may be absent (null in YAML).
  template <class T>
  void field(std::string_view name, std::optional<T>& value, std::string_view help) {
    if (!begin_optional(name, value.has_value(), help)) {
      value.reset();
      return;
    }
    if (!value) value.emplace();
    field(name, *value, help);
  }
  /// Visits an enumeration spelt as one of `choices`.
  template <class Enum>
  void choice(std::string_view name, Enum& value, const std::vector<std::pair<std::string, Enum>>& choices,
              std::string_view help) {
    std::string text;
    std::vector<std::string> names;
    for (const auto& [spelling, member] : choices) {
      names.push_back(spelling);
      if (member == value) text = spelling;
    }
    choice_text(name, text, names, help);
    for (const auto& [spelling, member] : choices) {
      if (spelling == text) value = member;
    }
  }
  /// Visits a nested struct under `name`.
  template <class Section>
  void section(std::string_view name, Section& value, std::string_view help) {
    enter(name, help);
    value.visit(*this);
    leave();
  }

 protected:
  virtual void enter(std::string_view name, std::string_view help) = 0;
  virtual void leave() = 0;
  virtual bool begin_optional(std::string_view name, bool present, std::string_view help) = 0;
  /// Reads or prints an enumeration's spelling; refuses what is not in `names`.
  virtual void choice_text(std::string_view name, std::string& text, const std::vector<std::string>& names,
                           std::string_view help) = 0;
  virtual void check_range(std::string_view name, std::int64_t value, bool fits) = 0;
};

/// A configuration as written: a YAML tree, its origin, and overrides. Not thread-safe.
class Config {
 public:
  /// Starts empty, so that every struct keeps its defaults.
  Config();
  Config(Config&&) noexcept;
  Config& operator=(Config&&) noexcept;
  ~Config();

  /// Reads a YAML (or JSON) file. Throws Error naming file and line.
  static Config from_file(const std::filesystem::path& path);
  /// Reads YAML text; `origin` stands for the file's name in messages.
  static Config from_text(std::string_view text, std::string origin);

  /// Applies "a.b=value" (the value is YAML; an empty one is the empty string). Throws
  /// Error(invalid_argument).
  void set(std::string_view assignment);
  /// Tells whether the key was written in the file or set.
  bool has(std::string_view dotted_key) const;

  /// Fills `target` (a struct with visit(ConfigVisitor&)); fields that aren't written keep their values.
  /// Refuses unknown keys and wrong types with file, line and key; then calls target.validate() where there
  /// is one.
  template <class T>
  void read(T& target) const {
    read_fields([&target](ConfigVisitor& visitor) { target.visit(visitor); });
    if constexpr (requires { target.validate(); }) target.validate();
  }

 private:
  struct State;
  void read_fields(const std::function<void(ConfigVisitor&)>& visit) const;
  std::unique_ptr<State> state_;
};

/// Replaces ${VAR} and ${VAR:-default} by the environment's values. Throws Error(invalid_argument), led by `where`, for a
/// variable that is not set and has no default.
std::string expand_environment(const std::string& text, const std::string& where);

/// Prints a struct as YAML with each field's help as a comment (--print-config).
std::string config_to_yaml(const std::function<void(ConfigVisitor&)>& visit);
template <class T>
std::string config_to_yaml(T& source) {
  return config_to_yaml(
      std::function<void(ConfigVisitor&)>([&source](ConfigVisitor& visitor) { source.visit(visitor); }));
}

/// Lists a struct's values as (dotted key, value text), in order: what a run's record stores.
std::vector<std::pair<std::string, std::string>> config_to_list(const std::function<void(ConfigVisitor&)>& visit);
template <class T>
std::vector<std::pair<std::string, std::string>> config_to_list(T& source) {
  return config_to_list(
      std::function<void(ConfigVisitor&)>([&source](ConfigVisitor& visitor) { source.visit(visitor); }));
}

}  // namespace mobula

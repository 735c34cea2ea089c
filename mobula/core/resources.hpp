/// Amounts of named resources: "cpu", "gpu", or whatever the runtime was told it has.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

namespace mobula {

/// An exact amount of a resource, counted in ten-thousandths so that fractions add up.
class Amount {
 public:
  constexpr Amount() = default;
  /// Amounts beyond 1e14 count as that much.
  constexpr Amount(double value)
      : units_(static_cast<std::int64_t>(std::clamp(value, -1e14, 1e14) * 10000.0 + (value < 0 ? -0.5 : 0.5))) {}
  constexpr double value() const noexcept { return static_cast<double>(units_) / 10000.0; }
  constexpr std::int64_t units() const noexcept { return units_; }
  constexpr Amount operator+(Amount other) const noexcept { return of(units_ + other.units_); }
  constexpr Amount operator-(Amount other) const noexcept { return of(units_ - other.units_); }
  constexpr auto operator<=>(const Amount&) const = default;

 private:
  static constexpr Amount of(std::int64_t units) noexcept {
    Amount amount;
    amount.units_ = units;
    return amount;
  }
  std::int64_t units_ = 0;
};

/// Amounts by name. A name that is absent counts as zero.
class ResourceSet {
 public:
  ResourceSet() = default;
  explicit ResourceSet(std::map<std::string, Amount> amounts);

  Amount get(const std::string& name) const;
  void set(const std::string& name, Amount amount);
  bool empty() const noexcept { return amounts_.empty(); }
  const std::map<std::string, Amount>& amounts() const noexcept { return amounts_; }

  /// Tells whether every amount is at least that of `other`.
  bool covers(const ResourceSet& other) const;
  ResourceSet& operator+=(const ResourceSet& other);
  ResourceSet& operator-=(const ResourceSet& other);
  /// Formats "cpu 2, gpu 0.5".
  std::string text() const;

 private:
  std::map<std::string, Amount> amounts_;
};

}  // namespace mobula

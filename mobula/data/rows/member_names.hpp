/// Names of an aggregate's members, found by the compiler: what columns are called after.
///
///     struct Row { std::int64_t id; std::string text; };
///     member_names<Row>();                               // {"id", "text"}
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <tuple>
#include <utility>

#include "mobula/core/aggregate.hpp"

namespace mobula::data {

namespace detail {

/// Never defined: only the addresses of its members are looked at.
template <class T>
struct Nowhere {
  const T value;
};
template <class T>
extern const Nowhere<T> nowhere;  // NOLINT: declared to be pointed into

template <class T>
constexpr auto member_addresses(const T& value) {
  constexpr std::size_t kCount = aggregate::count_members<T>();
  static_assert(kCount > 0 && kCount <= aggregate::kMaxMembers, "rows are aggregates of 1 to 16 members");
  if constexpr (kCount == 1) {
    auto& [m1] = value;
    return std::make_tuple(&m1);
  } else if constexpr (kCount == 2) {
    auto& [m1, m2] = value;
    return std::make_tuple(&m1, &m2);
  } else if constexpr (kCount == 3) {
    auto& [m1, m2, m3] = value;
    return std::make_tuple(&m1, &m2, &m3);
  } else if constexpr (kCount == 4) {
    auto& [m1, m2, m3, m4] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4);
  } else if constexpr (kCount == 5) {
    auto& [m1, m2, m3, m4, m5] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5);
  } else if constexpr (kCount == 6) {
    auto& [m1, m2, m3, m4, m5, m6] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6);
  } else if constexpr (kCount == 7) {
    auto& [m1, m2, m3, m4, m5, m6, m7] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7);
  } else if constexpr (kCount == 8) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8);
  } else if constexpr (kCount == 9) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8, &m9);
  } else if constexpr (kCount == 10) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8, &m9, &m10);
  } else if constexpr (kCount == 11) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8, &m9, &m10, &m11);
  } else if constexpr (kCount == 12) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8, &m9, &m10, &m11, &m12);
  } else if constexpr (kCount == 13) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8, &m9, &m10, &m11, &m12, &m13);
  } else if constexpr (kCount == 14) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8, &m9, &m10, &m11, &m12, &m13, &m14);
  } else if constexpr (kCount == 15) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8, &m9, &m10, &m11, &m12, &m13, &m14, &m15);
  } else if constexpr (kCount == 16) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15, m16] = value;
    return std::make_tuple(&m1, &m2, &m3, &m4, &m5, &m6, &m7, &m8, &m9, &m10, &m11, &m12, &m13, &m14, &m15, &m16);
  }
}

/// The text ends with the member's name: "... = (& nowhere<Row>.Nowhere<Row>::value.Row::id)]".
template <auto Address>
constexpr std::string_view member_name() {
  std::string_view text = __PRETTY_FUNCTION__;
  const std::size_t end = text.find_first_of(");]", text.rfind("value"));
  text = text.substr(0, end);
  const std::size_t begin = text.find_last_of(":.");
  return text.substr(begin + 1);
}

template <class T, std::size_t... I>
constexpr std::array<std::string_view, sizeof...(I)> names_of(std::index_sequence<I...>) {
  return {member_name<std::get<I>(member_addresses(nowhere<T>.value))>()...};
}

}  // namespace detail

/// Returns the names of T's members, in order.
template <class T>
constexpr auto member_names() {
  return detail::names_of<T>(std::make_index_sequence<aggregate::count_members<T>()>());
}

}  // namespace mobula::data

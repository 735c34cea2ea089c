/// Walks the members of an aggregate without being told their names.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace mobula::aggregate {

/// Most members that are found.
inline constexpr std::size_t kMaxMembers = 16;

/// Stands for a value of any type but T itself, where only convertibility counts.
template <class T>
struct AnythingBut {
  template <class U>
  requires(!std::is_same_v<std::remove_cvref_t<U>, T>) operator U() const;  // NOLINT: implicit on purpose
};

template <class T, std::size_t... I>
constexpr bool initializable(std::index_sequence<I...>) {
  return requires {
    T{((void)I, AnythingBut<T>{})...};
  };
}

/// Returns how many initializers T takes, or kMaxMembers + 1 where it takes more.
template <class T, std::size_t N = kMaxMembers + 1>
constexpr std::size_t count_members() {
  if constexpr (initializable<T>(std::make_index_sequence<N>{})) {
    return N;
  } else if constexpr (N == 0) {
    return 0;
  } else {
    return count_members<T, N - 1>();
  }
}

/// Calls `visitor(member1, member2, ...)` with references to the members of `value`, which has at most kMaxMembers, and
/// returns what it returns.
template <class T, class Visitor>
constexpr decltype(auto) visit_members(T& value, Visitor&& visitor) {
  constexpr std::size_t kCount = count_members<std::remove_const_t<T>>();
  static_assert(kCount <= kMaxMembers,
                "aggregates are reflected up to 16 members: specialise mobula::Codec for this one");
  if constexpr (kCount == 0) {
    return visitor();
  } else if constexpr (kCount == 1) {
    auto& [m1] = value;
    return visitor(m1);
  } else if constexpr (kCount == 2) {
    auto& [m1, m2] = value;
    return visitor(m1, m2);
  } else if constexpr (kCount == 3) {
    auto& [m1, m2, m3] = value;
    return visitor(m1, m2, m3);
  } else if constexpr (kCount == 4) {
    auto& [m1, m2, m3, m4] = value;
    return visitor(m1, m2, m3, m4);
  } else if constexpr (kCount == 5) {
    auto& [m1, m2, m3, m4, m5] = value;
    return visitor(m1, m2, m3, m4, m5);
  } else if constexpr (kCount == 6) {
    auto& [m1, m2, m3, m4, m5, m6] = value;
    return visitor(m1, m2, m3, m4, m5, m6);
  } else if constexpr (kCount == 7) {
    auto& [m1, m2, m3, m4, m5, m6, m7] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7);
  } else if constexpr (kCount == 8) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8);
  } else if constexpr (kCount == 9) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8, m9);
  } else if constexpr (kCount == 10) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10);
  } else if constexpr (kCount == 11) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11);
  } else if constexpr (kCount == 12) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12);
  } else if constexpr (kCount == 13) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13);
  } else if constexpr (kCount == 14) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14);
  } else if constexpr (kCount == 15) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15);
  } else if constexpr (kCount == 16) {
    auto& [m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15, m16] = value;
    return visitor(m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15, m16);
  }
}

/// Types, to be passed on.
template <class... Members>
struct MemberTypes {};

/// Returns the types of T's members, in order.
template <class T>
constexpr auto member_types() {
  using List = decltype(visit_members(
      std::declval<T&>(), [](auto&... members) { return MemberTypes<std::remove_cvref_t<decltype(members)>...>{}; }));
  return List{};
}

}  // namespace mobula::aggregate

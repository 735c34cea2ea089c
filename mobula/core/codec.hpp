/// Turns values into bytes and back, where they leave the process: numbers, strings, containers, optionals, variants,
/// aggregates of those (reflected, up to 16 members), and every type for which Codec is specialised:
///
///     template <> struct mobula::Codec<Image> {
///       static void encode(WireWriter& out, const Image& image);
///       static Image decode(WireReader& in);
///     };
///
/// Threads pass values on as they are; nothing is encoded there. A codec that can point into the bytes instead of copying
/// them says so with `static constexpr bool kBorrows = true;` and asks WireReader::keeper() what keeps them in place: so
/// tensors (train/tensor_codec.hpp) and Arrow batches (data/rows/batch_value.hpp) are looked at in shared memory, and the
/// core knows neither library.
#pragma once

#include <array>
#include <complex>
#include <concepts>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "mobula/core/aggregate.hpp"
#include "mobula/core/wire.hpp"

namespace mobula {

/// Specialise this for types of your own that are neither trivially copyable nor aggregates of known types.
template <class T>
struct Codec;

/// A value for threads only: it needs no codec, and a task that holds it refuses to leave the process.
template <class T>
struct Local {
  T value;
};

namespace codec {

template <class T, template <class...> class Template>
inline constexpr bool is_a = false;
template <template <class...> class Template, class... Args>
inline constexpr bool is_a<Template<Args...>, Template> = true;

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class T>
concept HasOwnCodec = requires(WireWriter& out, WireReader& in, const T& value) {
  Codec<T>::encode(out, value);
  { Codec<T>::decode(in) } -> std::convertible_to<T>;
};

/// Types whose values can point into the bytes they are made of.
template <class T>
concept Borrows = HasOwnCodec<T> && requires {
  requires Codec<T>::kBorrows;
};

template <class T>
concept Sequence = is_a<T, std::vector> || is_a<T, std::deque> || is_a<T, std::list>;
template <class T>
concept Map = is_a<T, std::map> || is_a<T, std::unordered_map> || is_a<T, std::multimap>;
template <class T>
concept Set = is_a<T, std::set> || is_a<T, std::unordered_set> || is_a<T, std::multiset>;

/// Views and references: trivially copyable, but what they point at stays behind.
template <class T>
concept Borrowed = is_a<T, std::reference_wrapper> || requires(const T& value) {
  { value.data() } -> std::convertible_to<const void*>;
};

/// Types whose bytes are their value. Aggregates are not among them: their members are looked at one by one.
template <class T>
concept Bits = std::is_arithmetic_v<T> || std::is_enum_v<T> || is_a<T, std::complex> ||
    (std::is_class_v<T>&& std::is_trivially_copyable_v<T> && !std::is_aggregate_v<T> && !Borrowed<T>);

template <class T>
concept Aggregate = std::is_aggregate_v<T> && std::is_class_v<T>;

template <class T>
constexpr bool encodable();

template <class Tuple>
inline constexpr bool all_encodable = false;
template <template <class...> class Template, class... Ts>
inline constexpr bool all_encodable<Template<Ts...>> = (encodable<std::remove_const_t<Ts>>() && ...);

/// Tells whether T can be encoded. An aggregate's members are checked where it is encoded, with a message of their own.
template <class T>
constexpr bool encodable() {
  if constexpr (HasOwnCodec<T> || Bits<T> || std::is_same_v<T, std::string> || std::is_same_v<T, std::monostate> ||
                std::is_same_v<T, std::filesystem::path> || is_a<T, Local>) {
    return true;
  } else if constexpr (Sequence<T> || Set<T> || is_a<T, std::optional>) {
    return encodable<typename T::value_type>();
  } else if constexpr (is_std_array<T>) {
    return encodable<typename T::value_type>();
  } else if constexpr (Map<T>) {
    return encodable<typename T::key_type>() && encodable<typename T::mapped_type>();
  } else if constexpr (is_a<T, std::pair> || is_a<T, std::tuple> || is_a<T, std::variant>) {
    return all_encodable<T>;
  } else if constexpr (Aggregate<T>) {
    return aggregate::count_members<T>() <= aggregate::kMaxMembers;
  } else {
    return false;
  }
}

/// Tells whether a value's encoding is the very bytes it has in memory: plain types, and arrays and aggregates of those
/// without padding between the members. A run of them is copied at once, and looked at where it lies.
template <class T>
constexpr bool flat();

template <class T, class... Members>
constexpr bool covered_by(aggregate::MemberTypes<Members...>) {
  return sizeof...(Members) > 0 && (flat<Members>() && ...) && (sizeof(Members) + ... + 0) == sizeof(T);
}

template <class T>
constexpr bool flat() {
  if constexpr (!std::is_trivially_copyable_v<T> || HasOwnCodec<T>) {
    return false;
  } else if constexpr (Bits<T>) {
    return true;
  } else if constexpr (is_std_array<T>) {
    return std::tuple_size_v<T> > 0 && flat<typename T::value_type>();
  } else if constexpr (Aggregate<T> && !is_a<T, Local>) {
    if constexpr (aggregate::count_members<T>() <= aggregate::kMaxMembers) {
      return covered_by<T>(aggregate::member_types<T>());
    } else {
      return false;
    }
  } else {
    return false;
  }
}

template <class T>
concept Flat = flat<T>();

/// Vectors whose elements lie in memory as they are encoded.
template <class T>
inline constexpr bool is_flat_vector = false;
template <class E>
inline constexpr bool is_flat_vector<std::vector<E>> = Flat<E> && !std::is_same_v<E, bool>;

[[noreturn]] void throw_local_value(const char* type);
[[noreturn]] void throw_bad_size(std::uint64_t size, std::size_t left);
[[noreturn]] void throw_bad_alternative(std::uint64_t index);

/// Refuses what can't be encoded while the program is compiled: T in the compiler's message is the culprit.
template <class T>
constexpr void require_encodable() {
  static_assert(
      encodable<T>(),
      "this type (T above) can't be sent to another process: specialise mobula::Codec<T>, make it an aggregate "
      "of types that can, or wrap it in mobula::Local<T> for tasks that stay in threads");
}

/// The same for a member of an aggregate, the first being number 1.
template <class Aggregate, std::size_t Number, class Member>
constexpr void require_encodable_member() {
  static_assert(
      encodable<Member>(),
      "a member of this aggregate (Aggregate, Number and Member above) can't be sent to another process: specialise "
      "mobula::Codec for the member's type or for the aggregate, or wrap it in mobula::Local for tasks that stay in "
      "threads");
}
template <class Aggregate, class... Members, std::size_t... I>
constexpr void require_encodable_members(std::index_sequence<I...>) {
  (require_encodable_member<Aggregate, I + 1, Members>(), ...);
}

template <class T>
void encode(WireWriter& out, const T& value);
template <class T>
T decode(WireReader& in);

/// A member or element of an aggregate or container.
template <class T>
void encode_part(WireWriter& out, const T& value) {
  require_encodable<T>();
  encode(out, value);
}

template <class T>
void encode(WireWriter& out, const T& value) {
  require_encodable<T>();
  if constexpr (HasOwnCodec<T>) {
    Codec<T>::encode(out, value);
  } else if constexpr (Bits<T>) {
    out.raw(&value, sizeof value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    out.text(value);
  } else if constexpr (std::is_same_v<T, std::monostate>) {
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    out.text(value.native());
  } else if constexpr (is_a<T, Local>) {
    throw_local_value(__PRETTY_FUNCTION__);
  } else if constexpr (is_a<T, std::optional>) {
    out.number<std::uint8_t>(value.has_value());
    if (value) encode_part(out, *value);
  } else if constexpr (is_std_array<T>) {
    if constexpr (Flat<T>) {
      out.raw(value.data(), sizeof value);
    } else {
      for (const auto& element : value) encode_part(out, element);
    }
  } else if constexpr (Sequence<T>) {
    out.number<std::uint64_t>(value.size());
    using Element = typename T::value_type;
    if constexpr (is_flat_vector<T>) {
      out.raw(value.data(), value.size() * sizeof(Element));
    } else {
      for (const auto& element : value) encode_part<Element>(out, element);
    }
  } else if constexpr (Set<T>) {
    out.number<std::uint64_t>(value.size());
    for (const auto& element : value) encode_part(out, element);
  } else if constexpr (Map<T>) {
    out.number<std::uint64_t>(value.size());
    for (const auto& [key, mapped] : value) {
      encode_part(out, key);
      encode_part(out, mapped);
    }
  } else if constexpr (is_a<T, std::pair>) {
    encode_part(out, value.first);
    encode_part(out, value.second);
  } else if constexpr (is_a<T, std::tuple>) {
    std::apply([&](const auto&... parts) { (encode_part(out, parts), ...); }, value);
  } else if constexpr (is_a<T, std::variant>) {
    out.number<std::uint64_t>(value.index());
    std::visit([&](const auto& alternative) { encode_part(out, alternative); }, value);
  } else {
    aggregate::visit_members(value, [&](const auto&... members) {
      require_encodable_members<T, std::remove_cvref_t<decltype(members)>...>(
          std::make_index_sequence<sizeof...(members)>{});
      (encode_part(out, members), ...);
    });
  }
}

/// Reads a container's size and refuses one that the bytes left can't hold.
inline std::size_t decode_size(WireReader& in, std::size_t smallest_element) {
  const auto size = in.number<std::uint64_t>();
  if (size > in.remaining() / (smallest_element == 0 ? 1 : smallest_element) && size != 0) {
    throw_bad_size(size, in.remaining());
  }
  return static_cast<std::size_t>(size);
}

template <class Variant, std::size_t I = 0>
Variant decode_alternative(WireReader& in, std::uint64_t index) {
  if constexpr (I == std::variant_size_v<Variant>) {
    throw_bad_alternative(index);
  } else {
    if (index == I) return Variant(std::in_place_index<I>, decode<std::variant_alternative_t<I, Variant>>(in));
    return decode_alternative<Variant, I + 1>(in, index);
  }
}

template <class T>
T decode(WireReader& in) {
  require_encodable<T>();
  if constexpr (HasOwnCodec<T>) {
    return Codec<T>::decode(in);
  } else if constexpr (Bits<T>) {
    return in.number<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    return std::string(in.text());
  } else if constexpr (std::is_same_v<T, std::monostate>) {
    return {};
  } else if constexpr (std::is_same_v<T, std::filesystem::path>) {
    return std::filesystem::path(std::string(in.text()));
  } else if constexpr (is_a<T, Local>) {
    throw_local_value(__PRETTY_FUNCTION__);
  } else if constexpr (is_a<T, std::optional>) {
    if (in.number<std::uint8_t>() == 0) return std::nullopt;
    return decode<typename T::value_type>(in);
  } else if constexpr (is_std_array<T>) {
    T value{};
    if constexpr (Flat<T>) {
      std::memcpy(value.data(), in.take(sizeof value), sizeof value);
    } else {
      for (auto& element : value) element = decode<typename T::value_type>(in);
    }
    return value;
  } else if constexpr (Sequence<T>) {
    using Element = typename T::value_type;
    if constexpr (is_flat_vector<T>) {
      const std::size_t size = decode_size(in, sizeof(Element));
      T value(size);
      if (size != 0) std::memcpy(value.data(), in.take(size * sizeof(Element)), size * sizeof(Element));
      return value;
    } else {
      T value;
      for (std::size_t left = decode_size(in, 1); left > 0; --left) value.push_back(decode<Element>(in));
      return value;
    }
  } else if constexpr (Set<T>) {
    T value;
    for (std::size_t left = decode_size(in, 1); left > 0; --left) value.insert(decode<typename T::value_type>(in));
    return value;
  } else if constexpr (Map<T>) {
    T value;
    for (std::size_t left = decode_size(in, 1); left > 0; --left) {
      auto key = decode<typename T::key_type>(in);
      value.emplace(std::move(key), decode<typename T::mapped_type>(in));
    }
    return value;
  } else if constexpr (is_a<T, std::pair>) {
    auto first = decode<typename T::first_type>(in);
    return T(std::move(first), decode<typename T::second_type>(in));
  } else if constexpr (is_a<T, std::tuple>) {
    // Braces: evaluated from left to right.
    return [&]<class... Parts>(std::tuple<Parts...>*) { return T{decode<Parts>(in)...}; }(static_cast<T*>(nullptr));
  } else if constexpr (is_a<T, std::variant>) {
    const auto index = in.number<std::uint64_t>();
    return decode_alternative<T>(in, index);
  } else {
    T value{};
    aggregate::visit_members(
        value, [&](auto&... members) { ((members = decode<std::remove_cvref_t<decltype(members)>>(in)), ...); });
    return value;
  }
}

/// Returns the number of bytes that encode() writes.
template <class T>
std::size_t encoded_size(const T& value) {
  WireWriter count{WireWriter::Counting{}};
  encode(count, value);
  return count.size();
}

/// Encodes after telling the writer how much comes, so that a large value is copied once.
template <class T>
void encode_announced(WireWriter& out, const T& value) {
  out.expect(encoded_size(value));
  encode(out, value);
}

}  // namespace codec

/// Tells whether values of T can leave the process.
template <class T>
concept Encodable = codec::encodable<T>();

/// Returns a value's bytes.
template <class T>
std::string to_bytes(const T& value) {
  WireWriter out;
  codec::encode(out, value);
  return out.take();
}

/// Makes a value of bytes. Throws Error(corrupt) where they are no T.
template <class T>
T from_bytes(std::string_view bytes) {
  WireReader in(bytes);
  return codec::decode<T>(in);
}

}  // namespace mobula

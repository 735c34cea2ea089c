/// Python's pickle format (PEP 3154 and its predecessors) as data: nothing is ever called. What a file would have Python
/// call is kept as a name with its arguments, and the reader of the values decides what it stands for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula::nn {

using PickleId = std::uint32_t;

/// One value; others are referred to by their ids.
struct PickleValue {
  enum class Kind {
    none,
    boolean,  ///< integer is 0 or 1
    integer,
    real,
    text,
    bytes,
    tuple,       ///< items
    list,        ///< items
    dictionary,  ///< items: key, value, key, value ...
    name,        ///< text: "module.attribute"
    call,        ///< text: the name that would be called; items: its arguments
    persistent,  ///< items: one value that stands for something outside
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<PickleId> items;
};

/// The values of one pickle.
struct Pickle {
  std::vector<PickleValue> values;
  PickleId root = 0;

  const PickleValue& operator[](PickleId id) const { return values[id]; }
};

/// Says which names may be called; the rest is refused.
using MayCall = bool (*)(std::string_view name);

/// Reads a pickle; `name` leads messages. Throws Error(corrupt) for damaged ones, Error(unsupported) for an operation or
/// a name that `may_call` doesn't know: the file asks to run code. Time and memory are bounded by the pickle's size.
Pickle read_pickle(std::span<const std::byte> bytes, std::string_view name, MayCall may_call);

}  // namespace mobula::nn

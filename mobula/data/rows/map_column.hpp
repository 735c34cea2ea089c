/// Functions of one column's values, beside which all other columns stay as they are.
///
///     auto tokens = map_column<std::string>(rows, "text", "tokens", [](const std::string& text) { return encode(text); });
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "mobula/data/dataset.hpp"
#include "mobula/data/rows/typed_rows.hpp"

namespace mobula::data {

namespace detail {

template <class T>
struct OneValue {
  static constexpr std::array columns = {"value"};
  T value;
};

/// Returns one column alone, under the name `value`. Throws Error(not_found) naming the nearest column.
RecordBatchPointer column_as_value(const RecordBatchPointer& batch, const std::string& column);
/// Returns the rows `kept` of a batch with the only column of `values` set under a name: in its place, or behind the others.
RecordBatchPointer with_value_column(const RecordBatchPointer& batch, const std::vector<std::uint32_t>& kept,
                                     const RecordBatchPointer& values, const std::string& name);

}  // namespace detail

/// Sets a column to a function of another (or of itself); a null gives a null, and rows on which it throws are bad rows. What the function returns is what a member
/// of a struct may be (rows/typed_rows.hpp). It is called by several threads at once.
template <class In, class Function>
Dataset map_column(const Dataset& dataset, std::string column, std::string into, Function function,
                   MapOptions options = {}) {
  using Out = std::remove_cvref_t<std::invoke_result_t<Function, const In&>>;
  options.keeps_rows = true;
  return dataset.map_rows(
      [column = std::move(column), into = std::move(into), function = std::move(function)](
          const RecordBatchPointer& batch, const FailRow& fail) {
        const auto rows = rows_of<detail::OneValue<std::optional<In>>>(detail::column_as_value(batch, column));
        std::vector<detail::OneValue<std::optional<Out>>> made;
        std::vector<std::uint32_t> kept;
        made.reserve(rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) {
          try {
            std::optional<Out> value;
            if (rows[i].value) value = function(*rows[i].value);
            made.push_back({std::move(value)});
            kept.push_back(static_cast<std::uint32_t>(i));
          } catch (const std::exception& error) {
            fail(static_cast<std::int64_t>(i), error);
          }
        }
        return detail::with_value_column(batch, kept, batch_of(made), into);
      },
      std::move(options));
}

}  // namespace mobula::data

/// Functions of one column's values, beside which all other columns stay as they are.
///
///     auto tokens = map_column<std::string>(rows, "text", "tokens", [](const std::string& text) { return encode(text); });
#pragma once

#include <array>
#include <cstddef>
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
/// Returns the batch with the only column of `values` set under a name: in its place, or behind the others.
RecordBatchPointer with_value_column(const RecordBatchPointer& batch, const RecordBatchPointer& values,
                                     const std::string& name);

}  // namespace detail

/// Sets a column to a function of another (or of itself); a null gives a null. What the function returns is what a member
/// of a struct may be (rows/typed_rows.hpp). It is called by several threads at once.
template <class In, class Function>
Dataset map_column(const Dataset& dataset, std::string column, std::string into, Function function,
                   MapOptions options = {}) {
  using Out = std::remove_cvref_t<std::invoke_result_t<Function, const In&>>;
  return dataset.map_batches(
      [column = std::move(column), into = std::move(into),
       function = std::move(function)](const RecordBatchPointer& batch) {
        const auto rows = rows_of<detail::OneValue<std::optional<In>>>(detail::column_as_value(batch, column));
        std::vector<detail::OneValue<std::optional<Out>>> made(rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) {
          if (rows[i].value) made[i].value = function(*rows[i].value);
        }
        return detail::with_value_column(batch, batch_of(made), into);
      },
      std::move(options));
}

}  // namespace mobula::data

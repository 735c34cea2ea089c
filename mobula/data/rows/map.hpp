/// Functions of one row over a dataset's rows: structs go in, structs come out (see rows/typed_rows.hpp).
///
///     struct Line { std::string text; };
///     struct Word { std::string word; std::int64_t length; };
///     auto words = flat_map<Line>(lines, [](const Line& line) { return split(line.text); });     // vector<Word>
///     auto tagged = map<Word>(words, [](const Word& word) { return Tagged{word.word, tag(word)}; });
///     auto long_words = filter_rows<Word>(words, [](const Word& word) { return word.length > 8; });
///
/// Functions are called by several threads at once. One that throws fails its row: the run ends with an error that names
/// file, row and operator, or the row is skipped as RunOptions::on_error says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "mobula/data/dataset.hpp"
#include "mobula/data/rows/row_numbers.hpp"
#include "mobula/data/rows/typed_rows.hpp"

namespace mobula::data {

namespace detail {

/// Calls `each(row, out)` for every row, which appends what comes out; `one_to_one`: always one row.
template <class In, class Out, class Each>
Dataset map_each(const Dataset& dataset, Each each, MapOptions options, bool one_to_one) {
  options.keeps_rows = one_to_one;
  return dataset.map_rows(
      [each = std::move(each), one_to_one](const RecordBatchPointer& batch, const FailRow& fail) {
        const std::vector<In> rows = rows_of<In>(batch);
        std::vector<Out> out;
        std::vector<std::int64_t> from;
        out.reserve(rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) {
          const std::size_t before = out.size();
          try {
            each(rows[i], out);
          } catch (const std::exception& error) {
            out.resize(before);
            fail(static_cast<std::int64_t>(i), error);
          }
          if (!one_to_one) from.resize(out.size(), static_cast<std::int64_t>(i));
        }
        return one_to_one ? batch_of(out) : with_row_numbers(batch_of(out), from);
      },
      std::move(options));
}

}  // namespace detail

/// Makes a row out of each row; one that is an empty std::optional is left out.
template <class In, class Function>
Dataset map(const Dataset& dataset, Function function, MapOptions options = {}) {
  using Result = std::remove_cvref_t<std::invoke_result_t<Function, const In&>>;
  using Optional = detail::OptionalItem<Result>;
  using Out = typename Optional::Type;
  return detail::map_each<In, Out>(
      dataset,
      [function = std::move(function)](const In& row, std::vector<Out>& out) {
        if constexpr (Optional::kOptional) {
          if (auto made = function(row)) out.push_back(std::move(*made));
        } else {
          out.push_back(function(row));
        }
      },
      std::move(options), !Optional::kOptional);
}

/// Makes any number of rows, a vector, out of each row.
template <class In, class Function>
Dataset flat_map(const Dataset& dataset, Function function, MapOptions options = {}) {
  using Out = typename std::remove_cvref_t<std::invoke_result_t<Function, const In&>>::value_type;
  return detail::map_each<In, Out>(
      dataset,
      [function = std::move(function)](const In& row, std::vector<Out>& out) {
        for (auto& made : function(row)) out.push_back(std::move(made));
      },
      std::move(options), false);
}

/// Keeps the rows for which the function is true; columns that In does not name are lost.
template <class In, class Function>
Dataset filter_rows(const Dataset& dataset, Function function, MapOptions options = {}) {
  return detail::map_each<In, In>(
      dataset,
      [function = std::move(function)](const In& row, std::vector<In>& out) {
        if (function(row)) out.push_back(row);
      },
      std::move(options), false);
}

}  // namespace mobula::data

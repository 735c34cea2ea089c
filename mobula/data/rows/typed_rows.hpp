/// Rows as plain C++ structs and back, by the names of their members.
///
///     struct Project { std::int64_t id; std::string title; std::optional<double> score; std::vector<float> vector; };
///     std::vector<Project> rows = rows_of<Project>(batch);       // columns id, title, score, vector
///     RecordBatchPointer batch = batch_of(rows);
///
/// Members are bool, integers, float, double, std::string, std::vector of those, and std::optional of all of these, which
/// is empty for null. A struct may name other columns: `static constexpr std::array columns = {"id", ...};`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "mobula/core/aggregate.hpp"
#include "mobula/data/rows/column_values.hpp"
#include "mobula/data/rows/member_names.hpp"

namespace mobula::data {

namespace detail {

template <class T>
struct OptionalItem {
  using Type = T;
  static constexpr bool kOptional = false;
};
template <class T>
struct OptionalItem<std::optional<T>> {
  using Type = T;
  static constexpr bool kOptional = true;
};
template <class T>
struct ListItem {
  using Type = std::int64_t;
  static constexpr bool kList = false;
};
template <class T>
struct ListItem<std::vector<T>> {
  using Type = T;
  static constexpr bool kList = true;
};

template <class T>
constexpr ValueKind kind_of() {
  if constexpr (ListItem<T>::kList) {
    return ValueKind::list;
  } else if constexpr (std::is_same_v<T, bool>) {
    return ValueKind::truth;
  } else if constexpr (std::is_floating_point_v<T>) {
    return ValueKind::real;
  } else if constexpr (std::is_integral_v<T>) {
    return std::is_signed_v<T> ? ValueKind::integer : ValueKind::unsigned_integer;
  } else {
    static_assert(std::is_same_v<T, std::string>,
                  "a member of a row is a number, bool, std::string, or vector of these");
    return ValueKind::text;
  }
}

/// Reads one value; `items` reads those of lists.
template <class T>
void read_value(const ColumnReader& reader, const ColumnReader* items, std::int64_t row, T& value) {
  constexpr ValueKind kKind = kind_of<T>();
  if constexpr (kKind == ValueKind::list) {
    using Item = typename ListItem<T>::Type;
    const auto [begin, end] = reader.items_of(row);
    value.resize(static_cast<std::size_t>(end - begin));
    for (std::int64_t i = begin; i < end; ++i) {
      if (items->is_null(i)) throw_bad_value(reader.name(), row, "a null in a list");
      Item item{};
      read_value(*items, nullptr, i, item);
      value[static_cast<std::size_t>(i - begin)] = std::move(item);
    }
  } else if constexpr (kKind == ValueKind::truth) {
    value = reader.truth(row);
  } else if constexpr (kKind == ValueKind::real) {
    value = static_cast<T>(reader.real(row));
  } else if constexpr (kKind == ValueKind::text) {
    value.assign(reader.text(row));
  } else {
    const auto wide = [&] {
      if constexpr (kKind == ValueKind::integer) {
        return reader.integer(row);
      } else {
        return reader.unsigned_integer(row);
      }
    }();
    if (!std::in_range<T>(wide)) throw_bad_value(reader.name(), row, std::to_string(wide) + " does not fit the member");
    value = static_cast<T>(wide);
  }
}

template <class T>
void append_value(ColumnBuilder& builder, const T& value) {
  constexpr ValueKind kKind = kind_of<T>();
  if constexpr (kKind == ValueKind::list) {
    builder.begin_list();
    for (const typename ListItem<T>::Type item : value) append_value(builder.items(), item);
  } else if constexpr (kKind == ValueKind::truth) {
    builder.append_truth(value);
  } else if constexpr (kKind == ValueKind::real) {
    builder.append_real(static_cast<double>(value));
  } else if constexpr (kKind == ValueKind::integer) {
    builder.append_integer(static_cast<std::int64_t>(value));
  } else if constexpr (kKind == ValueKind::unsigned_integer) {
    builder.append_unsigned(static_cast<std::uint64_t>(value));
  } else {
    builder.append_text(value);
  }
}

template <class Row>
auto column_names() {
  if constexpr (requires { Row::columns; }) {
    return Row::columns;
  } else {
    return member_names<Row>();
  }
}

/// The type of a row's member.
template <class Row, std::size_t Index>
using MemberOf = std::remove_cvref_t<decltype(*std::get<Index>(member_addresses(std::declval<const Row&>())))>;

/// Reads one column into a member of all rows.
template <class Row, std::size_t Index>
void read_column(const RecordBatchPointer& batch, std::string_view name, std::vector<Row>& rows) {
  using Optional = OptionalItem<MemberOf<Row, Index>>;
  using Value = typename Optional::Type;
  const ColumnReader reader(batch, name, kind_of<Value>());
  std::optional<ColumnReader> items;
  if constexpr (ListItem<Value>::kList) items.emplace(reader.items(kind_of<typename ListItem<Value>::Type>()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    aggregate::visit_members(rows[i], [&](auto&... members) {
      auto& member = std::get<Index>(std::tie(members...));
      if (reader.is_null(row)) {
        if constexpr (!Optional::kOptional)
          throw_bad_value(reader.name(), row, "a null, and its member is no optional");
      } else if constexpr (Optional::kOptional) {
        read_value(reader, items ? &*items : nullptr, row, member.emplace());
      } else {
        read_value(reader, items ? &*items : nullptr, row, member);
      }
    });
  }
}

template <class Member>
ColumnBuilder make_column(std::string_view name) {
  using Value = typename OptionalItem<Member>::Type;
  using Item = typename ListItem<Value>::Type;
  return ColumnBuilder(std::string(name), kind_of<Value>(), static_cast<int>(sizeof(Value) * 8), kind_of<Item>(),
                       static_cast<int>(sizeof(Item) * 8));
}

}  // namespace detail

/// Reads rows as structs. Throws Error(not_found) for a missing column, Error(invalid_argument) naming column and row for a
/// type or a value that does not fit its member, and for a null where the member is no optional.
template <class Row>
std::vector<Row> rows_of(const RecordBatchPointer& batch) {
  std::vector<Row> rows(static_cast<std::size_t>(num_rows_of(batch)));
  const auto names = detail::column_names<Row>();
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (detail::read_column<Row, I>(batch, names[I], rows), ...);
  }
  (std::make_index_sequence<aggregate::count_members<Row>()>());
  return rows;
}

/// Makes a batch of structs; no rows make a batch that tells the columns.
template <class Row>
RecordBatchPointer batch_of(const std::vector<Row>& rows) {
  const auto names = detail::column_names<Row>();
  std::vector<ColumnBuilder> columns;
  Row example{};
  aggregate::visit_members(example, [&](auto&... members) {
    std::size_t index = 0;
    (columns.push_back(detail::make_column<std::remove_cvref_t<decltype(members)>>(names[index++])), ...);
  });
  for (const Row& row : rows) {
    aggregate::visit_members(row, [&](const auto&... members) {
      std::size_t index = 0;
      const auto append = [&](const auto& member) {
        ColumnBuilder& column = columns[index++];
        if constexpr (detail::OptionalItem<std::remove_cvref_t<decltype(member)>>::kOptional) {
          if (member) {
            detail::append_value(column, *member);
          } else {
            column.append_null();
          }
        } else {
          detail::append_value(column, member);
        }
      };
      (append(members), ...);
    });
  }
  return finish_batch(columns, static_cast<std::int64_t>(rows.size()));
}

}  // namespace mobula::data

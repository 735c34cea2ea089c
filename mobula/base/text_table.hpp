/// Tables for terminals: columns as wide as what they hold, numbers to the right.
///
///     TextTable table({"ID", "LOSS"}, {TextTable::Align::left, TextTable::Align::right});
///     table.add_row({"k3v8", "1.91"});
///     fmt::print("{}", table.to_string());
#pragma once

#include <string>
#include <vector>

namespace mobula {

/// Rows of text under a header.
class TextTable {
 public:
  enum class Align { left, right };

  /// `alignment` has an entry a column; columns beyond it are aligned to the left.
  explicit TextTable(std::vector<std::string> header, std::vector<Align> alignment = {});

  /// Adds a row; missing cells are empty. Line breaks and control characters in cells become spaces.
  void add_row(std::vector<std::string> cells);
  /// Returns the table, a line a row, two spaces between columns and none at the ends. A cell's width counts code points.
  std::string to_string() const;

 private:
  std::vector<Align> alignment_;
  std::vector<std::vector<std::string>> rows_;  // the header is the first
};

}  // namespace mobula

/// The records and fields of CSV text (RFC 4180): separators are found 64 bytes at a time, values are not
/// looked at.
///
///     CsvRecords records;
///     records.scan(text, 5, {});
///     for (std::size_t row = 0; row < records.num_rows(); ++row) use(records.field(row, 2));
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mobula::data {

/// How fields are separated. Quotes are always `"`, doubled inside a quoted field.
struct CsvDialect {
  char delimiter = ',';
};

/// Returns the number of leading bytes of `text` (which starts at a record) that hold whole records; a
/// record's end inside quotes does not count. 0 where not even one record is whole.
std::size_t whole_csv_records(std::string_view text, const CsvDialect& dialect);

/// Returns where the first record of `text` ends, past its newline; the text's size where it has none.
std::size_t first_csv_record(std::string_view text, const CsvDialect& dialect);

/// One field as it stands in the text.
struct CsvField {
  std::string_view text;  ///< without the quotes around it, with doubled quotes still doubled
  bool quoted = false;

  /// Tells whether the field is a null: empty and not quoted.
  bool is_null() const { return text.empty() && !quoted; }
  /// Returns the value, with doubled quotes made single.
  std::string value() const;
};

/// Where each field of a piece of text lies. Reuse one object for many pieces to keep its memory. Not
/// thread-safe.
class CsvRecords {
 public:
  /// Splits `text`, at most 4 GiB of whole records, which must outlive this object's use. Blank lines are
  /// passed over, save in files of one column, where they are nulls. `num_columns` 0 takes the first record's
  /// number of fields. Throws RowError where a record has another number of fields or quotes that don't fit.
  void scan(std::string_view text, std::size_t num_columns, const CsvDialect& dialect);

  std::size_t num_rows() const { return begins_.size(); }
  std::size_t num_columns() const { return num_columns_; }
  /// Tells whether any field is quoted.
  bool has_quotes() const { return has_quotes_; }

  /// Returns the field as it stands, quotes included.
  std::string_view raw(std::size_t row, std::size_t column) const {
    const std::uint32_t* ends = ends_.data() + row * num_columns_;
    const std::size_t begin = column == 0 ? begins_[row] : std::size_t{ends[column - 1]} + 1;
    return {text_ + begin, ends[column] - begin};
  }
  /// Returns the field without its quotes.
  CsvField field(std::size_t row, std::size_t column) const {
    const std::string_view text = raw(row, column);
    if (!has_quotes_ || text.empty() || text.front() != '"') return {text, false};
    return {text.substr(1, text.size() - 2), true};
  }

 private:
  void scan_plain(std::string_view text, char delimiter);
  void scan_quoted(std::string_view text, char delimiter);
  void end_record(std::size_t begin, std::size_t end);

  const char* text_ = nullptr;
  std::size_t num_columns_ = 0;
  bool has_quotes_ = false;
  std::vector<std::uint32_t> begins_;  ///< where each record begins
  std::vector<std::uint32_t> ends_;    ///< where each field ends, record by record
};

}  // namespace mobula::data

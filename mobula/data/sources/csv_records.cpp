#include "mobula/data/sources/csv_records.hpp"

#include <fmt/format.h>

#include <limits>

#include "mobula/base/error.hpp"
#include "mobula/data/row_error.hpp"
#include "mobula/data/sources/byte_scan.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kMaxColumns = 1 << 16;

/// Returns the position after the quoted field that opens at `begin`: that of the separator behind it, or
/// null where its closing quote is missing.
const char* skip_quoted(const char* begin, const char* end) {
  const char* at = begin + 1;
  while (true) {
    at = find_byte(at, end, '"');
    if (at == end) return nullptr;
    if (at + 1 < end && at[1] == '"') {
      at += 2;
      continue;
    }
    return at + 1;
  }
}

/// Returns the position past the record that starts at `begin`, or null where the text ends inside it.
const char* skip_record(const char* begin, const char* end, char delimiter) {
  const char* at = begin;
  while (at < end) {
    if (*at == '"') {
      at = skip_quoted(at, end);
      if (at == nullptr) return nullptr;
    }
    at = find_either(at, end, delimiter, '\n');
    if (at == end) return nullptr;
    if (*at == '\n') return at + 1;
    ++at;
  }
  return nullptr;
}

}  // namespace

std::size_t whole_csv_records(std::string_view text, const CsvDialect& dialect) {
  if (text.find('"') == std::string_view::npos) {
    const std::size_t last = text.rfind('\n');
    return last == std::string_view::npos ? 0 : last + 1;
  }
  const char* const end = text.data() + text.size();
  const char* whole = text.data();
  while (const char* next = skip_record(whole, end, dialect.delimiter)) whole = next;
  return static_cast<std::size_t>(whole - text.data());
}

std::size_t first_csv_record(std::string_view text, const CsvDialect& dialect) {
  const char* next = skip_record(text.data(), text.data() + text.size(), dialect.delimiter);
  return next == nullptr ? text.size() : static_cast<std::size_t>(next - text.data());
}

std::string CsvField::value() const {
  std::string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    result += text[i];
    if (quoted && text[i] == '"') ++i;
  }
  return result;
}

void CsvRecords::scan(std::string_view text, std::size_t num_columns, const CsvDialect& dialect) {
  if (text.size() >= std::numeric_limits<std::uint32_t>::max()) throw_internal("CSV piece of 4 GiB or more");
  text_ = text.data();
  num_columns_ = num_columns;
  begins_.clear();
  ends_.clear();
  if (num_columns_ == 0) {
    const std::string_view first = text.substr(0, first_csv_record(text, dialect));
    num_columns_ = 1;
    const char* at = first.data();
    const char* const end = first.data() + first.size();
    while (at < end) {
      if (*at == '"') at = skip_quoted(at, end);
      at = at == nullptr ? end : find_either(at, end, dialect.delimiter, '\n');
      if (at == end || *at == '\n') break;
      ++at;
      ++num_columns_;
    }
  }
  if (num_columns_ > kMaxColumns) {
    throw RowError(0, fmt::format("{} columns; at most {} are read", num_columns_, kMaxColumns));
  }
  begins_.reserve(text.size() / (num_columns_ * 8) + 16);
  ends_.reserve(begins_.capacity() * num_columns_);
  has_quotes_ = find_byte(text.data(), text.data() + text.size(), '"') != text.data() + text.size();
  if (has_quotes_) {
    scan_quoted(text, dialect.delimiter);
  } else {
    scan_plain(text, dialect.delimiter);
  }
}

void CsvRecords::end_record(std::size_t begin, std::size_t end) {
  if (end > begin && text_[end - 1] == '\r') --end;
  const std::size_t already = begins_.size() * num_columns_;
  if (begin == end && ends_.size() == already && num_columns_ > 1) return;  // a blank line
  ends_.push_back(static_cast<std::uint32_t>(end));
  if (ends_.size() != already + num_columns_) {
    throw RowError(static_cast<std::int64_t>(begins_.size()),
                   fmt::format("{} fields where {} are expected", ends_.size() - already, num_columns_),
                   "quote fields that hold the delimiter or a newline");
  }
  begins_.push_back(static_cast<std::uint32_t>(begin));
}

void CsvRecords::scan_plain(std::string_view text, char delimiter) {
  std::size_t begin = 0;
  std::size_t base = 0;
  std::size_t left = num_columns_;
  const auto separator = [&](std::size_t at) {
    if (text[at] != '\n') {
      ends_.push_back(static_cast<std::uint32_t>(at));
      --left;
      return;
    }
    if (left == 1 && text[at - (at > 0)] != '\r' && begin != at) {
      ends_.push_back(static_cast<std::uint32_t>(at));
      begins_.push_back(static_cast<std::uint32_t>(begin));
    } else {
      end_record(begin, at);
    }
    begin = at + 1;
    left = num_columns_;
  };
  for (; base + 64 <= text.size(); base += 64) {
    std::uint64_t bits = match_either(text.data() + base, delimiter, '\n');
    while (bits != 0) {
      separator(base + static_cast<std::size_t>(std::countr_zero(bits)));
      bits &= bits - 1;
    }
  }
  for (; base < text.size(); ++base) {
    if (text[base] == delimiter || text[base] == '\n') separator(base);
  }
  if (begin < text.size()) end_record(begin, text.size());
}

void CsvRecords::scan_quoted(std::string_view text, char delimiter) {
  const char* const start = text.data();
  const char* const end = start + text.size();
  const char* at = start;
  const auto offset = [start](const char* position) { return static_cast<std::size_t>(position - start); };
  while (at < end) {
    const char* const record = at;
    while (true) {
      if (at < end && *at == '"') {
        const char* const closed = skip_quoted(at, end);
        if (closed == nullptr) {
          throw RowError(static_cast<std::int64_t>(begins_.size()), "a quoted field is not closed before the file ends",
                         "double a quote inside quotes");
        }
        const bool at_return = closed < end && *closed == '\r' && (closed + 1 == end || closed[1] == '\n');
        if (closed < end && *closed != delimiter && *closed != '\n' && !at_return) {
          throw RowError(static_cast<std::int64_t>(begins_.size()), "text follows the closing quote of a field",
                         "double a quote inside quotes");
        }
        at = closed;
      }
      at = find_either(at, end, delimiter, '\n');
      if (at == end || *at == '\n') break;
      ends_.push_back(static_cast<std::uint32_t>(offset(at)));
      ++at;
    }
    end_record(offset(record), offset(at));
    if (at < end) ++at;
  }
}

}  // namespace mobula::data

#include "mobula/base/text_table.hpp"

#include <algorithm>
#include <utility>

namespace mobula {
namespace {

std::size_t width_of(const std::string& text) {
  // Bytes that don't continue a UTF-8 character.
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) { return (byte & 0xc0) != 0x80; }));
}

}  // namespace

TextTable::TextTable(std::vector<std::string> header, std::vector<Align> alignment) : alignment_(std::move(alignment)) {
  alignment_.resize(header.size(), Align::left);
  rows_.push_back(std::move(header));
}

void TextTable::add_row(std::vector<std::string> cells) {
  cells.resize(rows_.front().size());
  for (std::string& cell : cells) {
    std::replace_if(
        cell.begin(), cell.end(), [](unsigned char byte) { return byte < 0x20 || byte == 0x7f; }, ' ');
  }
  rows_.push_back(std::move(cells));
}

std::string TextTable::to_string() const {
  std::vector<std::size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line.append(2, ' ');
      const std::size_t padding = widths[i] - width_of(row[i]);
      if (alignment_[i] == Align::right) line.append(padding, ' ');
      line += row[i];
      if (alignment_[i] == Align::left) line.append(padding, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line;
    text += '\n';
  }
  return text;
}

}  // namespace mobula

/// Python's string operations on UTF-8.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mobula::text::jinja {

std::string lower(std::string_view text);
std::string upper(std::string_view text);
/// Unicode's full case folding, for comparisons.
std::string fold_case(std::string_view text);
/// First character in title case, the others in lower case.
std::string capitalize(std::string_view text);
/// The first letter of each word in title case, the others in lower case.
std::string title(std::string_view text);
/// Upper case becomes lower case, and the other way round.
std::string swap_case(std::string_view text);
/// Strips characters of `characters` (white space where empty) from the left, right or both sides.
std::string_view strip(std::string_view text, std::string_view characters, bool left, bool right);
/// Replaces up to `count` occurrences (all where negative).
std::string replace(std::string_view text, std::string_view from, std::string_view to, std::int64_t count);
/// Splits at white space.
std::vector<std::string> split_space(std::string_view text, std::int64_t max_splits);
std::vector<std::string> split_at(std::string_view text, std::string_view separator, std::int64_t max_splits);
std::vector<std::string> split_at_right(std::string_view text, std::string_view separator, std::int64_t max_splits);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);
/// Escapes & < > ' " for HTML.
std::string escape_html(std::string_view text);

}  // namespace mobula::text::jinja

/// Finds the name that somebody who misspelt one most likely meant.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mobula {

/// Returns the candidate with the smallest edit distance (insert, delete, substitute, swap) to `name`, or
/// nothing where even the nearest is further away than a third of the name's length (at least 2).
std::optional<std::string> nearest(std::string_view name, const std::vector<std::string>& candidates);

/// Returns "did you mean 'x'?" for the nearest candidate, else "known: a, b, c" (cut after 12 names);
/// nothing where there are no candidates.
std::string suggest(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace mobula

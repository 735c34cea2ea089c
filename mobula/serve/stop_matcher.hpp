/// Finds stop strings in text that comes piece by piece.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mobula::serve {

/// Lets text through up to the first stop string, holding back what may turn out to be the beginning of one.
/// Not thread-safe.
class StopMatcher {
 public:
  /// Empty stop strings are ignored.
  explicit StopMatcher(std::vector<std::string> stops);

  /// Adds text; returns what can be shown. Where a stop string is complete, returns the text before it; later calls
  /// return nothing.
  std::string push(std::string_view text);
  /// Returns what was held back, once no more text comes.
  std::string finish();
  /// Tells whether a stop string was found.
  bool stopped() const noexcept { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace mobula::serve

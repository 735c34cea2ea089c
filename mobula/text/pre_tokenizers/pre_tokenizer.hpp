/// Pre-tokenizers: cut a text into the pieces that the model sees one by one.
#pragma once

#include <memory>

#include "mobula/text/cutting.hpp"
#include "mobula/text/pieces.hpp"

namespace mobula::text {

/// Immutable and thread-safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Cuts (and may rewrite) all pieces that are no tokens.
  virtual void apply(PieceList& list) const = 0;
  /// Follows the place of a cut (cutting.hpp) and tells what this step makes of the parts.
  virtual CutEffect at_cut(CutPlace& place) const = 0;
};

}  // namespace mobula::text

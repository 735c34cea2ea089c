/// Pre-tokenizers: cut a text into the pieces that the model sees one by one.
#pragma once

#include <memory>

#include "mobula/text/pieces.hpp"

namespace mobula::text {

/// Immutable and thread-safe.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Cuts (and may rewrite) all pieces that are no tokens.
  virtual void apply(PieceList& list) const = 0;
};

}  // namespace mobula::text

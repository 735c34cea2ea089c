/// Where a long text may be cut so that its parts, encoded one by one, give the ids of the whole: before a lone space
/// between two ASCII letters, as far as every step of the pipeline allows it.
#pragma once

#include <string>

namespace mobula::text {

/// The place of a cut on its way through the steps: "x y" is cut before what its space has become.
struct CutPlace {
  std::string space = " ";  ///< what stands at the begin of the second part; empty where it is nothing known
};

/// What a pre-tokenizer makes of a text that is cut in two at such a place.
enum class CutEffect {
  changes,    ///< the parts may give something else than the whole
  none,       ///< the parts' pieces are the whole's, but for one that may reach over the cut
  separates,  ///< no piece reaches over the cut
};

}  // namespace mobula::text

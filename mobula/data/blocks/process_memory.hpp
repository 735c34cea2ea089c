/// How the process gives memory back to the system.
#pragma once

namespace mobula::data {

/// Keeps freed memory in the process, to be used again, and lets Arrow allocate with malloc: blocks come and go thousands
/// of times a second, and pages that the system has to clear each time cost more than parsing does. Call it first in
/// main(), before Arrow has allocated; changes the environment (ARROW_DEFAULT_MEMORY_POOL unless set) and malloc's
/// settings of this process.
void keep_memory_warm();

}  // namespace mobula::data

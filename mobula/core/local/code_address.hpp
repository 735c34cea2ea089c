/// Names a function in a way that another process of the same program can find it again, wherever its
/// libraries lie.
#pragma once

#include <cstdint>
#include <string>

namespace mobula {

/// A place in the code of the program or of a library: module, offset from where it was loaded, and build.
struct CodeAddress {
  std::string module;        ///< absolute path of the shared library; empty: the program itself
  std::string build_id;      ///< the module's build id in hexadecimal digits; empty where it has none
  std::uint64_t offset = 0;  ///< from the module's load address
};

/// Returns the name of `function`. Throws Error(invalid_argument) where it lies in no module (generated
/// code).
CodeAddress locate_code(const void* function);
/// Returns the function that `address` names, loading its library where it isn't loaded yet. Throws
/// Error(not_found), or Error(corrupt) where the library on disk is another build than the one that was
/// named.
void* resolve_code(const CodeAddress& address);

}  // namespace mobula

#include "mobula/data/rows/worker_directory.hpp"

#include <filesystem>
#include <system_error>

namespace mobula::data {
namespace fs = std::filesystem;

std::string working_directory() {
  return fs::current_path().string();
}

void enter_working_directory(const std::string& directory) {
  std::error_code ignored;
  if (fs::current_path(ignored) != directory) fs::current_path(directory, ignored);
}

}  // namespace mobula::data

/// Options of `mobula hub pull|ls|rm`.
#pragma once

#include <string>
#include <vector>

namespace mobula::cli {

struct HubPullOptions {
  std::string repo;
  std::vector<std::string> include, exclude;
};

struct HubRemoveOptions {
  std::string repo;
};

}  // namespace mobula::cli

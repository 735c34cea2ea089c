/// Options of `mobula serve`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace mobula::cli {

struct ServeOptions {
  std::string model;
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;
  std::string name;                        ///< the model's id; empty: the folder's name
  std::string api_key_file;                ///< empty: $MOBULA_API_KEY, where that is set
  std::string dtype;                       ///< empty: the checkpoint's own
  std::string generation_config = "auto";  ///< as for `mobula generate`
  std::vector<std::string> adapters;       ///< NAME=DIR, or DIR under its folder's name
  std::size_t max_concurrent = 64;
  std::size_t max_queue = 512;
  std::string cache = "4GB";
  std::size_t http_threads = 0;  ///< 0: one a processor, at most 4
  std::string drain_timeout = "30s";
};

}  // namespace mobula::cli

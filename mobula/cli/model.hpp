/// Options of `mobula model info|convert|quantize|merge|diff`.
#pragma once

#include <string>
#include <vector>

namespace mobula::cli {

struct ModelInfoOptions {
  std::string path;
  bool tensors = false;
};

/// What writes a checkpoint: convert and merge.
struct ModelWriteOptions {
  std::vector<std::string> models;
  std::string out;
  std::string dtype;  ///< empty: as it is
  std::string shard_size = "5GB";
  std::vector<std::string> adapters;
  std::vector<double> weights;  ///< of the models, when several are merged; empty: all alike
  bool undo = false;            ///< take the adapters out instead
};

struct ModelQuantizeOptions {
  std::string model;
  std::string out;
  std::string dtype = "int4";
  std::string head = "whole";
  std::string shard_size = "5GB";
};

struct ModelDiffOptions {
  std::string a, b;
  double tolerance = 0;  ///< largest difference that counts as none
};

}  // namespace mobula::cli

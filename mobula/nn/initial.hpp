/// How parameters start.
#pragma once

namespace mobula::nn {

/// How a parameter starts where no checkpoint gives it.
struct Initial {
  enum class Kind { normal, zeros, ones };
  Kind kind = Kind::normal;
  double deviation = 0.02;  ///< of the normal distribution, whose mean is 0

  static Initial normal(double deviation) { return {Kind::normal, deviation}; }
  static Initial zeros() { return {Kind::zeros, 0}; }
  static Initial ones() { return {Kind::ones, 0}; }
};

}  // namespace mobula::nn

/// Repeats a measurement and prints its median.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

namespace bench {

/// One line of results.
struct Result {
  std::string metric;
  double value = 0;
  std::string unit;
  std::string peer;  ///< "mobula", or what it is compared with
};

/// Prints a result: a JSON object, or a line for people.
void report(const Result& result);

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Returns the median of `count` a second over `runs` runs, after one to warm up.
template <class F>
double rate(int runs, double count, F&& work) {
  work();
  std::vector<double> values;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    values.push_back(count / seconds_since(start));
  }
  return median(values);
}

/// Returns the median duration of one call, in microseconds.
template <class F>
double latency(int calls, F&& work) {
  for (int i = 0; i < calls / 10 + 1; ++i) work();
  std::vector<double> values;
  for (int i = 0; i < calls; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    values.push_back(seconds_since(start) * 1e6);
  }
  return median(values);
}

/// Measures the peers that are installed.
void measure_peers();

}  // namespace bench

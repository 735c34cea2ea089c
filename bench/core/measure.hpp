/// Asks the same question of several libraries, in turn, and prints the median and the best of their answers.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

inline double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// One library's answer to a question.
struct Contestant {
  std::string name;
  std::function<double()> run;  ///< measures once; empty where the library is not there
  std::string absent;           ///< what to install then
};

/// What is measured, and whether more of it is better.
struct Metric {
  std::string name;
  std::string unit;
  bool more_is_better = false;
};

/// Prints one line: a JSON object, or a row for people.
void report(const Metric& metric, const std::string& peer, double median, double best);
/// Prints that a peer is not there.
void report_absent(const Metric& metric, const Contestant& contestant);

/// Lets each contestant warm up, then measures them in turn, `rounds` times, so that a machine that slows down slows all.
inline void compare(const Metric& metric, int rounds, const std::vector<Contestant>& contestants) {
  std::vector<std::vector<double>> values(contestants.size());
  for (int round = -1; round < rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      if (!contestants[i].run) continue;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the one before may still look for work
      const double value = contestants[i].run();
      if (round >= 0) values[i].push_back(value);
    }
  }
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    if (!contestants[i].run) {
      report_absent(metric, contestants[i]);
      continue;
    }
    const auto [least, most] = std::minmax_element(values[i].begin(), values[i].end());
    report(metric, contestants[i].name, median(values[i]), metric.more_is_better ? *most : *least);
  }
}

/// Returns how many a second `work`, which does `count` of them, makes.
template <class F>
double rate(double count, F&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return count / seconds_since(start);
}

/// Returns the median duration of one call, in microseconds; `pause` comes before each.
template <class F, class P>
double latency(int calls, F&& work, P&& pause) {
  std::vector<double> values;
  for (int i = 0; i < calls; ++i) {
    pause();
    const auto start = std::chrono::steady_clock::now();
    work();
    values.push_back(seconds_since(start) * 1e6);
  }
  return median(values);
}
template <class F>
double latency(int calls, F&& work) {
  return latency(calls, std::forward<F>(work), [] {});
}

/// Compares the Ray engine with the same calls made by hand, on a cluster of their own.
void measure_ray_engine();

/// Returns the peers' answers to the question of that name.
std::vector<Contestant> peers(const std::string& metric);

}  // namespace bench

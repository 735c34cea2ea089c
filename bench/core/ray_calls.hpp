/// The questions that ray.cpp puts to Mobula's Ray engine and to ray-cpp by hand; C++17, for both.
#pragma once

#include <chrono>
#include <cstdio>
#include <utility>

namespace bench {

constexpr int kCalls = 300;   ///< one after the other
constexpr int kTasks = 1000;  ///< started, then gotten
constexpr int kValues = 10;   ///< put and gotten
constexpr int kValueBytes = 10000000;

/// Prints "metric microseconds", for each of `count` pieces of `work`.
template <class Work>
void print_microseconds(const char* metric, int count, Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double, std::micro> spent = std::chrono::steady_clock::now() - start;
  std::printf("%s %.3f\n", metric, spent.count() / count);
  std::fflush(stdout);
}

/// Asks all questions. `call` makes a task's round trip, `batch(n)` starts n tasks and gets their results, `message` makes
/// an actor's round trip, `value` puts and gets kValueBytes.
template <class Call, class Batch, class Message, class Value>
void ask(Call&& call, Batch&& batch, Message&& message, Value&& value) {
  for (int i = 0; i < 20; ++i) call();
  batch(100);
  print_microseconds("ray_task_round_trip_us", kCalls, [&] {
    for (int i = 0; i < kCalls; ++i) call();
  });
  print_microseconds("ray_task_us", kTasks, [&] { batch(kTasks); });
  for (int i = 0; i < 20; ++i) message();
  print_microseconds("ray_actor_round_trip_us", kCalls, [&] {
    for (int i = 0; i < kCalls; ++i) message();
  });
  value();
  print_microseconds("ray_put_get_10mb_us", kValues, [&] {
    for (int i = 0; i < kValues; ++i) value();
  });
}

}  // namespace bench

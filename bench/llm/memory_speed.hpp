/// How fast this machine's memory can be read: what decoding at batch 1 is held to.
#pragma once

#include <functional>
#include <string>

namespace mobula::bench {

/// Called with a way of reading and its speed in GB/s.
using MemorySpeedSink = std::function<void(const std::string& pages, const std::string& way, double gb_per_s)>;

/// Reads 512 MB with all threads, best of five, in ordinary and in huge pages: line after line, in several streams at once,
/// and with the lines some kilobytes ahead fetched meanwhile.
void measure_memory_speed(const MemorySpeedSink& sink);

}  // namespace mobula::bench

/// Parts of the command line that live in libraries of their own, loaded when a command needs them.
///
/// In train_run.cpp, which is built into the plugin:
///     extern "C" int mobula_run_train(const void* options, const void* globals);
/// In train.cpp, which is built into the program:
///     return run_in_plugin(kTorchPlugin, "mobula_run_train", options, line.globals());
#pragma once

#include <cstdlib>
#include <string>
#include <string_view>

#include "mobula/cli/command_line.hpp"

namespace mobula::cli {

inline constexpr std::string_view kTorchPlugin = "mobula_commands";              ///< commands on libtorch
inline constexpr std::string_view kGeneratePlugin = "mobula_generate_commands";  ///< generation, without libtorch
inline constexpr std::string_view kDataPlugin = "mobula_data_commands";          ///< commands on Arrow
inline constexpr std::string_view kHubPlugin = "mobula_hub_commands";            ///< commands on libcurl
inline constexpr std::string_view kJobPlugin = "mobula_job_commands";            ///< commands on a cluster's dashboard

inline constexpr const char* kSharedPlugin = "MOBULA_WORKER_PLUGIN";  ///< environment variable: see below

/// Every entry's type. Program and plugins come out of one build, so structs cross as they are. Exceptions
/// may leave it.
using PluginEntry = int (*)(const void* options, const void* globals);

/// Loads libPLUGIN.so from the folder of Mobula's libraries and calls `entry`. Throws Error(unavailable)
/// where this build has no such plugin.
int call_plugin(std::string_view plugin, const char* entry, const void* options, const GlobalOptions& globals);

/// Makes processes that this one starts as workers load the plugin too: what they are to run lies in it or below it.
inline void share_plugin_with_workers(std::string_view plugin) {
  ::setenv(kSharedPlugin, std::string(plugin).c_str(), 1);
}
/// Loads what share_plugin_with_workers() named, in such a worker; does nothing elsewhere. First thing in main().
void load_shared_plugin();

template <class Options>
int run_in_plugin(std::string_view plugin, const char* entry, const Options& options, const GlobalOptions& globals) {
  return call_plugin(plugin, entry, &options, globals);
}

}  // namespace mobula::cli

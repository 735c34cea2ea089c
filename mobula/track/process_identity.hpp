/// Names a process so that another one, later, can tell whether it still runs.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mobula::track {

/// Returns what tells this machine since its last start, and this container, from others.
std::string host_identity();
/// Returns this process's number and start time, which no later process of the host shares.
std::string process_identity();
/// Tells whether a process runs; nothing where it belongs to another host.
std::optional<bool> is_running(std::string_view host, std::string_view process);

}  // namespace mobula::track

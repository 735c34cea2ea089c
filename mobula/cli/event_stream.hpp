/// Client of a server's event stream: posts JSON, gives every `data:` line of the answer as it arrives.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "mobula/base/json.hpp"

namespace mobula::cli {

/// Posts `body` to http://host:port/target and calls `on_data` with the text of each server-sent event, until the server
/// ends the answer or `on_data` returns false. Throws Error(unavailable) where the server can't be reached, answers with
/// a status other than 200 (the message holds its text), or stays silent for 60 s.
void post_event_stream(const std::string& host, std::uint16_t port, const std::string& target, const Json& body,
                       const std::function<bool(std::string_view)>& on_data);

}  // namespace mobula::cli

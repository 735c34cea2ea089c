#include "mobula/core/local/worker_protocol.hpp"

#include <chrono>
#include <utility>

#include "mobula/core/codec.hpp"

namespace mobula {
namespace {

/// The members that options of tasks and of actors share.
template <class Options>
auto common(Options& options) {
  return std::tie(options.cpus, options.gpus, options.memory, options.resources, options.labels, options.placement,
                  options.isolation, options.name, options.environment);
}

template <class... Parts>
void write(WireWriter& out, const std::tuple<Parts&...>& parts) {
  std::apply([&](const auto&... part) { (codec::encode(out, part), ...); }, parts);
}
template <class... Parts>
void read(WireReader& in, const std::tuple<Parts&...>& parts) {
  std::apply([&](auto&... part) { ((part = codec::decode<std::remove_cvref_t<decltype(part)>>(in)), ...); }, parts);
}

auto of_tasks(auto& o) {
  return std::tie(o.retries, o.retry_exceptions, o.retry_on, o.timeout, o.buffer);
}
auto of_actors(auto& o) {
  return std::tie(o.detached, o.max_restarts, o.max_task_retries, o.concurrency, o.groups);
}

}  // namespace

void encode(WireWriter& out, const PutMessage& message) {
  out.number(message.id);
  out.number(message.offset);
  out.number(message.size);
  out.text(message.bytes);
  codec::encode(out, message.handles);
}

PutMessage decode_put(WireReader& in) {
  PutMessage message;
  message.id = in.number<std::uint64_t>();
  message.offset = in.number<std::uint64_t>();
  message.size = in.number<std::uint64_t>();
  message.bytes = in.text();
  message.handles = codec::decode<std::vector<std::uint64_t>>(in);
  return message;
}

void encode(WireWriter& out, const CallMessage& message) {
  out.number(message.id);
  out.number(message.actor);
  out.number(message.lane);
  out.text(message.key);
  out.text(message.caller);
  codec::encode(out, message.has_options);
  if (message.has_options) {
    write(out, common(message.options));
    write(out, of_tasks(message.options));
  }
  out.text(message.bytes);
  codec::encode(out, message.references);
  codec::encode(out, message.handles);
}

CallMessage decode_call(WireReader& in) {
  CallMessage message;
  message.id = in.number<std::uint64_t>();
  message.actor = in.number<std::uint64_t>();
  message.lane = in.number<std::uint64_t>();
  message.key = in.text();
  message.caller = in.text();
  message.has_options = codec::decode<bool>(in);
  if (message.has_options) {
    read(in, common(message.options));
    read(in, of_tasks(message.options));
  }
  message.bytes = in.text();
  message.references = codec::decode<std::vector<CallMessage::Reference>>(in);
  message.handles = codec::decode<std::vector<std::uint64_t>>(in);
  return message;
}

void encode(WireWriter& out, const ActorOptions& options) {
  write(out, common(options));
  write(out, of_actors(options));
}

ActorOptions decode_actor_options(WireReader& in) {
  ActorOptions options;
  read(in, common(options));
  read(in, of_actors(options));
  return options;
}

}  // namespace mobula

#include "mobula/core/local/gang_protocol.hpp"

#include "mobula/core/wire.hpp"

namespace mobula {

std::string encode(const GangStart& start) {
  WireWriter out;
  out.text(start.function.module);
  out.text(start.function.build_id);
  out.number(start.function.offset);
  out.text(start.name);
  out.text(start.argument);
  out.number(start.rank);
  out.number(start.size);
  out.number(start.shared_memory);
  out.number(start.shared_bytes);
  return out.take();
}

GangStart decode_gang_start(std::string_view bytes) {
  WireReader in(bytes);
  GangStart start;
  start.function.module = in.text();
  start.function.build_id = in.text();
  start.function.offset = in.number<std::uint64_t>();
  start.name = in.text();
  start.argument = in.text();
  start.rank = in.number<int>();
  start.size = in.number<int>();
  start.shared_memory = in.number<int>();
  start.shared_bytes = in.number<std::uint64_t>();
  return start;
}

std::string encode(const GangFailure& failure) {
  WireWriter out;
  out.number(failure.code);
  out.text(failure.type);
  out.text(failure.message);
  out.text(failure.hint);
  return out.take();
}

GangFailure decode_gang_failure(std::string_view bytes) {
  WireReader in(bytes);
  GangFailure failure;
  failure.code = in.number<int>();
  failure.type = in.text();
  failure.message = in.text();
  failure.hint = in.text();
  return failure;
}

}  // namespace mobula

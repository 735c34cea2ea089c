#include "mobula/core/codec.hpp"

#include <fmt/format.h>

namespace mobula::codec {

void throw_local_value(const char* type) {
  throw Error(ErrorCode::unsupported, fmt::format("a mobula::Local value can't leave the process ({})", type),
              "run the task in a thread, or give the type a mobula::Codec");
}

void throw_bad_size(std::uint64_t size, std::size_t left) {
  throw Error(ErrorCode::corrupt, fmt::format("encoded container claims {} elements; {} bytes are left", size, left));
}

void throw_bad_alternative(std::uint64_t index) {
  throw Error(ErrorCode::corrupt, fmt::format("encoded variant names alternative {}, which it lacks", index));
}

}  // namespace mobula::codec

#include "mobula/train/run/rank_start.hpp"

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"

namespace mobula::train {

std::string encode(const RankStart& start) {
  // The argument may hold any bytes, so it stands behind the JSON line.
  return to_line(Json{{"module", start.function.module},
                      {"build_id", start.function.build_id},
                      {"offset", start.function.offset},
                      {"directory", start.directory.string()},
                      {"threads", start.threads},
                      {"restarts", start.restarts}}) +
         "\n" + start.argument;
}

RankStart decode_rank_start(std::string_view bytes) {
  const std::size_t end = bytes.find('\n');
  if (end == std::string_view::npos) throw Error(ErrorCode::corrupt, "a worker's start has no end of line");
  const Json json = parse_json(bytes.substr(0, end), "a worker's start");
  return {.function = {.module = json.at("module"), .build_id = json.at("build_id"), .offset = json.at("offset")},
          .directory = json.at("directory").get<std::string>(),
          .argument = std::string(bytes.substr(end + 1)),
          .threads = json.at("threads"),
          .restarts = json.at("restarts")};
}

}  // namespace mobula::train

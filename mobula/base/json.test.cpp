#include "mobula/base/json.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

TEST(Json, KeepsKeyOrderAndRoundTripsNumbers) {
  const Json line = {{"step", 1}, {"loss", 0.1 + 0.2}, {"bad", std::numeric_limits<double>::quiet_NaN()}};
  EXPECT_EQ(to_line(line), R"({"step":1,"loss":0.30000000000000004,"bad":null})");
  EXPECT_EQ(parse_json(to_line(line), "x").at("loss").get<double>(), 0.1 + 0.2);
}

TEST(Json, NamesTheFileOfWhatIsWrong) {
  try {
    parse_json("{\"a\": }", "config.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_EQ(error.message().rfind("config.json: not valid JSON: parse error at line 1", 0), 0u) << error.message();
  }
}

TEST(Json, RefusesNumbersThatNoDoubleHolds) {
  try {
    parse_json("[1e999]", "index.json");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_EQ(error.message().rfind("index.json: not valid JSON: number overflow", 0), 0u) << error.message();
  }
}

TEST(Json, RefusesWhatIsTooDeep) {
  EXPECT_NO_THROW(parse_json(std::string(60, '[') + std::string(60, ']'), "x"));
  EXPECT_THROW(parse_json(std::string(100000, '[') + std::string(100000, ']'), "x"), Error);
  EXPECT_THROW(parse_json("\"\xff\"", "x"), Error);
}

TEST(Json, BoundsTheMembersOfOneObject) {
  const JsonLimits limits{.max_members = 2};
  EXPECT_NO_THROW(parse_json(R"([{"a":1,"b":{"c":1,"d":2}},{"e":1,"f":2}])", "x", limits));
  EXPECT_THROW(parse_json(R"({"a":1,"b":2,"c":3})", "x", limits), Error);
}

}  // namespace
}  // namespace mobula

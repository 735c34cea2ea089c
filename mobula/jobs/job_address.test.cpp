#include "mobula/jobs/job_address.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/testing/refusal.hpp"

namespace mobula::jobs {
namespace {

using Variables = std::vector<std::pair<const char*, const char*>>;

/// Sets environment variables for one test.
class Environment {
 public:
  explicit Environment(const Variables& variables) {
    for (const auto& [name, value] : variables) {
      const char* before = std::getenv(name);
      before_.emplace_back(name, before == nullptr ? std::nullopt : std::optional<std::string>(before));
      value == nullptr ? unsetenv(name) : setenv(name, value, 1);
    }
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    for (const auto& [name, value] : before_) value ? setenv(name, value->c_str(), 1) : unsetenv(name);
  }

 private:
  std::vector<std::pair<const char*, std::optional<std::string>>> before_;
};

std::string refusal(std::string_view text) {
  return mobula::refusal([&] { parse_job_address(text); }, ErrorCode::invalid_argument);
}

TEST(JobAddress, ReadsUrlsAndHosts) {
  EXPECT_EQ(parse_job_address("http://head:8265").url(), "http://head:8265");
  EXPECT_EQ(parse_job_address("head").url(), "http://head:8265");
  EXPECT_EQ(parse_job_address("10.0.0.7:9000").url(), "http://10.0.0.7:9000");
  EXPECT_EQ(parse_job_address("https://ray.example.com/team/").url(), "https://ray.example.com:443/team");
  EXPECT_EQ(parse_job_address("http://[::1]:8265").host, "[::1]");
  EXPECT_EQ(parse_job_address("http://[::1]").port, 80);
}

TEST(JobAddress, RefusesAddressesOfSomethingElse) {
  EXPECT_NE(refusal("ray://head:10001").find("ray:// is where programs connect to"), std::string::npos);
  EXPECT_NE(refusal("head:6379").find("6379"), std::string::npos);
  EXPECT_NE(refusal("ftp://head").find("scheme 'ftp'"), std::string::npos);
  EXPECT_NE(refusal("http://head:99999").find("'99999' is no port"), std::string::npos);
  EXPECT_NE(refusal("http://head:").find("'' is no port"), std::string::npos);
  EXPECT_NE(refusal("http://:8265").find("no host"), std::string::npos);
  EXPECT_NE(refusal("http://user@head").find("characters"), std::string::npos);
  EXPECT_NE(refusal("http://he ad").find("characters"), std::string::npos);
}

TEST(JobAddress, IsLookedForInRaysVariables) {
  const Environment environment(Variables{{"RAY_API_SERVER_ADDRESS", nullptr}, {"RAY_ADDRESS", "http://second:1"}});
  EXPECT_EQ(find_job_address("http://given:2").host, "given");
  EXPECT_EQ(find_job_address("").host, "second");
  const Environment both(Variables{{"RAY_API_SERVER_ADDRESS", "first:3"}});
  EXPECT_EQ(find_job_address("").url(), "http://first:3");
  const Environment neither(Variables{{"RAY_API_SERVER_ADDRESS", nullptr}, {"RAY_ADDRESS", "auto"}});
  EXPECT_EQ(find_job_address("").url(), "http://127.0.0.1:8265");
}

TEST(JobAddress, NamesTheVariableThatIsWrong) {
  const Environment environment(Variables{{"RAY_API_SERVER_ADDRESS", nullptr}, {"RAY_ADDRESS", "head:6379"}});
  try {
    find_job_address("");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message().rfind("RAY_ADDRESS: 'head:6379'", 0), 0u) << error.message();
  }
}

TEST(AuthToken, IsFoundWhereRayFindsIt) {
  const TemporaryDirectory home;
  const std::string folder = home.path().string();
  const Environment none(Variables{{"RAY_AUTH_MODE", nullptr},
                                   {"RAY_AUTH_TOKEN", nullptr},
                                   {"RAY_AUTH_TOKEN_PATH", nullptr},
                                   {"HOME", folder.c_str()}});
  EXPECT_EQ(find_auth_token(), "");
  std::filesystem::create_directory(home.path() / ".ray");
  write_file_atomic(home.path() / ".ray" / "auth_token", "of-home\n");
  EXPECT_EQ(find_auth_token(), "of-home");
  write_file_atomic(home.path() / "named", " of-file\n");
  const std::string file = folder + "/named";
  const Environment named(Variables{{"RAY_AUTH_TOKEN_PATH", file.c_str()}});
  EXPECT_EQ(find_auth_token(), "of-file");
  const Environment plain(Variables{{"RAY_AUTH_TOKEN", "plain"}});
  EXPECT_EQ(find_auth_token(), "plain");
  const Environment off(Variables{{"RAY_AUTH_MODE", "disabled"}});
  EXPECT_EQ(find_auth_token(), "");
}

TEST(AuthToken, NamesAFileThatIsMissing) {
  const Environment named(
      Variables{{"RAY_AUTH_MODE", nullptr}, {"RAY_AUTH_TOKEN", nullptr}, {"RAY_AUTH_TOKEN_PATH", "/nowhere/token"}});
  EXPECT_THROW(find_auth_token(), Error);
}

}  // namespace
}  // namespace mobula::jobs

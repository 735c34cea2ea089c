#include "mobula/base/subprocess.hpp"

#include <gtest/gtest.h>

#include <csignal>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

TEST(Subprocess, ReadsLinesAndTheLastOneWithoutItsEnd) {
  Subprocess child({"sh", "-c", "printf 'one\\n\\nthree'; exit 3"}, {.capture_stdout = true});
  EXPECT_EQ(child.read_line(), "one");
  EXPECT_EQ(child.read_line(), "");
  EXPECT_EQ(child.read_line(), "three");
  EXPECT_EQ(child.read_line(), std::nullopt);
  EXPECT_EQ(child.wait(), 3);
}

TEST(Subprocess, ChangesTheChildsEnvironmentOnly) {
  Subprocess child({"sh", "-c", "echo $MOBULA_TEST_CHILD"},
                   {.capture_stdout = true, .environment = {{"MOBULA_TEST_CHILD", "a=b"}}});
  EXPECT_EQ(child.read_line(), "a=b");
  EXPECT_EQ(std::getenv("MOBULA_TEST_CHILD"), nullptr);
}

TEST(Subprocess, TellsASignalFromAnExit) {
  Subprocess child({"sleep", "60"});
  EXPECT_EQ(child.wait_for(std::chrono::milliseconds(20)), std::nullopt);
  child.signal(SIGTERM);
  EXPECT_EQ(child.wait(), 128 + SIGTERM);
}

TEST(Subprocess, KillsTheChildItIsDestroyedWith) {
  pid_t pid = 0;
  {
    const Subprocess child({"sleep", "60"});
    pid = child.pid();
  }
  EXPECT_EQ(::kill(pid, 0), -1);
}

TEST(Subprocess, NamesAProgramThatIsMissing) {
  try {
    Subprocess child({"mobula-no-such-program"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_NE(error.message().find("mobula-no-such-program can't be started"), std::string::npos);
  }
}

}  // namespace
}  // namespace mobula

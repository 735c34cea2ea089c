#include "mobula/core/local/stderr_tail.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/base/log.hpp"

namespace mobula {
namespace {

/// A pipe whose reading end does not block, and what a tail makes of it on standard error.
std::string forwarded(StderrTail& tail, const std::vector<std::string>& writes) {
  int ends[2];
  EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  testing::internal::CaptureStderr();
  for (const std::string& text : writes) {
    EXPECT_EQ(write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
    EXPECT_TRUE(tail.forward(ends[0]));
  }
  close(ends[1]);
  EXPECT_FALSE(tail.forward(ends[0]));
  close(ends[0]);
  return testing::internal::GetCapturedStderr();
}

TEST(StderrTail, PutsTheWorkersNameInFrontOfWholeLines) {
  StderrTail tail("worker 1", 42);
  EXPECT_EQ(forwarded(tail, {"one\ntw", "o\n", "unfinished"}),
            "[worker 1, 42] one\n[worker 1, 42] two\n[worker 1, 42] unfinished\n");
  EXPECT_EQ(tail.last_lines(), "one\ntwo\nunfinished");
}

TEST(StderrTail, PassesBytesOnAsTheyAreWithoutAName) {
  StderrTail tail;
  EXPECT_EQ(forwarded(tail, {"50 %", "\r60 %"}), "50 %\r60 %");
}

TEST(StderrTail, WritesObjectsWhereTheLogIsJson) {
  const LogFormat before = log_format();
  set_log_format(LogFormat::json);
  const StderrTail tail("actor \"a\"", 7);
  const Json raw = parse_json(tail.labelled("plain"), "line");
  EXPECT_EQ(raw.at("message"), "plain");
  EXPECT_EQ(raw.at("worker"), "actor \"a\"");
  EXPECT_EQ(raw.at("pid"), 7);
  const Json own = parse_json(tail.labelled(R"({"time":"t","level":"error","message":"m"})"), "line");
  EXPECT_EQ(own.at("level"), "error");
  EXPECT_EQ(own.at("pid"), 7);
  set_log_format(before);
}

}  // namespace
}  // namespace mobula

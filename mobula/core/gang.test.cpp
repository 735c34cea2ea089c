#include "mobula/core/gang.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <thread>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/subprocess.hpp"
#include "mobula/core/local/code_address.hpp"
#include "mobula/core/testing/program.hpp"

namespace mobula {
namespace {

using namespace std::chrono_literals;
using Kind = GangEvent::Kind;

constexpr auto kLong = 60s;

std::atomic<int>& counter(std::span<std::byte> shared) {
  return *reinterpret_cast<std::atomic<int>*>(shared.data());
}

void greet(GangMember& member) {
  member.send(fmt::format("{} of {} got '{}', {} shared", member.rank(), member.size(), member.argument(),
                          member.shared().size()));
}

TEST(Gang, RunsTheFunctionInEveryRankAndTellsOfEachEnd) {
  Gang gang(greet, {.size = 3, .shared_bytes = 4096, .argument = "bytes"});
  std::multiset<std::string> messages;
  std::set<int> finished;
  while (auto event = gang.next_event(kLong)) {
    if (event->kind == Kind::message) messages.insert(event->payload);
    if (event->kind == Kind::finished) finished.insert(event->rank);
  }
  EXPECT_EQ(messages, (std::multiset<std::string>{"0 of 3 got 'bytes', 4096 shared", "1 of 3 got 'bytes', 4096 shared",
                                                  "2 of 3 got 'bytes', 4096 shared"}));
  EXPECT_EQ(finished, (std::set<int>{0, 1, 2}));
  EXPECT_FALSE(gang.running());
}

void look_around(GangMember& member) {
  std::fputs("words for the driver\n", stderr);
  member.send(std::filesystem::current_path().string() + " " + program_path());
  throw std::runtime_error("over");
}

TEST(Gang, RunsAnotherProgramInAFolderAndRelaysWhatItWrites) {
  // The members need not be of the process that starts them: on a cluster it is a worker of Ray's.
  const TemporaryDirectory folder;
  const auto copy = folder.path() / "a_copy";
  std::filesystem::copy_file(program_path(), copy);
  ::testing::internal::CaptureStderr();
  std::string relayed, message, last;
  {
    Gang gang(look_around,
              {.program = copy.string(), .directory = folder.path().string(), .relay_standard_error = true});
    while (auto event = gang.next_event(kLong)) {
      if (event->kind == Kind::standard_error) relayed += event->payload;
      if (event->kind == Kind::message) message = event->payload;
      if (event->kind == Kind::failed) last = event->last_stderr;
    }
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(message, folder.path().string() + " " + copy.string());
  EXPECT_NE(relayed.find("words for the driver\n"), std::string::npos) << relayed;
  EXPECT_EQ(last, relayed);
}

void add_to_shared(GangMember& member) {
  counter(member.shared()) += member.rank() + 1;
}

TEST(Gang, SharesOneZeroedBlockOfMemory) {
  Gang gang(add_to_shared, {.size = 4, .shared_bytes = 64});
  EXPECT_GE(gang.shared().size(), 64U);
  while (gang.next_event(kLong)) {
  }
  EXPECT_EQ(counter(gang.shared()), 10);
}

void echo(GangMember& member) {
  while (auto bytes = member.receive(kLong)) {
    if (*bytes == "stop") return;
    member.send(*bytes);
  }
}

TEST(Gang, CarriesMessagesBothWaysWhateverTheirSize) {
  Gang gang(echo, {});
  const std::string large(20'000'000, 'x');
  for (const std::string& text : {std::string("a"), std::string(), large, std::string("z\0z", 3)}) {
    gang.send(0, text);
    auto event = gang.next_event(kLong);
    ASSERT_TRUE(event);
    ASSERT_EQ(event->kind, Kind::message);
    EXPECT_TRUE(event->payload == text) << event->payload.size();
  }
  gang.send(0, "stop");
  auto event = gang.next_event(kLong);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::finished);
  gang.send(0, "to the dead: dropped");
}

TEST(Gang, ReturnsNothingWhenTheTimeoutPasses) {
  Gang gang(echo, {});
  EXPECT_FALSE(gang.next_event(1ms));
  EXPECT_TRUE(gang.running());
}

void receive_nothing(GangMember& member) {
  member.send(member.receive(1ms) ? "something" : "nothing");
}

TEST(Gang, MemberReceivesNothingWhenTheTimeoutPasses) {
  Gang gang(receive_nothing, {});
  EXPECT_EQ(gang.next_event(kLong)->payload, "nothing");
}

void flood(GangMember& member) {
  const std::string block(1 << 20, 'f');
  for (int i = 0; i < 400; ++i) member.send(block);
}

TEST(Gang, LosesNoMessageWhenTheDriverIsSlowToAsk) {
  Gang gang(flood, {});
  int messages = 0;
  while (auto event = gang.next_event(kLong)) messages += event->kind == Kind::message ? 1 : 0;
  EXPECT_EQ(messages, 400);
}

void fail_with_error(GangMember&) {
  std::fprintf(stderr, "about to fail\n");
  throw Error(ErrorCode::corrupt, "row 7 is damaged", "repair row 7");
}
void fail_with_standard_exception(GangMember&) {
  throw std::out_of_range("index 9");
}
void fail_with_integer(GangMember&) {
  throw 5;
}

TEST(Gang, TellsHowTheFunctionFailed) {
  Gang gang(fail_with_error, {});
  auto event = gang.next_event(kLong);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::failed);
  EXPECT_EQ(event->payload, "row 7 is damaged");
  EXPECT_EQ(event->hint, "repair row 7");
  EXPECT_EQ(event->error_code, static_cast<int>(ErrorCode::corrupt));
  EXPECT_EQ(event->error_type, "mobula::Error");
  EXPECT_EQ(event->last_stderr, "about to fail\n");
  EXPECT_FALSE(gang.next_event(kLong));
}

TEST(Gang, NamesTheTypeOfExceptionsThatAreNotOurs) {
  Gang first(fail_with_standard_exception, {});
  auto event = first.next_event(kLong);
  EXPECT_EQ(event->error_type, "std::out_of_range");
  EXPECT_EQ(event->payload, "index 9");
  EXPECT_EQ(event->error_code, static_cast<int>(ErrorCode::task_failed));
  Gang second(fail_with_integer, {});
  EXPECT_EQ(second.next_event(kLong)->error_type, "int");
}

void exit_three(GangMember&) {
  for (int i = 0; i < 2000; ++i) std::fprintf(stderr, "noise\n");
  std::fprintf(stderr, "last words\n");
  std::exit(3);
}
void abort_now(GangMember&) {
  std::abort();
}
void fault(GangMember&) {
  signal(SIGSEGV, SIG_DFL);  // a sanitizer's handler would exit instead
  raise(SIGSEGV);
}

TEST(Gang, TellsExitAbortAndSegmentationFaultApart) {
  Gang exits(exit_three, {});
  auto event = exits.next_event(kLong);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::died);
  EXPECT_EQ(event->exit_code, 3);
  EXPECT_EQ(event->signal, 0);
  EXPECT_LE(event->last_stderr.size(), 4096U);
  EXPECT_TRUE(event->last_stderr.ends_with("noise\nlast words\n")) << event->last_stderr;
  EXPECT_TRUE(event->last_stderr.starts_with("noise\n")) << event->last_stderr;

  Gang aborts(abort_now, {});
  event = aborts.next_event(kLong);
  EXPECT_EQ(event->kind, Kind::died);
  EXPECT_EQ(event->signal, SIGABRT);

  Gang faults(fault, {});
  event = faults.next_event(kLong);
  EXPECT_EQ(event->kind, Kind::died);
  EXPECT_EQ(event->signal, SIGSEGV);
}

void wait_for_ever(GangMember& member) {
  member.send("ready");
  while (member.receive(1h)) {
  }
}

TEST(Gang, NoticesAKilledMemberWhileTheOthersGoOn) {
  Gang gang(wait_for_ever, {.size = 2});
  for (int i = 0; i < 2; ++i) ASSERT_EQ(gang.next_event(kLong)->payload, "ready");
  ::kill(gang.pids()[1], SIGKILL);
  auto event = gang.next_event(kLong);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::died);
  EXPECT_EQ(event->rank, 1);
  EXPECT_EQ(event->signal, SIGKILL);
  EXPECT_TRUE(gang.running());
  gang.kill();
  EXPECT_FALSE(gang.running());
  EXPECT_EQ(gang.next_event(kLong)->rank, 0);
  EXPECT_FALSE(gang.next_event(kLong));
}

/// Rank 0 sends more than the driver takes in unasked, and only then lets rank 1 die.
void send_then_let_die(GangMember& member) {
  auto& sent = *reinterpret_cast<std::atomic<int>*>(member.shared().data());
  if (member.rank() == 1) {
    while (sent.load() == 0) std::this_thread::yield();
    ::_exit(3);
  }
  const std::string block(std::size_t{1} << 20, 'b');
  for (int i = 0; i < 256; ++i) member.send(block);
  std::this_thread::sleep_for(100ms);  // the driver has taken all that, and takes no more
  member.send("the last");
  sent.store(1);
  while (member.receive(1h)) {
  }
}

TEST(Gang, TellsOfADeathAfterWhatTheLivingHadSentBeforeIt) {
  Gang gang(send_then_let_die, {.size = 2, .shared_bytes = sizeof(int)});
  pollfd death{static_cast<int>(syscall(SYS_pidfd_open, gang.pids()[1], 0)), POLLIN, 0};
  poll(&death, 1, 60'000);
  ::close(death.fd);
  int messages = 0;
  auto event = gang.next_event(kLong);
  for (; event && event->kind == Kind::message; event = gang.next_event(kLong)) ++messages;
  ASSERT_TRUE(event);
  EXPECT_EQ(event->kind, Kind::died);
  EXPECT_EQ(event->rank, 1);
  EXPECT_EQ(messages, 257);
}

TEST(Gang, DestructorLeavesNoMember) {
  std::vector<pid_t> pids;
  {
    Gang gang(wait_for_ever, {.size = 2});
    pids = gang.pids();
  }
  for (pid_t pid : pids) EXPECT_EQ(::kill(pid, 0), -1);
}

void tell_environment(GangMember& member) {
  const char* value = std::getenv("MOBULA_TEST_VALUE");
  const char* mark = std::getenv("MOBULA_WORKER");
  member.send(fmt::format("{} {}", value ? value : "unset", mark ? mark : "unmarked"));
}

TEST(Gang, SetsTheEnvironmentInTheMembersOnly) {
  Gang gang(tell_environment, {.environment = {{"MOBULA_TEST_VALUE", "a=b"}}});
  EXPECT_EQ(gang.next_event(kLong)->payload, "a=b unmarked");
  EXPECT_EQ(std::getenv("MOBULA_TEST_VALUE"), nullptr);
}

TEST(Gang, OutlivesTheThreadThatStartedIt) {
  std::unique_ptr<Gang> gang;
  std::thread([&] { gang = std::make_unique<Gang>(echo, GangOptions{}); }).join();
  gang->send(0, "still there");
  EXPECT_EQ(gang->next_event(kLong)->payload, "still there");
}

TEST(Gang, RunsFunctionsOfLibrariesLoadedAtRunTime) {
  void* library = dlopen(MOBULA_TEST_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(library, nullptr) << dlerror();
  const auto get = reinterpret_cast<GangFunction (*)()>(dlsym(library, "mobula_test_plugin_function"));
  Gang gang(get(), {});
  EXPECT_EQ(gang.next_event(kLong)->payload, "greetings from the plugin");
}

TEST(Gang, RunsCaptureLessLambdas) {
  Gang gang([](GangMember& member) { member.send("lambda"); }, {});
  EXPECT_EQ(gang.next_event(kLong)->payload, "lambda");
}

void start_a_gang(GangMember& member) {
  Gang inner(greet, {.size = 2});
  int finished = 0;
  while (auto event = inner.next_event(kLong)) finished += event->kind == Kind::finished ? 1 : 0;
  member.send(std::to_string(finished));
}

TEST(Gang, MembersMayStartGangsOfTheirOwn) {
  Gang gang(start_a_gang, {});
  EXPECT_EQ(gang.next_event(kLong)->payload, "2");
}

TEST(Gang, RefusesSizesBelowOneAndUnknownRanks) {
  EXPECT_THROW(Gang(greet, {.size = 0}), Error);
  Gang gang(echo, {});
  EXPECT_THROW(gang.send(1, "x"), Error);
  EXPECT_THROW(gang.send(-1, "x"), Error);
}

const testing::Program driver("gang driver", [] {
  Gang gang(wait_for_ever, {.size = 3});
  for (int i = 0; i < 3; ++i) gang.next_event(kLong);
  for (pid_t pid : gang.pids()) std::printf("%d\n", pid);
  std::fflush(stdout);
  gang.next_event(1h);
  return 0;
});

TEST(Gang, MembersDieWithADriverThatIsKilled) {
  testing::RunningProgram program("gang driver");
  std::vector<pid_t> pids;
  for (int i = 0; i < 3; ++i) pids.push_back(std::stoi(program.read_line()));
  for (pid_t pid : pids) ASSERT_EQ(::kill(pid, 0), 0);
  // One of them is stopped: only the kernel can end it.
  ::kill(pids[0], SIGSTOP);
  program.kill(SIGKILL);
  program.wait();
  for (pid_t pid : pids) EXPECT_TRUE(testing::wait_until_gone(pid)) << pid;
}

TEST(CodeAddress, RefusesAnotherBuildOfTheProgram) {
  CodeAddress address = locate_code(reinterpret_cast<const void*>(&greet));
  EXPECT_TRUE(address.module.empty());
  EXPECT_EQ(resolve_code(address), reinterpret_cast<void*>(&greet));
  address.build_id += "00";
  EXPECT_THROW(resolve_code(address), Error);
}

TEST(CodeAddress, NamesALibraryThatIsGone) {
  try {
    resolve_code({.module = "/nonexistent/lib.so"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_found);
    EXPECT_NE(error.message().find("/nonexistent/lib.so"), std::string::npos);
  }
}

}  // namespace
}  // namespace mobula

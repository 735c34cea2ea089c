#include "mobula/core/errors.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <stdexcept>
#include <string>

namespace mobula {
namespace {

/// Returns an error as it is after a way through bytes.
template <class E>
std::exception_ptr sent(E error) {
  return decode_error(encode_error(std::make_exception_ptr(std::move(error))));
}

TEST(Errors, KeepTheirClassAndEveryPartOnTheWay) {
  try {
    const WorkerExit exit{.exit_code = 3, .signal = SIGSEGV, .peak_memory = 4096, .out_of_memory = true};
    std::rethrow_exception(sent(WorkerDiedError("died", exit, "last words", "look")));
  } catch (const WorkerDiedError& error) {
    EXPECT_EQ(error.peak_memory(), 4096U);
    EXPECT_TRUE(error.out_of_memory());
    EXPECT_EQ(error.signal(), SIGSEGV);
    EXPECT_EQ(error.exit_code(), 3);
    EXPECT_EQ(error.last_stderr(), "last words");
    EXPECT_EQ(error.message(), "died");
    EXPECT_EQ(error.hint(), "look");
  }
  EXPECT_THROW(std::rethrow_exception(sent(TimeoutError("t"))), TimeoutError);
  EXPECT_THROW(std::rethrow_exception(sent(CancelledError("t"))), CancelledError);
  EXPECT_THROW(std::rethrow_exception(sent(ObjectLostError("t"))), ObjectLostError);
  EXPECT_THROW(std::rethrow_exception(sent(OutOfMemoryError("t"))), OutOfMemoryError);
  EXPECT_THROW(std::rethrow_exception(sent(ResourceError("t"))), ResourceError);
  try {
    std::rethrow_exception(sent(Error(ErrorCode::corrupt, "row 7", "mend it")));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_EQ(error.hint(), "mend it");
  }
}

TEST(Errors, NameTheTypeOfOthersExceptions) {
  try {
    std::rethrow_exception(sent(std::out_of_range("index 9")));
  } catch (const TaskError& error) {
    EXPECT_EQ(error.type(), "std::out_of_range");
    EXPECT_EQ(error.message(), "index 9");
  }
  try {
    std::rethrow_exception(sent(42));
  } catch (const TaskError& error) {
    EXPECT_EQ(error.type(), "int");
  }
}

TEST(Errors, CollectWhereTheyHaveBeen) {
  std::exception_ptr error = std::make_exception_ptr(TaskError("T", "m"));
  error = with_context(error, "inner");
  error = decode_error(encode_error(error));
  error = with_context(error, "outer");
  try {
    std::rethrow_exception(error);
  } catch (const TaskError& told) {
    EXPECT_EQ(told.trace(), (std::vector<std::string>{"inner", "outer"}));
  }
}

TEST(Errors, RefuseBytesThatAreCutShort) {
  const std::string whole = encode_error(std::make_exception_ptr(TaskError("type", "message", "hint")));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THROW(decode_error(whole.substr(0, size)), Error) << size << " bytes";
  }
}

TEST(Errors, TellDeathsApart) {
  const auto message = [](const WorkerExit& exit) { return describe_death("f", exit, "").message(); };
  EXPECT_EQ(message({.signal = SIGKILL}), "f: the worker process was killed by SIGKILL");
  EXPECT_EQ(message({.signal = SIGKILL, .peak_memory = 1'500'000, .out_of_memory = true}),
            "f: the worker process was killed by the system, which had run out of memory; it took 1.5 MB at its most");
  EXPECT_EQ(message({.signal = SIGSEGV}), "f: the worker process died of a segmentation fault");
  EXPECT_EQ(message({.signal = SIGFPE}), "f: the worker process died of an arithmetic error");
  EXPECT_EQ(message({.signal = SIGTERM}), "f: the worker process was ended by signal 15 (SIGTERM)");
  EXPECT_EQ(message({.exit_code = 3}), "f: the worker process exited with code 3");
  for (const int signal : {0, SIGKILL, SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTERM}) {
    EXPECT_FALSE(describe_death("f", {.signal = signal}, "").hint().empty()) << signal;
  }
}

TEST(Errors, QuoteTheLastLinesOfADeadWorker) {
  const WorkerDiedError died = describe_death("f", {.exit_code = 3}, "one\ntwo\n");
  EXPECT_EQ(died.message(), "f: the worker process exited with code 3; its last lines were:\n  | one\n  | two");
  EXPECT_EQ(died.last_stderr(), "one\ntwo\n");
}

}  // namespace
}  // namespace mobula

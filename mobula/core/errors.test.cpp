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
    std::rethrow_exception(sent(WorkerDiedError("died", SIGSEGV, 3, "last words", "look")));
  } catch (const WorkerDiedError& error) {
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
  EXPECT_NE(describe_death("f", SIGKILL, 0, "").message().find("was killed by SIGKILL"), std::string::npos);
  EXPECT_NE(describe_death("f", SIGSEGV, 0, "").message().find("segmentation fault"), std::string::npos);
  EXPECT_NE(describe_death("f", SIGTERM, 0, "").message().find("SIGTERM"), std::string::npos);
  const WorkerDiedError exited = describe_death("f", 0, 3, "a line");
  EXPECT_NE(exited.message().find("exited with code 3"), std::string::npos);
  EXPECT_NE(exited.message().find("a line"), std::string::npos);
}

}  // namespace
}  // namespace mobula

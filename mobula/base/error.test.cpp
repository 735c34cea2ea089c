#include "mobula/base/error.hpp"

#include <gtest/gtest.h>

namespace mobula {
namespace {

TEST(Error, KeepsCodeMessageHintTraceAndCause) {
  Error error(ErrorCode::corrupt, "model.safetensors: header is cut off", "download it again");
  error.with_context("loading runs/a/best").with_context("mobula generate");
  error.caused_by(std::make_exception_ptr(std::runtime_error("short read")));
  const Error copy = error;
  EXPECT_EQ(copy.code(), ErrorCode::corrupt);
  EXPECT_STREQ(copy.what(), "model.safetensors: header is cut off");
  EXPECT_EQ(copy.hint(), "download it again");
  ASSERT_EQ(copy.trace().size(), 2u);
  EXPECT_EQ(copy.trace().front(), "loading runs/a/best");
  EXPECT_THROW(std::rethrow_exception(copy.cause()), std::runtime_error);
}

TEST(Error, IsDescribedAsErrorAndHintLines) {
  EXPECT_EQ(describe(Error(ErrorCode::io, "disk is full", "free some space")),
            "error: disk is full\nhint: free some space\n");
  EXPECT_EQ(describe(std::runtime_error("odd")), "error: odd\n");
}

TEST(Error, MapsCodesToExitCodes) {
  EXPECT_EQ(exit_code(ErrorCode::invalid_argument), 2);
  EXPECT_EQ(exit_code(ErrorCode::interrupted), 75);
  EXPECT_EQ(exit_code(ErrorCode::io), 1);
}

TEST(Error, NamesTheFullDisk) {
  try {
    throw_io("runs/a/model.safetensors", ENOSPC);
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "runs/a/model.safetensors: No space left on device");
    EXPECT_NE(error.hint().find("free some space"), std::string::npos);
  }
}

}  // namespace
}  // namespace mobula

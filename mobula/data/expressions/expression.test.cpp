#include "mobula/data/expressions/expression.hpp"

#include <arrow/array.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/record_batch.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <gtest/gtest.h>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/expressions/evaluate.hpp"

namespace mobula::data {
namespace {

/// Rows (i, x, s): (1, 0.5, "abc"), (-7, null, "É"), (null, 2, null).
std::shared_ptr<arrow::RecordBatch> rows() {
  initialize_arrow();
  arrow::Int64Builder i;
  arrow::DoubleBuilder x;
  arrow::StringBuilder s;
  check(i.Append(1), "");
  check(i.Append(-7), "");
  check(i.AppendNull(), "");
  check(x.Append(0.5), "");
  check(x.AppendNull(), "");
  check(x.Append(2), "");
  check(s.Append("abc"), "");
  check(s.Append("\xC3\x89"), "");
  check(s.AppendNull(), "");
  const auto schema = arrow::schema({arrow::field("i", arrow::int64()), arrow::field("x", arrow::float64()),
                                     arrow::field("odd name", arrow::utf8())});
  return arrow::RecordBatch::Make(schema, 3, {take(i.Finish(), ""), take(x.Finish(), ""), take(s.Finish(), "")});
}

std::string value_of(const std::string& text) {
  const auto values = evaluate(*parse_expression(text), *rows());
  std::string result;
  for (std::int64_t row = 0; row < values->length(); ++row) {
    result += (row == 0 ? "" : " ");
    result += values->IsNull(row) ? std::string("null") : take(values->GetScalar(row), "")->ToString();
  }
  return result;
}

std::string error_of(const std::string& text) {
  return mobula::refusal_with_hint([&] { value_of(text); }, ErrorCode::invalid_argument);
}

TEST(Expression, BindsOperatorsAsMathematicsDoes) {
  EXPECT_EQ(value_of("1 + 2 * 3 - -4"), "11 11 11");
  EXPECT_EQ(value_of("(1 + 2) * 3"), "9 9 9");
  EXPECT_EQ(value_of("not i == 1 or x > 1 and true"), "false true true");
}

TEST(Expression, PassesNullsThroughAndDecidesWhereItCan) {
  EXPECT_EQ(value_of("i + 1"), "2 -6 null");
  EXPECT_EQ(value_of("x > 0 and false"), "false false false");
  EXPECT_EQ(value_of("x is null"), "false true false");
  EXPECT_EQ(value_of("x is not null"), "true false true");
  EXPECT_EQ(value_of("coalesce(x, 9)"), "0.5 9 2");
}

TEST(Expression, DividesAsRealNumbersAndTakesRestsOfTheDivisorsSign) {
  EXPECT_EQ(value_of("i / 2"), "0.5 -3.5 null");
  EXPECT_EQ(value_of("i % 5"), "1 3 null");
  EXPECT_EQ(value_of("x % 0.3 < 0.3"), "true null true");
}

TEST(Expression, ChangesTextsOfAsciiAndBeyond) {
  EXPECT_EQ(value_of("upper(`odd name`)"), "ABC \xC3\x89 null");
  EXPECT_EQ(value_of("lower(`odd name`)"), "abc \xC3\xA9 null");
  EXPECT_EQ(value_of("length(`odd name`)"), "3 1 null");
  EXPECT_EQ(value_of("concat(`odd name`, '-', i)"), "abc-1 \xC3\x89--7 null");
  EXPECT_EQ(value_of("`odd name` in ('abc', \"x\")"), "true false null");
  EXPECT_EQ(value_of("contains(`odd name`, 'b')"), "true false null");
  EXPECT_EQ(value_of("substring(`odd name`, 1, 2)"), "bc  null");
}

TEST(Expression, CastsAndChooses) {
  EXPECT_EQ(value_of("cast(i, 'string')"), "1 -7 null");
  EXPECT_EQ(value_of("if(i > 0, 'yes', 'no')"), "yes no null");
  EXPECT_EQ(value_of("round(x * 3.3, 1)"), "1.6 null 6.6");
}

TEST(Expression, SaysWhereATextIsWrong) {
  EXPECT_NE(error_of("i +").find("it ends where a value is expected"), std::string::npos);
  EXPECT_NE(error_of("i ) 2").find("')' is not expected here"), std::string::npos);
  EXPECT_NE(error_of("'open").find("not closed"), std::string::npos);
  EXPECT_NE(error_of("1.2.3").find("'1.2.3' is not a number"), std::string::npos);
  EXPECT_NE(error_of(std::string(200, '(')).find("more than 64 levels"), std::string::npos);
}

TEST(Expression, SuggestsTheNearestColumnAndFunction) {
  EXPECT_NE(error_of("`odd nane` == 'a'").find("did you mean 'odd name'?"), std::string::npos);
  EXPECT_NE(error_of("uper(`odd name`)").find("did you mean 'upper'?"), std::string::npos);
  EXPECT_NE(error_of("upper()").find("takes 1 arguments, not 0"), std::string::npos);
}

TEST(Expression, RefusesOverflowAndTypesThatDoNotFit) {
  EXPECT_NE(error_of("i * 9223372036854775807").find("overflow"), std::string::npos);
  EXPECT_NE(error_of("i + `odd name`").find("int64, string"), std::string::npos);
}

TEST(Expression, ParsesOrRefusesWhateverItIsGiven) {
  Random random(1);
  const std::vector<std::string> good = {
      "x > 0.5 and s is not null", "if(c, a + 2 * b, -c)", "replace_regex(upper(text), '([A-Z]+)', '<x>')",
      "cast(id % 7, 'string') == 'a\'\'b' or not (x <= 1e-5)", "coalesce(a, b, 'c')"};
  int num_parsed = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = good[random.below(good.size())];
    for (std::uint64_t change = 0; change <= random.below(5); ++change) {
      const auto at = random.below(text.size() + 1);
      switch (random.below(4)) {
        case 0:
          text.insert(at, 1, static_cast<char>(random.below(256)));
          break;
        case 1:
          text.erase(at, 1 + random.below(4));
          break;
        case 2:
          if (at < text.size()) text[at] = "()'\"+-*/%<>=, "[random.below(14)];
          break;
        default:
          text.insert(at, good[random.below(good.size())].substr(0, random.below(20)));
      }
    }
    try {
      parse_expression(text);
      ++num_parsed;
    } catch (const Error& error) {
      EXPECT_NE(error.code(), ErrorCode::internal) << text;
    }
  }
  EXPECT_GT(num_parsed, 100);
  EXPECT_THROW(parse_expression(std::string(100000, '(')), Error);
}

}  // namespace
}  // namespace mobula::data

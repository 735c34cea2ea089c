#include "mobula/data/rows/typed_rows.hpp"

#include <gtest/gtest.h>

#include "mobula/base/error.hpp"
#include "mobula/base/testing/refusal.hpp"
#include "mobula/data/rows/tensor_view.hpp"

namespace mobula::data {
namespace {

struct Project {
  std::int64_t id;
  std::string title;
  std::optional<double> score;
  std::vector<float> vector;
  std::uint8_t level;
  bool done;

  bool operator==(const Project&) const = default;
};

struct Renamed {
  static constexpr std::array columns = {"id", "s"};
  std::int32_t number;
  std::string text;
};

TEST(TypedRows, FindsTheNamesOfMembers) {
  const auto names = member_names<Project>();
  const std::vector<std::string_view> expected = {"id", "title", "score", "vector", "level", "done"};
  EXPECT_EQ(std::vector<std::string_view>(names.begin(), names.end()), expected);
}

TEST(TypedRows, GoThroughABatchAndComeBack) {
  const std::vector<Project> rows = {{1, "a", 0.5, {1, 2, 3}, 255, true}, {-7, "", std::nullopt, {}, 0, false}};
  const auto batch = batch_of(rows);
  EXPECT_EQ(rows_of<Project>(batch), rows);
  EXPECT_TRUE(rows_of<Project>(batch_of(std::vector<Project>())).empty());
}

TEST(TypedRows, ReadColumnsOfOtherNamesAndRefuseWhatDoesNotFit) {
  const auto batch = Dataset::range(3).with({{"s", "concat('t', id)"}}).collect().front();
  const auto rows = rows_of<Renamed>(batch);
  EXPECT_EQ(rows[2].number, 2);
  EXPECT_EQ(rows[2].text, "t2");
  const auto large = Dataset::range(2).with({{"s", "'x'"}, {"id", "id * 3000000000"}}).collect().front();
  EXPECT_EQ(refusal([&] { rows_of<Renamed>(large); }),
            "column 'id' at row 2 of the batch: 3000000000 does not fit the member");
  const auto null = Dataset::range(2).with({{"s", "if(id == 1, cast(null, 'string'), 'x')"}}).collect().front();
  EXPECT_EQ(refusal([&] { rows_of<Renamed>(null); }),
            "column 's' at row 2 of the batch: a null, and its member is no optional");
  EXPECT_EQ(refusal([&] { rows_of<Project>(batch); }), "no column 'title'");
  const auto text = Dataset::range(2).with({{"id", "'a'"}, {"s", "'x'"}}).collect().front();
  EXPECT_EQ(refusal([&] { rows_of<Renamed>(text); }), "column 'id' is string, not an integer");
}

struct Vector {
  std::vector<float> v;
};

TEST(TensorView, LooksAtNumbersAndListsWithoutACopy) {
  const auto batch = Dataset::range(100).with({{"x", "cast(id, 'float32')"}}).limit(10).collect().front();
  const TensorView view = tensor_view(batch, "x");
  EXPECT_EQ(view.type, ElementType::float32);
  EXPECT_EQ(view.shape, (std::vector<std::int64_t>{10}));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(view.as<float>()[i], static_cast<float>(i));
  EXPECT_THROW(view.as<double>(), Error);
  const auto lists = batch_of(std::vector<Vector>{{{1, 2}}, {{3, 4}}, {{5, 6}}});
  const TensorView matrix = tensor_view(lists, "v");
  EXPECT_EQ(matrix.shape, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(matrix.as<float>()[5], 6);
  EXPECT_EQ(matrix.size(), 6);
}

TEST(TensorView, NamesColumnAndRowOfWhatIsNoTensor) {
  const auto ragged = batch_of(std::vector<Vector>{{{1, 2}}, {{3}}});
  EXPECT_EQ(refusal([&] { tensor_view(ragged, "v"); }),
            "tensor: column 'v' has a list of 1 at row 2 of the batch, and one of 2 at row 1");
  const auto batch =
      Dataset::range(3).with({{"s", "'a'"}, {"n", "if(id == 1, cast(null, 'int64'), id)"}}).collect().front();
  EXPECT_EQ(refusal([&] { tensor_view(batch, "s"); }), "tensor: column 's' holds string, not numbers");
  EXPECT_EQ(refusal([&] { tensor_view(batch, "n"); }), "tensor: column 'n' has a null at 1");
  EXPECT_EQ(refusal([&] { tensor_view(batch, "idd"); }), "tensor: no column 'idd'");
}

}  // namespace
}  // namespace mobula::data

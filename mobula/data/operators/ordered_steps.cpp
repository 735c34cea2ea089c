#include "mobula/data/operators/ordered_steps.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <unordered_map>

#include "mobula/data/blocks/row_keys.hpp"

namespace mobula::data {
namespace {

class Limit : public OrderedStep {
 public:
  explicit Limit(std::int64_t rows) : rows_(rows), left_(rows) {}
  std::string describe() const override { return fmt::format("limit({})", rows_); }
  bool apply(Block& block) override {
    if (block.batch->num_rows() > left_) block.slice(0, left_);
    left_ -= block.batch->num_rows();
    return left_ > 0;
  }

 private:
  std::int64_t rows_;
  std::int64_t left_;
};

class Keep : public OrderedStep {
 public:
  Keep(std::string describe, std::function<bool(std::uint64_t)> keep)
      : description_(std::move(describe)), keep_(std::move(keep)) {}
  std::string describe() const override { return description_; }
  bool apply(Block& block) override {
    std::vector<std::uint32_t> rows;
    for (std::int64_t row = 0; row < block.batch->num_rows(); ++row) {
      if (keep_(next_++)) rows.push_back(static_cast<std::uint32_t>(row));
    }
    block.pick(rows, description_);
    return true;
  }

 private:
  std::string description_;
  std::function<bool(std::uint64_t)> keep_;
  std::uint64_t next_ = 0;
};

class KeepByKey : public OrderedStep {
 public:
  KeepByKey(std::string describe, std::string column, std::function<bool(const std::string&, std::uint64_t)> keep)
      : description_(std::move(describe)), column_(std::move(column)), keep_(std::move(keep)) {}
  std::string describe() const override { return description_; }
  std::shared_ptr<arrow::Schema> bind(const std::shared_ptr<arrow::Schema>& input) override {
    keys_ = find_key_columns(*input, {column_}, description_);
    return input;
  }
  bool apply(Block& block) override {
    const RowKeys keys(*block.batch, keys_, description_);
    std::vector<std::uint32_t> rows;
    for (std::size_t row = 0; row < keys.size(); ++row) {
      const std::string key(keys[row]);
      if (keep_(key, seen_[key]++)) rows.push_back(static_cast<std::uint32_t>(row));
    }
    block.pick(rows, description_);
    return true;
  }

 private:
  std::string description_;
  std::string column_;
  std::function<bool(const std::string&, std::uint64_t)> keep_;
  std::vector<KeyColumn> keys_;
  std::unordered_map<std::string, std::uint64_t> seen_;
};

}  // namespace

std::unique_ptr<OrderedStep> limit_step(std::int64_t rows) {
  return std::make_unique<Limit>(rows);
}
std::unique_ptr<OrderedStep> keep_step(std::string describe, std::function<bool(std::uint64_t)> keep) {
  return std::make_unique<Keep>(std::move(describe), std::move(keep));
}
std::unique_ptr<OrderedStep> keep_by_key_step(std::string describe, std::string column,
                                              std::function<bool(const std::string&, std::uint64_t)> keep) {
  return std::make_unique<KeepByKey>(std::move(describe), std::move(column), std::move(keep));
}

}  // namespace mobula::data

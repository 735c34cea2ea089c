#include "mobula/data/operators/key_partitions.hpp"

#include <arrow/record_batch.h>

#include <functional>

#include "mobula/data/blocks/take_rows.hpp"

namespace mobula::data {

KeyPartitions::KeyPartitions(std::shared_ptr<SpillSpace> space, std::shared_ptr<arrow::Schema> schema,
                             std::vector<KeyColumn> keys)
    : space_(std::move(space)), keys_(std::move(keys)) {
  for (std::size_t i = 0; i < kNumKeyPartitions; ++i) files_.push_back(std::make_shared<SpillFile>(space_, schema));
}

void KeyPartitions::append(const std::shared_ptr<arrow::RecordBatch>& batch) {
  const RowKeys keys(*batch, keys_, space_->what());
  std::vector<std::vector<std::uint32_t>> rows(kNumKeyPartitions);
  for (std::size_t row = 0; row < keys.size(); ++row)
    rows[std::hash<std::string_view>{}(keys[row]) % kNumKeyPartitions].push_back(static_cast<std::uint32_t>(row));
  for (std::size_t i = 0; i < kNumKeyPartitions; ++i) {
    if (!rows[i].empty()) files_[i]->append(take_rows(batch, rows[i], space_->what()));
  }
}

std::vector<std::shared_ptr<SpillFile>> KeyPartitions::finish() {
  for (const auto& file : files_) file->finish();
  return std::move(files_);
}

}  // namespace mobula::data

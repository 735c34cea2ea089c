#include <arrow/array.h>
#include <arrow/buffer.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/take_rows.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/operators/barriers.hpp"
#include "mobula/data/operators/bucket_order.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kNumFiles = 64;  ///< each of 16 buckets in a row
constexpr std::size_t kBucketsPerFile = kNumBuckets / kNumFiles;
constexpr std::int64_t kMaxTogether = std::int64_t{1} << 30;  ///< rows in one batch: texts count their bytes in 31 bits

/// All rows in memory, in bucket order.
struct Gathered {
  std::shared_ptr<arrow::RecordBatch> rows;
  std::vector<std::uint32_t> order;
  std::vector<std::size_t> begins;
};

/// Gives the rows of some buckets in a row.
class BucketPiece : public Piece {
 public:
  BucketPiece(std::shared_ptr<Gathered> gathered, std::uint64_t seed, std::size_t first_bucket, std::size_t end_bucket)
      : gathered_(std::move(gathered)), seed_(seed), first_bucket_(first_bucket), end_bucket_(end_bucket) {}
  Block read() override {
    if (gathered_ == nullptr) return {};
    const auto gathered = std::move(gathered_);
    const std::size_t begin = gathered->begins[first_bucket_];
    const std::size_t end = gathered->begins[end_bucket_];
    for (std::size_t bucket = first_bucket_; bucket < end_bucket_; ++bucket) {
      const std::size_t first = gathered->begins[bucket];
      shuffle_bucket(seed_, bucket, std::span(gathered->order).subspan(first, gathered->begins[bucket + 1] - first));
    }
    return {take_rows(gathered->rows, std::span(gathered->order).subspan(begin, end - begin), "random_shuffle"),
            nullptr};
  }

 private:
  std::shared_ptr<Gathered> gathered_;
  std::uint64_t seed_;
  std::size_t first_bucket_;
  std::size_t end_bucket_;
};

class MemoryShuffle : public Source {
 public:
  MemoryShuffle(std::shared_ptr<arrow::Schema> schema, std::shared_ptr<Gathered> gathered, std::uint64_t seed)
      : schema_(std::move(schema)), gathered_(std::move(gathered)), seed_(seed) {}
  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::unique_ptr<Piece> next() override {
    constexpr std::size_t kRowsPerPiece = 1 << 16;
    const std::size_t first = bucket_;
    if (first >= kNumBuckets) return nullptr;
    while (bucket_ < kNumBuckets &&
           (bucket_ == first || gathered_->begins[bucket_ + 1] - gathered_->begins[first] <= kRowsPerPiece))
      ++bucket_;
    return std::make_unique<BucketPiece>(gathered_, seed_, first, bucket_);
  }
  std::string describe() const override { return "shuffled"; }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<Gathered> gathered_;
  std::uint64_t seed_;
  std::size_t bucket_ = 0;
};

/// The buckets of one file; the last column tells the bucket.
class FilePiece : public Piece {
 public:
  FilePiece(std::shared_ptr<SpillFile> file, std::size_t first_bucket, std::uint64_t seed, std::int64_t max_bytes)
      : file_(std::move(file)), first_bucket_(first_bucket), seed_(seed) {
    // A file larger than the memory is read several times, each for some of its buckets.
    const auto passes =
        std::clamp<std::int64_t>(file_->num_bytes() / std::max<std::int64_t>(max_bytes, 1) + 1, 1, kBucketsPerFile);
    buckets_per_pass_ = (kBucketsPerFile + static_cast<std::size_t>(passes) - 1) / static_cast<std::size_t>(passes);
  }

  Block read() override {
    while (done_ < kBucketsPerFile) {
      const std::size_t begin = first_bucket_ + done_;
      const std::size_t end = std::min(begin + buckets_per_pass_, first_bucket_ + kBucketsPerFile);
      done_ += buckets_per_pass_;
      Block block{load(begin, end), nullptr};
      if (block.batch != nullptr) return block;
    }
    file_.reset();
    return {};
  }

 private:
  std::shared_ptr<arrow::RecordBatch> load(std::size_t begin, std::size_t end) const {
    const auto reader = file_->read();
    arrow::RecordBatchVector kept;
    std::vector<std::uint16_t> buckets;
    std::shared_ptr<arrow::RecordBatch> batch;
    while (true) {
      check(reader->ReadNext(&batch), "random_shuffle: reading back");
      if (batch == nullptr) break;
      const int last = batch->num_columns() - 1;
      const auto column = std::static_pointer_cast<arrow::UInt16Array>(batch->column(last));
      auto rows = take(batch->RemoveColumn(last), "random_shuffle");
      if (buckets_per_pass_ < kBucketsPerFile) {
        std::vector<std::uint32_t> picked;
        for (std::int64_t i = 0; i < column->length(); ++i) {
          if (column->Value(i) < begin || column->Value(i) >= end) continue;
          picked.push_back(static_cast<std::uint32_t>(i));
          buckets.push_back(column->Value(i));
        }
        rows = take_rows(rows, picked, "random_shuffle");
      } else {
        buckets.insert(buckets.end(), column->raw_values(), column->raw_values() + column->length());
      }
      kept.push_back(std::move(rows));
    }
    if (buckets.empty()) return nullptr;
    std::vector<std::uint32_t> order;
    const auto begins = order_by_bucket(buckets, order);
    for (std::size_t bucket = begin; bucket < end; ++bucket) {
      shuffle_bucket(seed_, bucket, std::span(order).subspan(begins[bucket], begins[bucket + 1] - begins[bucket]));
    }
    return take_rows(combine_batches(kept, kept.front()->schema()), order, "random_shuffle");
  }

  std::shared_ptr<SpillFile> file_;
  std::size_t first_bucket_;
  std::uint64_t seed_;
  std::size_t buckets_per_pass_ = 0;
  std::size_t done_ = 0;
};

class FileShuffle : public Source {
 public:
  FileShuffle(std::shared_ptr<arrow::Schema> schema, std::vector<std::shared_ptr<SpillFile>> files, std::uint64_t seed,
              std::int64_t max_bytes)
      : schema_(std::move(schema)), files_(std::move(files)), seed_(seed), max_bytes_(max_bytes) {}
  std::shared_ptr<arrow::Schema> schema() override { return schema_; }
  std::unique_ptr<Piece> next() override {
    if (next_ == files_.size()) return nullptr;
    auto piece = std::make_unique<FilePiece>(std::move(files_[next_]), next_ * kBucketsPerFile, seed_, max_bytes_);
    ++next_;
    return piece;
  }
  std::string describe() const override { return "shuffled(from disk)"; }

 private:
  std::shared_ptr<arrow::Schema> schema_;
  std::vector<std::shared_ptr<SpillFile>> files_;
  std::uint64_t seed_;
  std::int64_t max_bytes_;
  std::size_t next_ = 0;
};

class Shuffle : public Barrier {
 public:
  Shuffle(std::uint64_t seed, const PlanContext& context)
      : seed_(seed),
        // Rows, the same rows in one piece, and their order are there together.
        max_bytes_(std::min<std::int64_t>(static_cast<std::int64_t>(context.memory) / 3, kMaxTogether)),
        space_(std::make_shared<SpillSpace>(context.spill_directory, context.disk, "random_shuffle")) {}

  std::string describe() const override { return fmt::format("random_shuffle(seed {})", seed_); }
  void open(const std::shared_ptr<arrow::Schema>& schema) override { schema_ = schema; }

  bool consume(std::unique_ptr<Prepared> prepared) override {
    auto batch = std::move(static_cast<PreparedBlock&>(*prepared).block.batch);
    held_bytes_ += batch_bytes(*batch);
    held_.push_back(std::move(batch));
    if (held_bytes_ > max_bytes_) spill();
    return true;
  }

  void finish() override {
    if (files_.empty()) return;
    spill();
    for (const auto& file : files_) file->finish();
  }

  std::unique_ptr<Source> result() override {
    if (!files_.empty()) return std::make_unique<FileShuffle>(schema_, std::move(files_), seed_, max_bytes_ / 2);
    auto gathered = std::make_shared<Gathered>();
    gathered->rows = combine_batches(held_, schema_);
    held_.clear();
    std::vector<std::uint16_t> buckets(static_cast<std::size_t>(gathered->rows->num_rows()));
    bucket_rows(seed_, 0, buckets);
    gathered->begins = order_by_bucket(buckets, gathered->order);
    return std::make_unique<MemoryShuffle>(schema_, std::move(gathered), seed_);
  }

 private:
  /// Writes what is held, by bucket, into the files.
  void spill() {
    if (held_.empty()) return;
    if (files_.empty()) {
      spilled_schema_ =
          take(schema_->AddField(schema_->num_fields(), arrow::field("bucket", arrow::uint16())), "random_shuffle");
      for (std::size_t i = 0; i < kNumFiles; ++i)
        files_.push_back(std::make_shared<SpillFile>(space_, spilled_schema_));
    }
    for (const auto& batch : held_) {
      std::vector<std::uint16_t> buckets(static_cast<std::size_t>(batch->num_rows()));
      bucket_rows(seed_, num_spilled_rows_, buckets);
      num_spilled_rows_ += static_cast<std::uint64_t>(batch->num_rows());
      std::vector<std::vector<std::uint32_t>> rows(kNumFiles);
      for (std::size_t row = 0; row < buckets.size(); ++row)
        rows[buckets[row] / kBucketsPerFile].push_back(static_cast<std::uint32_t>(row));
      for (std::size_t file = 0; file < kNumFiles; ++file) {
        if (rows[file].empty()) continue;
        const auto part = take_rows(batch, rows[file], "random_shuffle");
        std::vector<std::uint16_t> part_buckets;
        for (const std::uint32_t row : rows[file]) part_buckets.push_back(buckets[row]);
        const auto size = static_cast<std::int64_t>(part_buckets.size());
        auto column = std::make_shared<arrow::UInt16Array>(size, arrow::Buffer::FromVector(std::move(part_buckets)));
        arrow::ArrayVector columns = part->columns();
        columns.push_back(std::move(column));
        files_[file]->append(arrow::RecordBatch::Make(spilled_schema_, size, std::move(columns)));
      }
    }
    held_.clear();
    held_bytes_ = 0;
  }

  std::uint64_t seed_;
  std::int64_t max_bytes_;
  std::shared_ptr<SpillSpace> space_;
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::Schema> spilled_schema_;
  arrow::RecordBatchVector held_;
  std::int64_t held_bytes_ = 0;
  std::uint64_t num_spilled_rows_ = 0;
  std::vector<std::shared_ptr<SpillFile>> files_;
};

}  // namespace

std::unique_ptr<Barrier> shuffle_barrier(std::uint64_t seed, const PlanContext& context) {
  return std::make_unique<Shuffle>(seed, context);
}

}  // namespace mobula::data

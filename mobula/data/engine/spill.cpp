#include "mobula/data/engine/spill.hpp"

#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <fmt/format.h>
#include <unistd.h>

#include "mobula/base/error.hpp"
#include "mobula/base/size.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/engine/executor.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {
constexpr std::int64_t kGather = 256 << 10;
}

SpillSpace::SpillSpace(const fs::path& directory, std::uint64_t quota, std::string what)
    : what_(std::move(what)), quota_(quota) {
  if (directory.empty()) {
    own_ = std::make_unique<TemporaryDirectory>("mobula-spill");
    directory_ = own_->path();
    return;
  }
  std::error_code failure;
  fs::create_directories(directory, failure);
  if (failure) throw_io(directory.string(), failure.value(), "see spill_dir");
  directory_ = directory;
}

void SpillSpace::charge(std::int64_t bytes) {
  const std::uint64_t used = used_.fetch_add(static_cast<std::uint64_t>(bytes)) + static_cast<std::uint64_t>(bytes);
  if (used > quota_) {
    throw Error(ErrorCode::resource,
                fmt::format("{}: needs more than {} of disk for rows that don't fit the memory ({} bytes so far)",
                            what_, format_size(quota_), used),
                "raise `disk`, or raise `memory`");
  }
}

fs::path SpillSpace::new_file() {
  return directory_ / fmt::format("mobula-spill-{}-{}-{}.arrow", ::getpid(), static_cast<const void*>(this), next_++);
}

SpillFile::SpillFile(std::shared_ptr<SpillSpace> space, std::shared_ptr<arrow::Schema> schema)
    : space_(std::move(space)), schema_(std::move(schema)) {}

SpillFile::~SpillFile() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove(path_, ignored);
}

void SpillFile::append(const std::shared_ptr<arrow::RecordBatch>& batch) {
  if (batch->num_rows() == 0) return;
  const std::int64_t bytes = batch_bytes(*batch);
  space_->charge(bytes);
  num_rows_ += batch->num_rows();
  num_bytes_ += bytes;
  waiting_.push_back(batch);
  waiting_bytes_ += bytes;
  if (waiting_bytes_ >= kGather) flush();
}

void SpillFile::flush() {
  if (waiting_.empty()) return;
  if (writer_ == nullptr) {
    path_ = space_->new_file();
    output_ = take(arrow::io::FileOutputStream::Open(path_.string()), space_->what());
    arrow::ipc::IpcWriteOptions options = arrow::ipc::IpcWriteOptions::Defaults();
    options.use_threads = false;
    writer_ = take(arrow::ipc::MakeStreamWriter(output_, schema_, options), space_->what());
  }
  check(writer_->WriteRecordBatch(*combine_batches(waiting_, schema_)), space_->what() + ": spilling");
  waiting_.clear();
  waiting_bytes_ = 0;
}

void SpillFile::finish() {
  flush();
  if (writer_ == nullptr) return;
  check(writer_->Close(), space_->what() + ": spilling");
  check(output_->Close(), space_->what() + ": spilling");
}

std::shared_ptr<arrow::RecordBatchReader> SpillFile::read() const {
  if (writer_ == nullptr) return take(arrow::RecordBatchReader::Make({}, schema_), space_->what());
  arrow::ipc::IpcReadOptions options = arrow::ipc::IpcReadOptions::Defaults();
  options.use_threads = false;
  auto input = take(arrow::io::ReadableFile::Open(path_.string()), space_->what());
  return take(arrow::ipc::RecordBatchStreamReader::Open(std::move(input), options), space_->what());
}

std::shared_ptr<arrow::RecordBatch> combine_batches(const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches,
                                                    const std::shared_ptr<arrow::Schema>& schema) {
  if (batches.size() == 1) return batches.front();
  if (batches.empty()) return take(arrow::RecordBatch::MakeEmpty(schema), "rows");
  return take(arrow::ConcatenateRecordBatches(batches), "rows");
}

}  // namespace mobula::data

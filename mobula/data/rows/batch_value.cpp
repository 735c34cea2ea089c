#include "mobula/data/rows/batch_value.hpp"

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>

#include <memory>
#include <string>
#include <utility>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula {
namespace {

constexpr std::size_t kAlignment = 64;

/// Arrow's bytes, written to where values go.
class WireStream final : public arrow::io::OutputStream {
 public:
  explicit WireStream(WireWriter& out) : out_(out) {}
  arrow::Status Write(const void* data, std::int64_t size) override {
    out_.raw(data, static_cast<std::size_t>(size));
    written_ += size;
    return arrow::Status::OK();
  }
  arrow::Status Close() override {
    closed_ = true;
    return arrow::Status::OK();
  }
  arrow::Result<std::int64_t> Tell() const override { return written_; }
  bool closed() const override { return closed_; }

 private:
  WireWriter& out_;
  std::int64_t written_ = 0;
  bool closed_ = false;
};

void write_stream(arrow::io::OutputStream& sink, const arrow::RecordBatch& batch) {
  const auto writer = data::take(arrow::ipc::MakeStreamWriter(&sink, batch.schema()), "batch");
  data::check(writer->WriteRecordBatch(batch), "batch");
  data::check(writer->Close(), "batch");
}

/// Bytes that `keeper` keeps in place.
class KeptBuffer final : public arrow::Buffer {
 public:
  KeptBuffer(std::string_view bytes, std::shared_ptr<const void> keeper)
      : Buffer(reinterpret_cast<const std::uint8_t*>(bytes.data()), static_cast<std::int64_t>(bytes.size())),
        keeper_(std::move(keeper)) {}

 private:
  std::shared_ptr<const void> keeper_;
};

}  // namespace

void Codec<data::BatchValue>::encode(WireWriter& out, const data::BatchValue& value) {
  arrow::io::MockOutputStream counted;
  write_stream(counted, *value.batch);
  out.number(static_cast<std::uint64_t>(counted.GetExtentBytesWritten()));
  out.align(kAlignment);
  WireStream sink(out);
  write_stream(sink, *value.batch);
}

data::BatchValue Codec<data::BatchValue>::decode(WireReader& in) {
  const auto size = in.number<std::uint64_t>();
  in.align();
  const std::string_view bytes(in.take(size), size);
  auto keeper = in.keeper();
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 == 0;
  // The batch keeps what it points into.
  std::shared_ptr<arrow::Buffer> buffer = keeper != nullptr && aligned
                                              ? std::make_shared<KeptBuffer>(bytes, std::move(keeper))
                                              : arrow::Buffer::FromString(std::string(bytes));
  const auto input = std::make_shared<arrow::io::BufferReader>(std::move(buffer));
  const auto reader = data::take(arrow::ipc::RecordBatchStreamReader::Open(input), "batch");
  data::BatchValue value;
  data::check(reader->ReadNext(&value.batch), "batch");
  if (value.batch == nullptr) throw Error(ErrorCode::corrupt, "batch: a message without rows");
  return value;
}

}  // namespace mobula

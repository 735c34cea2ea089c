#include "mobula/data/rows/batch_value.hpp"

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>

#include <string>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula {

void Codec<data::BatchValue>::encode(WireWriter& out, const data::BatchValue& value) {
  const auto sink = data::take(arrow::io::BufferOutputStream::Create(), "batch");
  const auto writer = data::take(arrow::ipc::MakeStreamWriter(sink, value.batch->schema()), "batch");
  data::check(writer->WriteRecordBatch(*value.batch), "batch");
  data::check(writer->Close(), "batch");
  const auto bytes = data::take(sink->Finish(), "batch");
  out.text({reinterpret_cast<const char*>(bytes->data()), static_cast<std::size_t>(bytes->size())});
}

data::BatchValue Codec<data::BatchValue>::decode(WireReader& in) {
  // The batch keeps what it points into.
  const auto input = std::make_shared<arrow::io::BufferReader>(arrow::Buffer::FromString(std::string(in.text())));
  const auto reader = data::take(arrow::ipc::RecordBatchStreamReader::Open(input), "batch");
  data::BatchValue value;
  data::check(reader->ReadNext(&value.batch), "batch");
  if (value.batch == nullptr) throw Error(ErrorCode::corrupt, "batch: a message without rows");
  return value;
}

}  // namespace mobula

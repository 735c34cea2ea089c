#include "mobula/data/sinks/output_file.hpp"

#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {
namespace {
constexpr std::size_t kBuffer = std::size_t{1} << 20;
}

OutputFile::OutputFile(const std::string& path) : path_(path), file_(path) {}

void OutputFile::flush() {
  file_.write(buffer_);
  buffer_.clear();
}

void OutputFile::append(std::string_view bytes) {
  position_ += static_cast<std::int64_t>(bytes.size());
  if (bytes.size() < kBuffer / 4) {
    buffer_.append(bytes);
    if (buffer_.size() >= kBuffer) flush();
  } else {
    flush();
    file_.write(bytes);
  }
}

arrow::Status OutputFile::Write(const void* data, std::int64_t size) {
  // Arrow's writers pass statuses, not exceptions; check() gives the exception back.
  try {
    append({static_cast<const char*>(data), static_cast<std::size_t>(size)});
    return arrow::Status::OK();
  } catch (const std::exception& error) {
    failure_ = std::current_exception();
    return arrow::Status::IOError(error.what());
  }
}

arrow::Status OutputFile::Close() {
  closed_ = true;
  return arrow::Status::OK();
}

void OutputFile::commit(bool durable) {
  flush();
  file_.commit(durable);
}

void OutputFile::check(const arrow::Status& status) const {
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  data::check(status, path_);
}

}  // namespace mobula::data

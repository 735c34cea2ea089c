#include "mobula/data/sinks/output_file.hpp"

#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace {
constexpr std::size_t kBuffer = std::size_t{1} << 20;
}

OutputFile::OutputFile(const std::string& path) : path_(path) {
  if (!is_remote(path)) {
    file_.emplace(path);
  } else if (RemoteStore& store = remote_store(path); store.aborts(path)) {
    stream_ = store.create(path);
  } else {
    staged_ = std::make_unique<TemporaryDirectory>("mobula-upload");
    file_.emplace(staged_->path() / "file");
  }
}

OutputFile::~OutputFile() {
  if (stream_ != nullptr && !stream_->closed()) static_cast<void>(stream_->Abort());
}

void OutputFile::write(std::string_view bytes) {
  if (stream_ == nullptr) {
    file_->write(bytes);
  } else {
    data::check(stream_->Write(bytes.data(), static_cast<std::int64_t>(bytes.size())), path_);
  }
}

void OutputFile::flush() {
  write(buffer_);
  buffer_.clear();
}

void OutputFile::append(std::string_view bytes) {
  position_ += static_cast<std::int64_t>(bytes.size());
  if (bytes.size() < kBuffer / 4) {
    buffer_.append(bytes);
    if (buffer_.size() >= kBuffer) flush();
  } else {
    flush();
    write(bytes);
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
  if (stream_ != nullptr) {
    data::check(stream_->Close(), path_);
    return;
  }
  file_->commit(durable && staged_ == nullptr);
  if (staged_ == nullptr) return;
  const auto upload = remote_store(path_).create(path_);
  StoredStream whole((staged_->path() / "file").string());
  buffer_.resize(kBuffer);
  while (const std::size_t got = whole.read(buffer_.data(), kBuffer)) {
    data::check(upload->Write(buffer_.data(), static_cast<std::int64_t>(got)), path_);
  }
  buffer_.clear();
  data::check(upload->Close(), path_);
}

void OutputFile::check(const arrow::Status& status) const {
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  data::check(status, path_);
}

}  // namespace mobula::data

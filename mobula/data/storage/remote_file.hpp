/// Streams of remote files whose failures name the file. Internal to this layer: names Arrow's types.
#pragma once

#include <arrow/io/interfaces.h>
#include <arrow/result.h>

#include <memory>
#include <string>
#include <utility>

namespace mobula::data {

/// Throws the Error that a remote store's answer stands for: not_found, unavailable (no answer in time), io (refused).
[[noreturn]] void throw_remote(const arrow::Status& status, const std::string& path);

/// Returns the result's value or throws.
template <class T>
T take_remote(arrow::Result<T> result, const std::string& path) {
  if (!result.ok()) throw_remote(result.status(), path);
  return std::move(result).ValueUnsafe();
}

/// A file that is read by ranges; any number of threads may do so. Its statuses carry the Error that throw_remote makes.
class RemoteFile : public arrow::io::RandomAccessFile {
 public:
  RemoteFile(std::string path, std::shared_ptr<arrow::io::RandomAccessFile> file)
      : path_(std::move(path)), file_(std::move(file)) {}

  arrow::Status Close() override { return file_->Close(); }
  bool closed() const override { return file_->closed(); }
  arrow::Result<std::int64_t> Tell() const override { return file_->Tell(); }
  arrow::Status Seek(std::int64_t position) override { return file_->Seek(position); }
  arrow::Result<std::int64_t> GetSize() override { return named(file_->GetSize()); }
  arrow::Result<std::int64_t> Read(std::int64_t size, void* to) override { return named(file_->Read(size, to)); }
  arrow::Result<std::shared_ptr<arrow::Buffer>> Read(std::int64_t size) override { return named(file_->Read(size)); }
  arrow::Result<std::int64_t> ReadAt(std::int64_t position, std::int64_t size, void* to) override {
    return named(file_->ReadAt(position, size, to));
  }
  arrow::Result<std::shared_ptr<arrow::Buffer>> ReadAt(std::int64_t position, std::int64_t size) override {
    return named(file_->ReadAt(position, size));
  }

 private:
  template <class T>
  arrow::Result<T> named(arrow::Result<T> result) const {
    if (result.ok()) return result;
    return named_status(result.status());
  }
  arrow::Status named_status(const arrow::Status& status) const;

  std::string path_;
  std::shared_ptr<arrow::io::RandomAccessFile> file_;
};

/// A file that is being made. What is under way stays bounded: writing waits for the store every 64 MB.
class RemoteOutput : public arrow::io::OutputStream {
 public:
  RemoteOutput(std::string path, std::shared_ptr<arrow::io::OutputStream> stream)
      : path_(std::move(path)), stream_(std::move(stream)) {}
  /// Leaves nothing of a file that was not closed.
  ~RemoteOutput() override;

  arrow::Status Close() override;
  arrow::Status Abort() override;
  bool closed() const override { return closed_; }
  arrow::Result<std::int64_t> Tell() const override { return stream_->Tell(); }
  arrow::Status Write(const void* data, std::int64_t size) override;
  using arrow::io::OutputStream::Write;

 private:
  std::string path_;
  std::shared_ptr<arrow::io::OutputStream> stream_;
  std::int64_t unflushed_ = 0;
  bool closed_ = false;
};

}  // namespace mobula::data

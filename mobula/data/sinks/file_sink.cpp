#include "mobula/data/sinks/file_sink.hpp"

#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/data/sinks/format_writer.hpp"

namespace mobula::data {
namespace {

class FileSink : public Sink {
 public:
  FileSink(std::string path, std::string format, WriteOptions options)
      : path_(std::move(path)), format_name_(std::move(format)), options_(std::move(options)) {}

  std::string describe() const override { return fmt::format("{}({})", format_name_, path_); }
  void open(const std::shared_ptr<arrow::Schema>& schema) override {
    format_ = make_format(format_name_, schema, options_);
    writer_ = format_->open(path_);
  }
  std::unique_ptr<Prepared> prepare(Block block) override { return format_->prepare(std::move(block)); }
  bool consume(std::unique_ptr<Prepared> prepared) override {
    const auto& rows = static_cast<const PreparedRows&>(*prepared);
    if (rows.error) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}: row {}: {}", path_, num_rows_ + rows.error->row + 1, rows.error->message),
                  rows.error->hint);
    }
    writer_->write(rows);
    num_rows_ += rows.rows;
    return true;
  }
  void finish() override { writer_->commit(); }

 private:
  std::string path_;
  std::string format_name_;
  WriteOptions options_;
  std::unique_ptr<Format> format_;
  std::unique_ptr<FileWriter> writer_;
  std::int64_t num_rows_ = 0;
};

}  // namespace

std::unique_ptr<Sink> file_sink(std::string path, std::string format, WriteOptions options) {
  return std::make_unique<FileSink>(std::move(path), std::move(format), std::move(options));
}

}  // namespace mobula::data

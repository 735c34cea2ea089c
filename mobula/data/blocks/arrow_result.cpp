#include "mobula/data/blocks/arrow_result.hpp"

#include <arrow/compute/initialize.h>
#include <arrow/util/io_util.h>
#include <arrow/util/utf8.h>
#include <fmt/format.h>

#include <mutex>

#include "mobula/base/error.hpp"

namespace mobula::data {
namespace {

class CarriedError : public arrow::StatusDetail {
 public:
  explicit CarriedError(Error error) : error_(std::move(error)) {}
  const char* type_id() const override { return kTypeId; }
  std::string ToString() const override { return error_.message(); }
  const Error& error() const { return error_; }

  static constexpr const char* kTypeId = "mobula::data::CarriedError";

 private:
  Error error_;
};

}  // namespace

arrow::Status carrying(const Error& error) {
  return {arrow::StatusCode::IOError, error.message(), std::make_shared<CarriedError>(error)};
}

void rethrow_carried(const arrow::Status& status) {
  const auto& detail = status.detail();
  if (detail != nullptr && detail->type_id() == std::string_view(CarriedError::kTypeId))
    throw Error(static_cast<const CarriedError&>(*detail).error());
}

void throw_status(const arrow::Status& status, std::string_view what) {
  rethrow_carried(status);
  // Arrow appends lines of its own source to some messages; the first line is for people.
  const std::string text = status.message();
  const std::string message = fmt::format("{}: {}", what, text.substr(0, text.find('\n')));
  switch (status.code()) {
    case arrow::StatusCode::OutOfMemory:
      throw Error(ErrorCode::out_of_memory, message, "lower `memory`, or give the process more");
    case arrow::StatusCode::IOError:
      if (arrow::internal::ErrnoFromStatus(status) != 0) {
        throw_io(what, arrow::internal::ErrnoFromStatus(status));
      }
      throw Error(ErrorCode::corrupt, message);
    case arrow::StatusCode::Invalid:
    case arrow::StatusCode::SerializationError:
    case arrow::StatusCode::CapacityError:
      throw Error(ErrorCode::corrupt, message);
    case arrow::StatusCode::NotImplemented:
      throw Error(ErrorCode::unsupported, message);
    case arrow::StatusCode::KeyError:
    case arrow::StatusCode::TypeError:
    case arrow::StatusCode::IndexError:
      throw Error(ErrorCode::invalid_argument, message);
    default:
      throw Error(ErrorCode::internal, message);
  }
}

void initialize_arrow() {
  static std::once_flag once;
  std::call_once(once, [] {
    check(arrow::compute::Initialize(), "Arrow's compute kernels");
    arrow::util::InitializeUTF8();
  });
}

}  // namespace mobula::data

#include "mobula/data/sources/database_connection.hpp"

#include <arrow-adbc/adbc.h>
#include <arrow/c/bridge.h>
#include <arrow/filesystem/filesystem.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

/// Lists where a driver's library may lie: $ADBC_DRIVER_PATH, where the system looks, and the Python package of the driver
/// beside that of Arrow.
std::vector<std::string> library_places(const std::string& driver) {
  if (driver.find('/') != std::string::npos) return {driver};
  const std::string library = fmt::format("libadbc_driver_{}.so", driver);
  std::vector<std::string> places;
  if (const char* const folders = std::getenv("ADBC_DRIVER_PATH"); folders != nullptr) {
    std::string_view rest(folders);
    while (!rest.empty()) {
      const std::string_view folder = rest.substr(0, rest.find(':'));
      if (!folder.empty()) places.push_back((fs::path(folder) / library).string());
      rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    }
  }
  places.push_back(library);
  Dl_info arrow{};
  if (::dladdr(reinterpret_cast<const void*>(&arrow::fs::LoadFileSystemFactories), &arrow) != 0) {
    const fs::path packages = fs::path(arrow.dli_fname).parent_path().parent_path();
    places.push_back((packages / ("adbc_driver_" + driver) / library).string());
  }
  return places;
}

/// Returns the name of a library's entry by ADBC's rule: libadbc_driver_postgresql.so has AdbcDriverPostgresqlInit.
std::string entry_name(const std::string& driver) {
  std::string name = fs::path(driver).stem().string();
  if (name.starts_with("libadbc_driver_")) name.erase(0, std::strlen("libadbc_driver_"));
  std::string entry = "AdbcDriver";
  bool upper = true;
  for (const char c : name) {
    if (c == '_' || c == '-') {
      upper = true;
      continue;
    }
    entry += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    upper = false;
  }
  return entry + "Init";
}

AdbcDriverInitFunc load_driver(const std::string& driver) {
  std::string reasons;
  for (const std::string& place : library_places(driver)) {
    // Drivers bring libraries of their own (OpenSSL, libpq, a Go runtime), which must not meet ours, and stay loaded.
    void* const library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      reasons += fmt::format("{}{}", reasons.empty() ? "" : "; ", ::dlerror());
      continue;
    }
    for (const std::string& entry : {entry_name(driver), std::string("AdbcDriverInit")}) {
      if (void* const found = ::dlsym(library, entry.c_str()); found != nullptr)
        return reinterpret_cast<AdbcDriverInitFunc>(found);
    }
    throw Error(ErrorCode::unavailable, fmt::format("{}: is no ADBC driver: it has no AdbcDriverInit", place));
  }
  const std::string name = driver.find('/') == std::string::npos ? driver : "NAME";
  throw Error(ErrorCode::unavailable, fmt::format("no ADBC driver '{}': {}", driver, reasons),
              fmt::format("pip install adbc-driver-{0}, and let ADBC_DRIVER_PATH name the folder of "
                          "libadbc_driver_{0}.so",
                          name));
}

ErrorCode code_of(AdbcStatusCode status) {
  switch (status) {
    case ADBC_STATUS_NOT_FOUND:
      return ErrorCode::not_found;
    case ADBC_STATUS_INVALID_ARGUMENT:
      return ErrorCode::invalid_argument;
    case ADBC_STATUS_NOT_IMPLEMENTED:
      return ErrorCode::unsupported;
    case ADBC_STATUS_TIMEOUT:
      return ErrorCode::timeout;
    default:
      return ErrorCode::io;
  }
}

/// Replaces what must not be shown: drivers may repeat the address they were given.
std::string cleaned(std::string text, const std::string& address) {
  const std::string shown = without_password(address);
  for (std::size_t at = text.find(address); !address.empty() && shown != address && at != std::string::npos;
       at = text.find(address, at + shown.size())) {
    text.replace(at, address.size(), shown);
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.pop_back();
  for (char& c : text) c = c == '\n' ? ' ' : c;
  return text;
}

class Connection : public DatabaseConnection {
 public:
  Connection(const std::string& driver, std::string address, const std::map<std::string, std::string>& options)
      : address_(std::move(address)) {
    const AdbcDriverInitFunc load = load_driver(driver);
    AdbcError error = ADBC_ERROR_INIT;
    if (load(ADBC_VERSION_1_1_0, &driver_, &error) != ADBC_STATUS_OK) {
      if (error.release != nullptr) error.release(&error);
      error = ADBC_ERROR_INIT;
      driver_ = {};
      require(load(ADBC_VERSION_1_0_0, &driver_, &error), error, "the driver does not start");
    }
    try {
      connect(options);
    } catch (...) {
      release();
      throw;
    }
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() override { release(); }

  std::shared_ptr<arrow::RecordBatchReader> query(const std::string& statement, std::size_t batch_bytes) override {
    auto run = std::make_shared<Statement>(*this, statement);
    AdbcError error = ADBC_ERROR_INIT;
    // Of use to PostgreSQL's driver; others don't know it.
    static_cast<void>(driver_.StatementSetOption(&run->handle, "adbc.postgresql.batch_size_hint_bytes",
                                                 std::to_string(batch_bytes).c_str(), &error));
    if (error.release != nullptr) error.release(&error);
    error = ADBC_ERROR_INIT;
    ArrowArrayStream stream{};
    require(driver_.StatementExecuteQuery(&run->handle, &stream, nullptr, &error), error, statement);
    auto reader = take(arrow::ImportRecordBatchReader(&stream), without_password(address_));
    return {reader.get(), [reader, run, self = shared_from_this()](arrow::RecordBatchReader*) mutable {
              reader.reset();  // before the statement, and that before the connection
              run.reset();
            }};
  }
  void execute(const std::string& statement) override {
    Statement run(*this, statement);
    AdbcError error = ADBC_ERROR_INIT;
    require(driver_.StatementExecuteQuery(&run.handle, nullptr, nullptr, &error), error, statement);
  }

 private:
  struct Statement {
    Statement(Connection& owner, const std::string& text) : connection(owner) {
      AdbcError error = ADBC_ERROR_INIT;
      owner.require(owner.driver_.StatementNew(&owner.connection_, &handle, &error), error, text);
      const AdbcStatusCode status = owner.driver_.StatementSetSqlQuery(&handle, text.c_str(), &error);
      if (status == ADBC_STATUS_OK) return;
      release();
      owner.require(status, error, text);
    }
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;
    ~Statement() { release(); }
    void release() {
      AdbcError error = ADBC_ERROR_INIT;
      if (handle.private_data != nullptr) static_cast<void>(connection.driver_.StatementRelease(&handle, &error));
      if (error.release != nullptr) error.release(&error);
    }

    Connection& connection;
    AdbcStatement handle{};
  };

  void connect(const std::map<std::string, std::string>& options) {
    AdbcError error = ADBC_ERROR_INIT;
    require(driver_.DatabaseNew(&database_, &error), error, "");
    if (!address_.empty())
      require(driver_.DatabaseSetOption(&database_, "uri", address_.c_str(), &error), error, "the address");
    for (const auto& [key, value] : options)
      require(driver_.DatabaseSetOption(&database_, key.c_str(), value.c_str(), &error), error, key);
    require(driver_.DatabaseInit(&database_, &error), error, "can't be opened", ErrorCode::unavailable);
    require(driver_.ConnectionNew(&connection_, &error), error, "");
    require(driver_.ConnectionInit(&connection_, &database_, &error), error, "can't be reached",
            ErrorCode::unavailable);
  }
  void release() {
    AdbcError error = ADBC_ERROR_INIT;
    if (connection_.private_data != nullptr) static_cast<void>(driver_.ConnectionRelease(&connection_, &error));
    if (database_.private_data != nullptr) static_cast<void>(driver_.DatabaseRelease(&database_, &error));
    if (error.release != nullptr) error.release(&error);
    if (driver_.release != nullptr) static_cast<void>(driver_.release(&driver_, nullptr));
  }
  void require(AdbcStatusCode status, AdbcError& error, const std::string& what,
               ErrorCode failure = ErrorCode::internal) const {
    if (status == ADBC_STATUS_OK) return;
    const std::string reason = error.message == nullptr ? fmt::format("ADBC status {}", status) : error.message;
    if (error.release != nullptr) error.release(&error);
    const bool refused = status == ADBC_STATUS_UNAUTHENTICATED || status == ADBC_STATUS_UNAUTHORIZED;
    throw Error(failure != ErrorCode::internal && !refused ? failure : code_of(status),
                fmt::format("{}: {}{}{}", without_password(address_), what, what.empty() ? "" : ": ",
                            cleaned(reason, address_)),
                refused ? "check the user, the password and what the user may do" : "");
  }

  std::string address_;
  AdbcDriver driver_{};
  AdbcDatabase database_{};
  AdbcConnection connection_{};
};

}  // namespace

std::string without_password(const std::string& address) {
  std::string shown = address;
  const std::size_t scheme = shown.find("://");
  const std::size_t begin = scheme == std::string::npos ? 0 : scheme + 3;
  const std::size_t at = shown.rfind('@', shown.find('/', begin));
  const std::size_t colon = shown.find(':', begin);
  if (at != std::string::npos && colon < at) shown.replace(colon + 1, at - colon - 1, "***");
  if (const std::size_t key = shown.find("password="); key != std::string::npos) {
    const std::size_t value = key + std::strlen("password=");
    shown.replace(value, shown.find_first_of("& ", value) - value, "***");
  }
  return shown;
}

std::shared_ptr<DatabaseConnection> DatabaseConnection::open(const std::string& driver, const std::string& address,
                                                             const std::map<std::string, std::string>& options) {
  return std::make_shared<Connection>(driver, address, options);
}

}  // namespace mobula::data

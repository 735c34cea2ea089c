#include "mobula/track/run.hpp"

#include <atomic>
#include <chrono>
#include <exception>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/track/run_implementation.hpp"

namespace mobula::track {
namespace fs = std::filesystem;
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::uint64_t measure(const fs::path& path) {
  std::error_code failure;
  if (!fs::is_directory(path)) {
    const std::uintmax_t bytes = fs::file_size(path, failure);
    if (failure) throw_io(path.string(), failure.value());
    return bytes;
  }
  std::uint64_t total = 0;
  for (auto entry = fs::recursive_directory_iterator(path, failure); entry != fs::recursive_directory_iterator();
       entry.increment(failure)) {
    std::error_code vanished;  // a folder may change while it is measured
    if (!entry->is_regular_file(vanished)) continue;
    const std::uintmax_t bytes = entry->file_size(vanished);
    if (!vanished) total += bytes;
  }
  if (failure) throw_io(path.string(), failure.value());
  return total;
}

}  // namespace

Run::Run(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Run::~Run() {
  try {
    finish(std::uncaught_exceptions() > impl_->exceptions_at_start ? "failed" : "finished");
  } catch (const std::exception& error) {
    log_warning("run {}: its end is not recorded: {}", id(), error.what());
  }
}

const std::string& Run::id() const {
  return impl_->recorder.run_id();
}

void Run::log_params(const std::vector<std::pair<std::string, std::string>>& params) {
  for (const auto& [key, value] : params) impl_->recorder.add(ParamRecord{key, value});
}

void Run::log_metric(std::string_view name, std::int64_t step, double value) {
  impl_->recorder.add(PointRecord{std::string(name), {step, value, now()}});
}

void Run::log_artifact(std::string_view name, const fs::path& path) {
  const fs::path absolute = fs::absolute(path).lexically_normal();
  impl_->recorder.add(ArtifactRecord{{std::string(name), absolute, measure(absolute)}});
}

void Run::set_tag(std::string_view key, std::string_view value) {
  impl_->recorder.add(TagRecord{std::string(key), std::string(value)});
}

void Run::truncate_metrics(std::int64_t step) {
  impl_->recorder.add(TruncateRecord{step});
}

void Run::flush() {
  impl_->recorder.flush();
}

void Run::finish(std::string_view status) {
  if (impl_->finished.exchange(true)) return;
  impl_->recorder.add(FinishRecord{std::string(status), now()});
  impl_->recorder.flush();
}

}  // namespace mobula::track

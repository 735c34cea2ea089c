#include "mobula/train/run/run_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::train {
namespace {

/// Returns the step of a metrics line, or nothing where the line is damaged.
std::optional<std::int64_t> step_of(std::string_view line) {
  // Lines begin with the step, as we write them: no need to parse millions of them whole.
  constexpr std::string_view kStart = "{\"step\":";
  if (!line.starts_with(kStart) || !line.ends_with('}')) return std::nullopt;
  std::int64_t step = 0;
  const auto [stop, error] = std::from_chars(line.data() + kStart.size(), line.data() + line.size(), step);
  if (error != std::errc() || *stop != ',') return std::nullopt;
  return step;
}

}  // namespace

bool RunFolder::holds_run() const {
  return std::filesystem::exists(config()) || std::filesystem::exists(metrics());
}

LineFile::LineFile(std::filesystem::path path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) throw_io(path_.string(), errno);
}

LineFile::~LineFile() {
  ::close(descriptor_);
}

void LineFile::append(const Json& line) {
  const std::string text = to_line(line) + "\n";
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t written = ::write(descriptor_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_io(path_.string(), errno);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

void LineFile::sync() {
  if (::fdatasync(descriptor_) != 0) throw_io(path_.string(), errno);
}

void cut_metrics(const std::filesystem::path& path, std::int64_t step) {
  if (!std::filesystem::exists(path)) return;
  const MappedFile file(path);
  const std::string_view text = file.text();
  std::size_t kept = 0;
  while (kept < text.size()) {
    const std::size_t end = text.find('\n', kept);
    if (end == std::string_view::npos) break;
    const auto line_step = step_of(text.substr(kept, end - kept));
    if (!line_step || *line_step > step) break;
    kept = end + 1;
  }
  if (kept != text.size()) std::filesystem::resize_file(path, kept);
}

void write_workers(const std::filesystem::path& path, const std::vector<std::int64_t>& pids, const std::string& host) {
  Json list = Json::array();
  for (std::size_t rank = 0; rank < pids.size(); ++rank) {
    list.push_back({{"rank", rank}, {"pid", pids[rank]}, {"host", host}});
  }
  write_file_atomic(path, to_line(list) + "\n");
}

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace mobula::train

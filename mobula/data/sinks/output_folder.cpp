#include "mobula/data/sinks/output_folder.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"
#include "mobula/data/storage/remote_path.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;

OutputFolder::OutputFolder(std::string path, bool overwrite) : path_(std::move(path)), remote_(is_remote(path_)) {
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  const StoredInfo info = look_at(path_);
  if (info.exists && !info.folder) {
    throw Error(ErrorCode::already_exists, fmt::format("{}: is a file, not a folder", path_));
  }
  if (remote_ && info.exists) replaced_ = files_below(path_);
  const bool holds_something = remote_ ? !replaced_.empty() : info.exists && !fs::is_empty(path_);
  if (holds_something && !overwrite) {
    throw Error(ErrorCode::already_exists, fmt::format("{}: the folder holds something", path_),
                "name another one, or set overwrite: true");
  }
  if (remote_) {
    if (holds_something) tag_ = fmt::format("-{:x}", std::chrono::system_clock::now().time_since_epoch().count());
    return;
  }
  const fs::path target(path_);
  temporary_ = (target.has_parent_path() ? target.parent_path() : fs::path(".")) /
               fmt::format(".{}.{}.tmp", target.filename().string(), ::getpid());
  std::error_code failure;
  fs::create_directories(temporary_, failure);
  if (failure) throw_io(temporary_.string(), failure.value());
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  for (const std::string& file : written_) {
    try {
      remove_stored(file);
    } catch (const std::exception& error) {
      log_warning("{} is left over from a run that failed: {}", file, error.what());
    }
  }
}

std::string OutputFolder::place(const std::string& name) {
  if (!remote_) return (temporary_ / name).string();
  written_.push_back(fmt::format("{}/{}", path_, name));
  return written_.back();
}

void OutputFolder::commit() {
  if (remote_) {
    written_.clear();
    for (const std::string& file : replaced_) remove_stored(file);
    write_stored(path_ + "/_SUCCESS", "");
    return;
  }
  std::error_code failure;
  fs::path replaced;
  if (fs::exists(path_) && !fs::is_empty(path_)) {  // the constructor saw that it may go
    replaced = temporary_;
    replaced += ".old";
    fs::rename(path_, replaced, failure);
    if (failure) throw_io(path_, failure.value());
  }
  fs::rename(temporary_, path_, failure);
  if (failure) throw_io(path_, failure.value());
  temporary_.clear();
  if (!replaced.empty()) fs::remove_all(replaced, failure);
}

}  // namespace mobula::data

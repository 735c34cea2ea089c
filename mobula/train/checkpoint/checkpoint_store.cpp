#include "mobula/train/checkpoint/checkpoint_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/data/tokens/sha256.hpp"

namespace mobula::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "step-";
/// Folders with this beginning are being written, or were when their process died.
constexpr std::string_view kUnfinished = ".unfinished-";
constexpr const char* kManifest = "trainer/manifest.json";
constexpr std::size_t kMaxManifestBytes = std::size_t{1} << 20;

std::optional<std::int64_t> parse_step(const std::string& name) {
  std::int64_t step = 0;
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  return error == std::errc() && stop == end ? std::optional(step) : std::nullopt;
}

void sync_file(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw_io(path.string(), errno);
  const int result = ::fsync(file);
  const int error_number = errno;
  ::close(file);
  if (result != 0) throw_io(path.string(), error_number);
}

/// Syncs all files below `root` and lists them with size and digest.
void write_manifest(const fs::path& root) {
  Json files = Json::array();
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  for (const fs::path& path : paths) {
    sync_file(path);
    files.push_back({{"name", fs::relative(path, root).string()},
                     {"bytes", fs::file_size(path)},
                     {"sha256", data::sha256_file(path)}});
  }
  write_file_atomic(root / kManifest, to_line({{"files", files}}) + "\n");
  sync_directory(root);
}

/// Returns what is wrong with a checkpoint, or nothing.
std::optional<std::string> find_damage(const fs::path& root) {
  try {
    const fs::path manifest = root / kManifest;
    const Json json = parse_json(read_file(manifest, kMaxManifestBytes), manifest.string());
    for (const Json& file : json.at("files")) {
      const std::string name = file.at("name");
      const fs::path path = root / name;
      if (!fs::is_regular_file(path)) return fmt::format("{} is missing", name);
      const auto bytes = file.at("bytes").get<std::uintmax_t>();
      if (fs::file_size(path) != bytes) {
        return fmt::format("{} has {} bytes, expected {}", name, fs::file_size(path), bytes);
      }
      if (data::sha256_file(path) != file.at("sha256").get<std::string>()) {
        return fmt::format("{} is damaged: its SHA-256 is another one than when it was written", name);
      }
    }
    return std::nullopt;
  } catch (const std::exception& error) {
    return error.what();
  }
}

void remove_quietly(const fs::path& path) {
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace

CheckpointStore::CheckpointStore(RunFolder folder, std::int64_t keep) : folder_(std::move(folder)), keep_(keep) {}

fs::path CheckpointStore::directory(std::int64_t step) const {
  return folder_.checkpoints() / fmt::format("{}{:08}", kPrefix, step);
}

std::vector<std::int64_t> CheckpointStore::steps() const {
  std::vector<std::int64_t> steps;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder_.checkpoints(), none)) {
    if (const auto step = parse_step(entry.path().filename().string())) steps.push_back(*step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

std::optional<std::int64_t> CheckpointStore::newest_whole(
    const std::function<void(std::int64_t, const std::string&)>& damaged) const {
  std::string first_reason;
  const auto all = steps();
  for (const std::int64_t step : all) {
    const auto damage = find_damage(directory(step));
    if (!damage) return step;
    if (first_reason.empty()) first_reason = fmt::format("{}: {}", directory(step).string(), *damage);
    damaged(step, *damage);
  }
  if (all.empty()) return std::nullopt;
  throw Error(ErrorCode::corrupt,
              fmt::format("none of the {} checkpoints is whole; the newest: {}", all.size(), first_reason),
              fmt::format("bring one back from a copy, or remove {} to start from the beginning",
                          folder_.checkpoints().string()));
}

void CheckpointStore::write(std::int64_t step, std::optional<std::int64_t> best_step,
                            const std::function<void(const fs::path&)>& fill) {
  const fs::path target = directory(step);
  const fs::path unfinished = folder_.checkpoints() / fmt::format("{}{}", kUnfinished, target.filename().string());
  try {
    remove_quietly(unfinished);
    fs::create_directories(unfinished / "trainer");
    fill(unfinished);
    write_manifest(unfinished);
    if (fs::exists(target)) {
      // Only a damaged one, or one of a run that was rolled back, can stand here.
      const fs::path aside = folder_.checkpoints() / fmt::format("{}old", kUnfinished);
      remove_quietly(aside);
      fs::rename(target, aside);
      remove_quietly(aside);
    }
    fs::rename(unfinished, target);
    sync_directory(folder_.checkpoints());
  } catch (const fs::filesystem_error& error) {
    remove_quietly(unfinished);
    throw Error(ErrorCode::io, error.what()).caused_by(std::current_exception());
  } catch (...) {
    remove_quietly(unfinished);
    throw;
  }
  set_links(step, best_step);
  std::int64_t newer = 0;
  for (const std::int64_t other : steps()) {
    if (++newer > keep_ && other != best_step) remove_quietly(directory(other));
  }
}

void CheckpointStore::rewind(std::int64_t step, std::optional<std::int64_t> best_step) {
  remove_unfinished();
  for (const std::int64_t other : steps()) {
    if (other > step) remove_quietly(directory(other));
  }
  set_links(step, best_step);
}

void CheckpointStore::set_links(std::int64_t step, std::optional<std::int64_t> best_step) const {
  const fs::path parent = folder_.checkpoints().filename();
  replace_symlink(parent / directory(step).filename(), folder_.root / "last");
  if (best_step && fs::exists(directory(*best_step))) {
    replace_symlink(parent / directory(*best_step).filename(), folder_.root / "best");
  }
}

void CheckpointStore::remove_unfinished() const {
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder_.checkpoints(), none)) {
    if (entry.path().filename().string().starts_with(kUnfinished)) remove_quietly(entry.path());
  }
}

}  // namespace mobula::train

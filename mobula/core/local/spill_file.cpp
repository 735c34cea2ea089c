#include "mobula/core/local/spill_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>
#include <utility>

#include "mobula/base/size.hpp"
#include "mobula/core/errors.hpp"

namespace mobula {
namespace {

Descriptor open_nameless(const std::filesystem::path& folder) {
  Descriptor file(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file) return file;
  if (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL) {
    // The file system can't make one without a name: it has one for a moment.
    std::string name = (folder / ".mobula-spill-XXXXXX").string();
    file = Descriptor(mkostemp(name.data(), O_CLOEXEC));
    if (file && unlink(name.c_str()) == 0) return file;
  }
  throw_io(fmt::format("no spill file can be made in '{}'", folder.string()), errno,
           "give --spill-dir a folder that this user may write to");
}

}  // namespace

SpillFile::SpillFile(std::filesystem::path folder, std::uint64_t quota) : folder_(std::move(folder)), quota_(quota) {
  std::error_code failure;
  std::filesystem::create_directories(folder_, failure);
  if (failure) throw_io(fmt::format("the spill folder '{}'", folder_.string()), failure.value());
  file_ = open_nameless(folder_);
  if (quota_ != 0) return;
  struct statvfs system {};
  if (fstatvfs(file_.get(), &system) != 0) throw_io(folder_.string(), errno);
  quota_ = static_cast<std::uint64_t>(system.f_bavail) * system.f_frsize / 2;
}

std::optional<std::uint64_t> SpillFile::write(std::string_view bytes) {
  const std::uint64_t size = whole_blocks(bytes.size());
  if (size > quota_ - used_) return std::nullopt;
  auto offset = free_.take(size);
  if (!offset) {
    offset = end_;
    end_ += size;
  }
  used_ += size;
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t written =
        pwrite(file_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(*offset + done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int reason = written == 0 ? ENOSPC : errno;
      free(*offset, bytes.size());
      if (reason == ENOSPC || reason == EDQUOT || reason == EFBIG) {
        throw OutOfMemoryError(
            fmt::format(
                "an object of {} can't be spilled: the disk of '{}' is full ({} of {} in use by spilled objects)",
                format_size(bytes.size()), folder_.string(), format_size(used_), format_size(quota_)),
            "drop Refs you no longer need, raise --memory, or give --spill-dir a folder on a larger disk");
      }
      throw_io(fmt::format("an object can't be spilled to '{}'", folder_.string()), reason);
    }
    done += static_cast<std::size_t>(written);
  }
  return offset;
}

void SpillFile::read(std::uint64_t offset, char* to, std::size_t size) const {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = pread(file_.get(), to + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw_io(fmt::format("a spilled object can't be read back from '{}'", folder_.string()), got < 0 ? errno : EIO);
    }
    done += static_cast<std::size_t>(got);
  }
}

std::uint64_t SpillFile::checksum(std::string_view bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

void SpillFile::free(std::uint64_t offset, std::size_t bytes) {
  const std::uint64_t size = whole_blocks(bytes);
  used_ -= size;
  if (used_ == 0) {
    [[maybe_unused]] const int ignored = ftruncate(file_.get(), 0);
    free_.clear();
    end_ = 0;
    return;
  }
  // Where the file system can't, the blocks are kept for the next object.
  fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
            static_cast<off_t>(size));
  free_.give(offset, size);
}

}  // namespace mobula

#include "mobula/base/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <utility>
#include <vector>

#include "mobula/base/descriptor.hpp"
#include "mobula/base/error.hpp"

namespace mobula {
namespace fs = std::filesystem;
namespace {

[[noreturn]] void throw_open(const fs::path& path, int error_number) {
  if (error_number == ENOENT) throw Error(ErrorCode::not_found, fmt::format("{}: no such file", path.string()));
  throw_io(path.string(), error_number);
}

int open_for_reading(const fs::path& path, struct stat& info) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) throw_open(path, errno);
  if (::fstat(descriptor, &info) != 0 || S_ISDIR(info.st_mode)) {
    const int error_number = S_ISDIR(info.st_mode) ? EISDIR : errno;
    ::close(descriptor);
    throw_io(path.string(), error_number);
  }
  return descriptor;
}

}  // namespace

std::string read_file(const fs::path& path, std::size_t max_bytes) {
  struct stat info {};
  const Descriptor file(open_for_reading(path, info));
  std::string content;
  if (S_ISREG(info.st_mode)) content.reserve(static_cast<std::size_t>(info.st_size));
  std::vector<char> buffer(std::size_t{1} << 16);
  while (true) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0) {
      if (errno == EINTR) continue;
      throw_io(path.string(), errno);
    }
    if (got == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(got));
    if (content.size() > max_bytes) {
      throw Error(ErrorCode::resource, fmt::format("{}: larger than {} bytes", path.string(), max_bytes));
    }
  }
}

void write_file_atomic(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter{0};
  const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  std::error_code failure;
  fs::create_directories(folder, failure);
  if (failure) throw_io(folder.string(), failure.value());
  temporary_ = folder / fmt::format(".{}.{}.{}.tmp", path_.filename().string(), ::getpid(), counter++);
  descriptor_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (descriptor_ < 0) throw_io(path_.string(), errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      throw_io(path_.string(), errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

void AtomicFile::commit(bool durable) {
  if (durable && ::fsync(descriptor_) != 0) throw_io(path_.string(), errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_io(path_.string(), errno);
  ::close(descriptor_);
  descriptor_ = -1;
  if (durable) sync_directory(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
}

MappedFile::MappedFile(const fs::path& path) {
  struct stat info {};
  const Descriptor file(open_for_reading(path, info));
  size_ = static_cast<std::size_t>(info.st_size);
  if (size_ == 0) return;
  address_ = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address_ == MAP_FAILED) {
    address_ = nullptr;
    throw_io(path.string(), errno);
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (address_ != nullptr) ::munmap(address_, size_);
}

TemporaryDirectory::TemporaryDirectory(std::string_view prefix) {
  std::string name = (fs::temp_directory_path() / fmt::format("{}-XXXXXX", prefix)).string();
  if (::mkdtemp(name.data()) == nullptr) throw_io(name, errno);
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void sync_directory(const fs::path& directory) {
  const Descriptor folder(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) throw_io(directory.string(), errno);
}

void replace_symlink(const fs::path& target, const fs::path& link) {
  const fs::path temporary = link.string() + fmt::format(".{}.tmp", ::getpid());
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) throw_io(link.string(), errno);
  if (::rename(temporary.c_str(), link.c_str()) != 0) {
    const int error_number = errno;
    ::unlink(temporary.c_str());
    throw_io(link.string(), error_number);
  }
}

fs::path cache_directory() {
  if (const char* own = std::getenv("MOBULA_CACHE"); own != nullptr && *own != '\0') return own;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0') return fs::path(xdg) / "mobula";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return fs::path(home) / ".cache/mobula";
  return fs::temp_directory_path() / "mobula-cache";
}

}  // namespace mobula

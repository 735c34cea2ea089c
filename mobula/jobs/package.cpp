#include "mobula/jobs/package.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <openssl/sha.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/size.hpp"

namespace mobula::jobs {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxFiles = 100'000;
constexpr int kMaxDepth = 64;
constexpr std::time_t kTimeOfFiles = 315619200;  // 1980-01-02: the same archive whenever it is made

struct File {
  std::string name;  // below the folder
  fs::path path;
  std::uint64_t size = 0;
  bool executable = false;
};

bool excluded(const std::string& name, const std::string& last, const std::vector<std::string>& patterns) {
  if (last == ".git") return true;
  return std::any_of(patterns.begin(), patterns.end(), [&](std::string pattern) {
    while (pattern.size() > 1 && pattern.back() == '/') pattern.pop_back();
    if (pattern.starts_with("./")) pattern.erase(0, 2);
    if (pattern.starts_with("/")) return ::fnmatch(pattern.c_str() + 1, name.c_str(), FNM_PATHNAME) == 0;
    return ::fnmatch(pattern.c_str(), name.c_str(), FNM_PATHNAME) == 0 ||
           ::fnmatch(pattern.c_str(), last.c_str(), 0) == 0;
  });
}

class Lister {
 public:
  explicit Lister(const std::vector<std::string>& exclude) : exclude_(exclude) {}

  /// Lists what lies in a folder, and below it.
  void list(const fs::path& folder, const std::string& prefix, int depth) {
    if (depth > kMaxDepth) {
      throw_invalid(fmt::format("{} is more than {} folders deep", folder.string(), kMaxDepth),
                    "leave it out: --exclude");
    }
    // A link to a folder above would never end.
    const std::string real = fs::canonical(folder).string();
    if (!above_.insert(real).second) return;
    for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
      const std::string last = entry.path().filename().string();
      const std::string name = prefix + last;
      if (excluded(name, last, exclude_)) continue;
      struct stat about {};
      if (::stat(entry.path().c_str(), &about) != 0) continue;  // a link to nothing
      if (S_ISDIR(about.st_mode)) {
        list(entry.path(), name + "/", depth + 1);
      } else if (S_ISREG(about.st_mode)) {
        if (files.size() == kMaxFiles) {
          throw Error(ErrorCode::resource, fmt::format("the working directory has more than {} files", kMaxFiles),
                      "name the folder with what the job needs, or leave some out: --exclude PATTERN");
        }
        files.push_back(
            {name, entry.path(), static_cast<std::uint64_t>(about.st_size), (about.st_mode & S_IXUSR) != 0});
      }
    }
    above_.erase(real);
  }

  std::vector<File> files;

 private:
  const std::vector<std::string>& exclude_;
  std::set<std::string> above_;
};

[[noreturn]] void throw_too_large(const fs::path& path, std::size_t max_bytes, std::vector<File> files) {
  std::ranges::sort(files, [](const File& a, const File& b) { return a.size > b.size; });
  std::string largest;
  for (std::size_t i = 0; i < std::min<std::size_t>(files.size(), 3); ++i) {
    largest += fmt::format("{}{} ({})", i == 0 ? "" : ", ", files[i].name, format_size(files[i].size));
  }
  throw Error(ErrorCode::resource,
              fmt::format("{} is larger than the {} that a Ray cluster takes{}{}", path.string(),
                          format_size(max_bytes), largest.empty() ? "" : "; the largest files are ", largest),
              "leave out what the job does not need (--exclude PATTERN), or put it where all nodes read it");
}

struct Sink {
  std::string bytes;
  std::size_t max_bytes = 0;
  bool full = false;
};

la_ssize_t write_sink(struct archive*, void* context, const void* data, std::size_t size) {
  auto& sink = *static_cast<Sink*>(context);
  if (sink.bytes.size() + size > sink.max_bytes) {
    sink.full = true;
    return -1;
  }
  sink.bytes.append(static_cast<const char*>(data), size);
  return static_cast<la_ssize_t>(size);
}

struct FreeArchive {
  void operator()(struct archive* archive) const { archive_write_free(archive); }
};
struct FreeEntry {
  void operator()(struct archive_entry* entry) const { archive_entry_free(entry); }
};

void write_archive(const std::vector<File>& files, Sink& sink, const fs::path& folder) {
  const std::unique_ptr<struct archive, FreeArchive> archive(archive_write_new());
  const auto check = [&](la_ssize_t result) {
    if (sink.full) throw_too_large(folder, sink.max_bytes, files);
    if (result < ARCHIVE_OK) {
      throw Error(ErrorCode::io,
                  fmt::format("{} can't be packed: {}", folder.string(), archive_error_string(archive.get())));
    }
  };
  if (archive == nullptr) throw std::bad_alloc();
  archive_write_set_format_zip(archive.get());
  archive_write_set_bytes_in_last_block(archive.get(), 1);
  check(archive_write_set_options(archive.get(), "zip:compression=deflate,zip:compression-level=6"));
  check(archive_write_open(archive.get(), &sink, nullptr, write_sink, nullptr));
  for (const File& file : files) {
    const MappedFile content(file.path);
    const std::unique_ptr<struct archive_entry, FreeEntry> entry(archive_entry_new());
    archive_entry_set_pathname(entry.get(), file.name.c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), file.executable ? 0755 : 0644);
    archive_entry_set_mtime(entry.get(), kTimeOfFiles, 0);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.text().size()));
    check(archive_write_header(archive.get(), entry.get()));
    if (!content.text().empty()) check(archive_write_data(archive.get(), content.text().data(), content.text().size()));
  }
  check(archive_write_close(archive.get()));
}

std::string package_name(const std::string& bytes) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest);
  std::string name = "_ray_pkg_";
  for (int i = 0; i < 16; ++i) name += fmt::format("{:02x}", digest[i]);
  return name + ".zip";
}

}  // namespace

Package pack_working_directory(const fs::path& path, const std::vector<std::string>& exclude, std::size_t max_bytes) {
  Package package;
  std::error_code missing;
  const auto status = fs::status(path, missing);
  if (fs::is_regular_file(status) && path.extension() == ".zip") {
    if (fs::file_size(path) > max_bytes) throw_too_large(path, max_bytes, {});
    package.bytes = read_file(path, max_bytes);
    package.name = package_name(package.bytes);
    package.num_files = 1;
    return package;
  }
  if (!fs::is_directory(status)) {
    throw Error(ErrorCode::not_found, fmt::format("--working-dir {}: no such folder", path.string()),
                "name a folder or a .zip file; all of it is sent to the cluster");
  }
  try {
    Lister lister(exclude);
    lister.list(path, "", 0);
    std::ranges::sort(lister.files, {}, &File::name);
    if (lister.files.empty()) {
      throw_invalid(fmt::format("--working-dir {} holds no files", path.string()), "leave it away, or see --exclude");
    }
    Sink sink{.bytes = {}, .max_bytes = max_bytes};
    write_archive(lister.files, sink, path);
    package.num_files = lister.files.size();
    package.bytes = std::move(sink.bytes);
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorCode::io, fmt::format("{}: {}", error.path1().string(), error.code().message()),
                "leave it out: --exclude PATTERN");
  }
  package.name = package_name(package.bytes);
  return package;
}

}  // namespace mobula::jobs

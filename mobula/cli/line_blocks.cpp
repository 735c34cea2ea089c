#include "mobula/cli/line_blocks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "mobula/base/error.hpp"
#include "mobula/base/size.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlockBytes = std::size_t{4} << 20;
constexpr std::size_t kLongestLine = std::size_t{1} << 28;

}  // namespace

std::vector<fs::path> find_text_files(const std::vector<std::string>& inputs) {
  std::vector<fs::path> files;
  for (const std::string& input : inputs) {
    if (!fs::exists(input)) throw Error(ErrorCode::not_found, fmt::format("{}: no such file or folder", input));
    if (!fs::is_directory(input)) {
      files.emplace_back(input);
      continue;
    }
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(input)) {
      const std::string extension = entry.path().extension().string();
      if (entry.is_regular_file() && (extension == ".txt" || extension == ".jsonl")) found.push_back(entry.path());
    }
    if (found.empty())
      throw Error(ErrorCode::not_found, fmt::format("{}: no .txt or .jsonl file in this folder", input));
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  return files;
}

LineBlocks::LineBlocks(std::vector<fs::path> files) : files_(std::move(files)) {
  for (const fs::path& file : files_) total_ += fs::file_size(file);
}

LineBlocks::~LineBlocks() {
  close();
}

bool LineBlocks::next(Block& block) {
  while (true) {
    if (descriptor_ < 0 && !open()) return false;
    block.text = std::move(rest_);
    rest_.clear();
    block.name = files_[at_ - 1].string();
    block.jsonl = files_[at_ - 1].extension() == ".jsonl";
    block.first_line = line_;
    std::size_t end = std::string::npos;
    bool at_end = false;
    while (!at_end && end == std::string::npos) {
      const std::size_t before = block.text.size();
      block.text.resize(before + kBlockBytes);
      const ssize_t count = ::read(descriptor_, block.text.data() + before, kBlockBytes);
      if (count < 0 && errno != EINTR) throw_io(block.name, errno);
      block.text.resize(before + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
      if (count < 0) continue;
      done_ += static_cast<std::size_t>(count);
      at_end = count == 0;
      end = block.text.rfind('\n');
      if (end == std::string::npos && block.text.size() > kLongestLine) {
        throw Error(ErrorCode::resource,
                    fmt::format("{}: line {} is longer than {}", block.name, line_, format_size(kLongestLine)),
                    "break the text into lines");
      }
    }
    if (!at_end) {
      rest_ = block.text.substr(end + 1);
      block.text.resize(end + 1);
    } else {
      close();
    }
    line_ += static_cast<std::size_t>(std::count(block.text.begin(), block.text.end(), '\n'));
    if (!block.text.empty()) return true;
  }
}

bool LineBlocks::open() {
  if (at_ == files_.size()) return false;
  descriptor_ = ::open(files_[at_].c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) throw_io(files_[at_].string(), errno);
  ++at_;
  line_ = 1;
  return true;
}

void LineBlocks::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace mobula::cli

#include "mobula/track/process_identity.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <sstream>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"

namespace mobula::track {
namespace {

std::string read_line(const std::filesystem::path& file) {
  try {
    const std::string text = read_file(file, 4096);
    return text.substr(0, text.find('\n'));
  } catch (const Error&) {
    return {};
  }
}

// "number:start", or nothing where there is no such process. proc(5): the start is the 22nd field of stat;
// the 2nd, the program's name in parentheses, may itself hold spaces and parentheses.
std::string identify(long number) {
  const std::string stat = read_line(fmt::format("/proc/{}/stat", number));
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return fmt::format("{}:{}", number, field);
}

}  // namespace

std::string host_identity() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  std::error_code failure;
  const std::string container = std::filesystem::read_symlink("/proc/self/ns/pid", failure).string();
  return fmt::format("{} {} {}", name, read_line("/proc/sys/kernel/random/boot_id"), container);
}

std::string process_identity() {
  return identify(::getpid());
}

std::optional<bool> is_running(std::string_view host, std::string_view process) {
  if (host != host_identity()) return std::nullopt;
  long number = 0;
  std::from_chars(process.data(), process.data() + process.size(), number);
  return number > 0 && identify(number) == process;
}

}  // namespace mobula::track

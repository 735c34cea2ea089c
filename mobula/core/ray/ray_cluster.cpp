#include "mobula/core/ray/ray_cluster.hpp"

#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "mobula/base/error.hpp"

namespace mobula {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kStartTime = std::chrono::seconds(120);
constexpr auto kStopTime = std::chrono::seconds(15);

/// Runs `ray start` as a session of its own, and ends that session when it is told to (SIGUSR1), or when the program
/// that started it is gone. `ray stop` would end every Ray of the machine.
constexpr const char* kHeadScript = R"PY(
import os, shutil, signal, sys, threading, time
parent, folder = int(sys.argv[1]), sys.argv[2]
os.setsid()
log = os.open(os.path.join(folder, "head.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(log, 1)
os.dup2(log, 2)
me = os.getpid()

def others():
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != me:
            try:
                with open(f"/proc/{name}/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == me and fields[0] != "Z":
                found.append(int(name))
    return found

def end(*_):
    for number, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 5)):
        deadline = time.monotonic() + seconds
        while (left := others()) and time.monotonic() < deadline:
            for pid in left:
                try:
                    os.kill(pid, number)
                except OSError:
                    pass
            time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)

def watch():
    while os.getppid() == parent:
        time.sleep(0.2)
    end()

threading.Thread(target=watch, daemon=True).start()
signal.signal(signal.SIGUSR1, end)
sys.argv = ["ray"] + sys.argv[3:]
from ray.scripts.scripts import main
sys.exit(main())
)PY";

std::string random_token() {
  unsigned char bytes[32];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) {
    throw Error(ErrorCode::resource, "the system has no random numbers for a token");
  }
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

bool has_token() {
  const auto set = [](const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0';
  };
  if (set("RAY_AUTH_TOKEN") || set("RAY_AUTH_TOKEN_PATH")) return true;
  const char* home = std::getenv("HOME");
  return home != nullptr && fs::exists(fs::path(home) / ".ray" / "auth_token");
}

/// Returns the Python of the environment that Ray was installed into: PREFIX/lib/pythonX/site-packages/ray/cpp/lib/...
fs::path python_of(const std::string& ray_library) {
  fs::path prefix = fs::weakly_canonical(ray_library);
  for (int up = 0; up < 7; ++up) prefix = prefix.parent_path();
  const fs::path python = prefix / "bin" / "python3";
  if (!fs::exists(python)) {
    throw Error(ErrorCode::unavailable,
                fmt::format("ray://local needs the Python beside Ray: {} is missing", python.string()),
                "install ray and ray-cpp into one virtual environment (./dev setup --all)");
  }
  return python;
}

}  // namespace

void prepare_ray_token(bool make) {
  // Ray's library reads the mode when it is loaded, and keeps the token it has read.
  if (make && !has_token()) setenv("RAY_AUTH_TOKEN", random_token().c_str(), 1);
  if (has_token()) setenv("RAY_AUTH_MODE", "token", make ? 1 : 0);
}

std::string find_ray_address() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string given = variable("RAY_ADDRESS");
  if (given.find("://") != std::string::npos && !given.starts_with("ray://")) {
    throw_invalid(fmt::format("RAY_ADDRESS is {}: programs connect to the head's host:port", given),
                  "set it to HOST:6379, or write --engine ray://HOST:PORT");
  }
  if (!given.empty() && given != "auto" && given != "local") {
    return given.starts_with("ray://") ? given.substr(std::string_view("ray://").size()) : given;
  }
  const std::string folder = variable("RAY_TMPDIR");
  const fs::path file = fs::path(folder.empty() ? "/tmp" : folder) / "ray" / "ray_current_cluster";
  std::error_code missing;
  std::string address = fs::exists(file, missing) ? read_file(file, 4096) : "";
  while (!address.empty() && std::isspace(static_cast<unsigned char>(address.back())) != 0) address.pop_back();
  if (address.empty()) {
    throw Error(ErrorCode::not_found,
                "ray://auto finds no cluster: RAY_ADDRESS is not set, and none runs on this machine",
                "write --engine ray://HOST:PORT, or ray://local for a cluster of the program's own");
  }
  return address;
}

RayCluster::RayCluster(const std::string& ray_library, const RuntimeOptions& options) : folder_("mobula-ray") {
  // The path of a socket has at most 107 characters, and Ray appends about 65.
  if (folder_.path().native().size() > 40) {
    throw Error(ErrorCode::io,
                fmt::format("the temporary folder {} is too deep for Ray's sockets", folder_.path().string()),
                "set TMPDIR to a shorter path, such as /tmp");
  }
  const fs::path folder = folder_.path();
  std::vector<std::string> arguments{
      python_of(ray_library).string(),
      "-c",
      kHeadScript,
      std::to_string(getpid()),
      folder.string(),
      "start",
      "--head",
      "--block",
      "--port=0",
      "--temp-dir=" + (folder / "t").string(),
      fmt::format("--num-cpus={}", options.num_cpus),
      fmt::format("--num-gpus={:g}", options.num_gpus),
      "--include-dashboard=false",
      "--include-log-monitor=false",
      "--no-monitor",
      "--disable-usage-stats",
      "--min-worker-port=0",
      "--max-worker-port=0",
      "--dashboard-agent-listen-port=0",
      fmt::format("--object-store-memory={}", std::max<std::uint64_t>(options.memory / 2, std::uint64_t{80} << 20)),
  };
  if (!options.resources.empty()) {
    std::string json;
    for (const auto& [name, amount] : options.resources) {
      if (name.find_first_of("\"\\") != std::string::npos)
        throw_invalid(fmt::format("resource '{}' has a quote in its name", name));
      json += fmt::format("{}\"{}\": {:g}", json.empty() ? "" : ", ", name, amount);
    }
    arguments.push_back("--resources={" + json + "}");
  }
  // Python workers that Ray starts ahead would only be in the way: ours are C++ ones.
  head_ = std::make_unique<Subprocess>(
      arguments, SubprocessOptions{
                     .environment = {{"RAY_prestart_worker_first_driver", "0"}, {"RAY_enable_worker_prestart", "0"}}});
  const fs::path address = folder / "t" / "ray_current_cluster";
  const auto deadline = Clock::now() + kStartTime;
  while (!fs::exists(address) || fs::file_size(address) == 0) {
    if (head_->wait_for(std::chrono::milliseconds(10)) || Clock::now() > deadline) {
      throw Error(ErrorCode::unavailable,
                  "Ray could not be started on this machine; its last lines were:\n" + last_output(),
                  "see whether `ray start --head --block` works here");
    }
  }
  address_ = read_file(address, 4096);
  while (!address_.empty() && std::isspace(static_cast<unsigned char>(address_.back())) != 0) address_.pop_back();
}

RayCluster::~RayCluster() {
  if (head_ == nullptr) return;
  head_->signal(SIGUSR1);
  // Where it does not even hear that, Subprocess kills it, and its processes follow within their own time limits.
  head_->wait_for(kStopTime);
}

std::string RayCluster::last_output() const {
  std::string text;
  try {
    text = read_file(folder_.path() / "head.log", std::size_t{16} << 20);
  } catch (const Error&) {
    return "(none)";
  }
  return text.size() > 2000 ? text.substr(text.size() - 2000) : text;
}

}  // namespace mobula

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/size.hpp"
#include "mobula/base/text_table.hpp"
#include "mobula/cli/commands.hpp"
#include "mobula/core/state_server.hpp"

namespace mobula::cli {
namespace {

using Align = TextTable::Align;

struct TopOptions {
  pid_t pid = 0;
  bool once = false;
  std::string interval = "1s";
  std::string out;
};

volatile std::sig_atomic_t interrupted = 0;

/// Returns the program that is meant: the one named, or the only one there is.
pid_t chosen_program(const TopOptions& options) {
  if (options.pid != 0) return options.pid;
  const std::vector<pid_t> pids = find_programs();
  if (pids.size() == 1) return pids.front();
  if (pids.empty()) {
    throw Error(ErrorCode::not_found, "no Mobula program of yours is running on this machine",
                "start one; what ran already is seen in its --timeline FILE");
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("{} Mobula programs are running", pids.size()),
              fmt::format("name one by its process: {}", fmt::join(pids, ", ")));
}

Json ask_state(pid_t pid) {
  return parse_json(ask_program(pid, "state"), fmt::format("the state of process {}", pid), {.max_depth = 16});
}

std::string seconds_text(const Json& seconds) {
  return format_duration(std::chrono::nanoseconds(static_cast<std::int64_t>(seconds.get<double>() * 1e9)));
}

/// Keeps what would break out of a terminal's line out of it.
std::string plain(const std::string& text, std::size_t width) {
  std::string safe;
  for (const char c : text) safe += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  if (safe.size() > width) safe = safe.substr(0, width - 3) + "...";
  return safe;
}

std::string amounts_text(const Json& node) {
  std::string text;
  for (const auto& [name, total] : node.at("total").items()) {
    const double all = total.get<double>();
    const double used = all - node.at("available").value(name, 0.0);
    text += text.empty() ? "" : ", ";
    text += name == "memory"
                ? fmt::format("memory {} of {}", format_size(static_cast<std::uint64_t>(std::max(0.0, used))),
                              format_size(static_cast<std::uint64_t>(all)))
                : fmt::format("{} {:g} of {:g}", name, used, all);
  }
  return text;
}

std::string render(const Json& state, std::size_t max_rows) {
  const Json& objects = state.at("objects");
  std::string text = fmt::format("{}  process {}  engine {}  up {}\n",
                                 plain(state.at("program").get<std::string>(), 40), state.at("pid").get<pid_t>(),
                                 state.at("engine").get<std::string>(), seconds_text(state.at("uptime_seconds")));
  text += fmt::format("tasks    {} running, {} waiting; {} threads, {} worker processes\n", state.at("running").size(),
                      state.at("num_queued").get<std::uint64_t>(), state.at("num_threads").get<int>(),
                      state.at("workers").size());
  text += fmt::format("objects  {} of {} in memory, {} on disk\n",
                      format_size(objects.at("bytes_in_memory").get<std::uint64_t>()),
                      format_size(objects.at("memory_budget").get<std::uint64_t>()),
                      format_size(objects.at("bytes_on_disk").get<std::uint64_t>()));
  for (const Json& node : state.at("nodes")) {
    text += fmt::format("node     {}: {} in use\n", plain(node.at("host").get<std::string>(), 40), amounts_text(node));
  }
  const auto longest_first = [](const Json& rows, const char* key) {
    std::vector<Json> sorted(rows.begin(), rows.end());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [&](const Json& a, const Json& b) { return a.at(key).get<double>() > b.at(key).get<double>(); });
    return sorted;
  };
  const auto add = [&](const TextTable& table, std::size_t shown, std::size_t all) {
    text += "\n" + table.to_string();
    if (shown < all) text += fmt::format("... and {} more\n", all - shown);
  };
  std::size_t shown = 0;
  const auto room = [&] { return shown++ < max_rows; };
  if (!state.at("running").empty()) {
    TextTable table({"RUNNING", "FOR", "WHERE"}, {Align::left, Align::right, Align::left});
    shown = 0;
    for (const Json& task : longest_first(state.at("running"), "seconds")) {
      if (!room()) break;
      table.add_row({plain(task.at("name").get<std::string>(), 60), seconds_text(task.at("seconds")),
                     plain(task.at("worker").get<std::string>(), 30)});
    }
    add(table, std::min(max_rows, state.at("running").size()), state.at("running").size());
  }
  if (!state.at("functions").empty()) {
    TextTable table({"FUNCTION", "ENDED", "FAILED", "TIME", "EACH"},
                    {Align::left, Align::right, Align::right, Align::right, Align::right});
    shown = 0;
    for (const Json& function : longest_first(state.at("functions"), "seconds")) {
      if (!room()) break;
      const double seconds = function.at("seconds").get<double>();
      const auto ended = function.at("num_ended").get<std::uint64_t>();
      table.add_row({plain(function.at("name").get<std::string>(), 60), std::to_string(ended),
                     std::to_string(function.at("num_failed").get<std::uint64_t>()),
                     seconds_text(function.at("seconds")),
                     seconds_text(Json(seconds / static_cast<double>(std::max<std::uint64_t>(1, ended))))});
    }
    add(table, std::min(max_rows, state.at("functions").size()), state.at("functions").size());
  }
  if (!state.at("actors").empty()) {
    // Equal ones in one line.
    std::map<std::vector<std::string>, int> counts;
    for (const Json& actor : state.at("actors")) {
      ++counts[{plain(actor.at("name").get<std::string>(), 40), plain(actor.at("class").get<std::string>(), 40),
                actor.at("where").get<std::string>(), actor.at("alive").get<bool>() ? "alive" : "dead"}];
    }
    TextTable table({"ACTOR", "CLASS", "IN A", "STATE", "COUNT"},
                    {Align::left, Align::left, Align::left, Align::left, Align::right});
    shown = 0;
    for (const auto& [cells, count] : counts) {
      if (!room()) break;
      std::vector<std::string> row = cells;
      row.push_back(std::to_string(count));
      table.add_row(std::move(row));
    }
    add(table, std::min(max_rows, counts.size()), counts.size());
  }
  if (!state.at("workers").empty()) {
    TextTable table({"WORKER", "PROCESS"}, {Align::left, Align::right});
    shown = 0;
    for (const Json& worker : state.at("workers")) {
      if (!room()) break;
      table.add_row({plain(worker.at("name").get<std::string>(), 60), std::to_string(worker.at("pid").get<pid_t>())});
    }
    add(table, std::min(max_rows, state.at("workers").size()), state.at("workers").size());
  }
  return text;
}

/// A terminal that gives single keys and shows no cursor, until the end.
class Screen {
 public:
  Screen() : keys_(isatty(STDIN_FILENO) != 0 && tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (keys_) {
      termios raw = before_;
      raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
      tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    fmt::print("\x1b[?1049h\x1b[?25l");
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  ~Screen() {
    fmt::print("\x1b[?25h\x1b[?1049l");
    std::fflush(stdout);
    if (keys_) tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  void draw(const std::string& text) {
    winsize size{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 2) size.ws_row = 24;
    std::string shown = "\x1b[H";
    std::size_t start = 0;
    for (int row = 0; row + 1 < size.ws_row && start < text.size(); ++row) {
      const std::size_t end = std::min(text.find('\n', start), text.size());
      shown += text.substr(start, end - start) + "\x1b[K\n";
      start = end + 1;
    }
    fmt::print("{}\x1b[J\x1b[7m q quits \x1b[0m", shown);
    std::fflush(stdout);
  }
  /// Waits; returns false where q was pressed or the program is told to end.
  bool wait(std::chrono::milliseconds time) const {
    pollfd key{keys_ ? STDIN_FILENO : -1, POLLIN, 0};
    if (poll(&key, 1, static_cast<int>(time.count())) > 0) {
      char c = 0;
      if (read(STDIN_FILENO, &c, 1) <= 0 || c == 'q' || c == 'Q') return false;
    }
    return interrupted == 0;
  }

 private:
  termios before_{};
  bool keys_;
};

int run_top(const TopOptions& options, bool json) {
  const auto interval = std::chrono::duration_cast<std::chrono::milliseconds>(parse_duration(options.interval));
  if (interval < std::chrono::milliseconds(50)) throw_invalid("the interval is too short", "give at least 50ms");
  const pid_t pid = chosen_program(options);
  const bool live = !json && !options.once && isatty(STDOUT_FILENO) != 0;
  if (!live) {
    // Looking begins the record: what runs is seen at the second look.
    ask_state(pid);
    timespec nap{0, 100'000'000};
    nanosleep(&nap, nullptr);
    const Json state = ask_state(pid);
    fmt::print("{}", json ? to_line(state) + "\n" : render(state, 1000));
    return 0;
  }
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  bool ended = false;
  {
    Screen screen;
    do {
      try {
        screen.draw(render(ask_state(pid), 15));
      } catch (const Error& error) {
        ended = error.code() == ErrorCode::unavailable;
        if (!ended) throw;
      }
    } while (!ended && screen.wait(interval));
  }
  if (ended) fmt::print("process {} has ended\n", pid);
  return 0;
}

int save_timeline(const TopOptions& options, bool json) {
  const pid_t pid = chosen_program(options);
  const auto time = parse_duration(options.interval);
  ask_program(pid, "timeline");
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time);
  timespec nap{seconds.count(), (time - seconds).count()};
  nanosleep(&nap, nullptr);
  write_file_atomic(options.out, ask_program(pid, "timeline"));
  fmt::print("{}\n", json ? to_line(Json{{"timeline", options.out}}) : options.out);
  return 0;
}

}  // namespace

void add_top_commands(CommandLine& line) {
  const auto top_options = std::make_shared<TopOptions>();
  CLI::App& top = line.add(nullptr, "top", "Show what a running program is doing: tasks, actors, objects, workers",
                           "  mobula top\n  mobula top 4711 --interval 500ms\n  mobula top 4711 --once --json",
                           [top_options, &line] { return run_top(*top_options, line.globals().json); });
  top.add_option("pid", top_options->pid, "Its process [the only one there is]");
  top.add_flag("--once", top_options->once, "Print once instead of refreshing");
  top.add_option("--interval", top_options->interval, "Time between looks")->capture_default_str();

  const auto options = std::make_shared<TopOptions>();
  options->interval = "5s";
  options->out = "timeline.json";
  CLI::App& timeline =
      line.add(nullptr, "timeline", "Record what a running program does, for Perfetto (ui.perfetto.dev)",
               "  mobula timeline\n  mobula timeline 4711 --for 10s --out run.json",
               [options, &line] { return save_timeline(*options, line.globals().json); });
  timeline.add_option("pid", options->pid, "Its process [the only one there is]");
  timeline.add_option("--for", options->interval, "How long to record")->capture_default_str();
  timeline.add_option("--out", options->out, "The file to write")->capture_default_str();
}

}  // namespace mobula::cli

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/base/progress.hpp"
#include "mobula/base/size.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/data.hpp"
#include "mobula/cli/data_text.hpp"
#include "mobula/cli/plugin.hpp"
#include "mobula/core/runtime.hpp"
#include "mobula/data/blocks/process_memory.hpp"
#include "mobula/data/blocks/type_names.hpp"
#include "mobula/data/content/content_rules.hpp"
#include "mobula/data/content/slices.hpp"
#include "mobula/data/dataset.hpp"
#include "mobula/data/describe.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/plan/pipeline.hpp"
#include "mobula/data/preprocess/model_inputs.hpp"
#include "mobula/data/shards/mds_samples.hpp"

namespace mobula::cli {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<std::string> split_names(std::string_view text) {
  std::vector<std::string> names;
  while (!text.empty()) {
    const std::string_view name = text.substr(0, text.find(','));
    names.emplace_back(name);
    text.remove_prefix(std::min(text.size(), name.size() + 1));
  }
  return names;
}

data::Dataset open_input(const DataOptions& options) {
  data::ReadOptions read;
  read.types = data::parse_types(options.types);
  read.columns = split_names(options.columns);
  if (options.infer == "all") {
    read.infer_all = true;
  } else if (!options.infer.empty()) {
    read.infer_bytes = static_cast<std::size_t>(parse_size(options.infer));
    if (read.infer_bytes == 0) throw_invalid("--infer 0: a window of at least one byte is needed");
  }
  if (options.delimiter.size() != 1)
    throw_invalid(fmt::format("--delimiter '{}': one byte is expected", options.delimiter));
  read.delimiter = options.delimiter[0];
  read.exclude = split_names(options.exclude);
  read.query = options.query;
  read.driver = options.driver;
  read.split = options.split;
  read.version = options.version;
  if (options.order.empty()) return data::Dataset::read(options.input, options.from, read);
  if (options.from != "mds" && (!options.from.empty() || data::format_of_path(options.input) != "mds"))
    throw_invalid(fmt::format("--order: {} is no folder of MDS shards", options.input), "only MDS has an order");
  data::MdsSampleOptions order;
  for (const std::string& item : split_names(options.order)) {
    const std::size_t equals = item.find('=');
    if (equals == std::string::npos) throw_invalid(fmt::format("--order: '{}': KEY=VALUE is expected", item));
    order.set(item.substr(0, equals), item.substr(equals + 1));
  }
  return data::read_mds_in_order({options.input}, read, order);
}

/// Returns what the environment says, where the flags are, too; empty where it says nothing.
std::string runtime_setting(const char* variable) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? "" : value;
}

/// Puts the runtime's settings in the place of a run's own.
void apply_runtime_settings(data::RunOptions& run) {
  if (const auto memory = runtime_setting("MOBULA_MEMORY"); !memory.empty()) run.memory = parse_size(memory);
  if (const auto folder = runtime_setting("MOBULA_SPILL_DIR"); !folder.empty()) run.spill_directory = folder;
  if (const auto quota = runtime_setting("MOBULA_SPILL_QUOTA"); !quota.empty()) run.disk = parse_size(quota);
  const auto cpus = runtime_setting("MOBULA_NUM_CPUS");
  if (cpus.empty()) return;
  const auto end = cpus.data() + cpus.size();
  const auto read = std::from_chars(cpus.data(), end, run.num_threads);
  if (read.ec != std::errc() || read.ptr != end || run.num_threads < 1 || run.num_threads > 1024)
    throw_invalid(fmt::format("--num-cpus '{}'", cpus), "give a number between 1 and 1024");
}

data::RunOptions run_options() {
  data::RunOptions run;
  apply_runtime_settings(run);
  return run;
}

void print_result(const data::RunResult& result, const std::string& output, double seconds,
                  const GlobalOptions& globals) {
  if (globals.json) {
    fmt::print("{}\n", to_line({{"rows", result.rows},
                                {"output", output.empty() ? Json(nullptr) : Json(output)},
                                {"seconds", seconds},
                                {"skipped", result.skipped},
                                {"parts_before", result.parts_before},
                                {"rows_before", result.rows_before},
                                {"limited_by", data::slowest_operator(result.statistics)},
                                {"stages", result.statistics}}));
  } else if (!globals.quiet) {
    fmt::print("{} rows{}{}, {:.2f} s{}{}\n", result.rows, output.empty() ? "" : " -> ", output, seconds,
               result.skipped > 0 ? fmt::format(", {} bad rows skipped", result.skipped) : "",
               result.parts_before > 0 ? fmt::format(", {} parts were there already", result.parts_before) : "");
  }
}

/// Shows the run on standard error while it goes on: every operator on a terminal, a line now and then in a pipe.
class LiveView {
 public:
  LiveView(data::RunOptions& run, const GlobalOptions& globals) : progress_("rows", 0) {
    terminal_ = ::isatty(STDERR_FILENO) == 1;
    if (!globals.quiet) run.watch = [this](const Json& stages) { show(stages); };
  }
  ~LiveView() { erase(); }
  LiveView(const LiveView&) = delete;
  LiveView& operator=(const LiveView&) = delete;

 private:
  void show(const Json& stages) {
    if (stages.empty()) return;
    if (terminal_) {
      draw(data::run_report(stages));
      return;
    }
    const Json& operators = stages.back()["operators"];
    const auto read = stages.front()["operators"].front()["bytes"].get<std::int64_t>();
    std::string parts;
    if (const auto made = stages.back().find("parts"); made != stages.back().end()) {
      parts =
          fmt::format("{} of {} parts, ", (*made)["made"].get<std::int64_t>() + (*made)["before"].get<std::int64_t>(),
                      (*made)["of"].get<std::int64_t>());
    }
    progress_.update(static_cast<std::uint64_t>(operators.back()["rows"].get<std::int64_t>()),
                     fmt::format("{}{} read, limited by {}", parts, format_size(static_cast<std::uint64_t>(read)),
                                 data::slowest_operator(stages)));
  }

  /// Draws the lines in place of those before, cut to the terminal's width and height: what is wrapped can't be erased.
  void draw(const std::string& report) {
    ::winsize size{};
    const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 2;
    const std::size_t width = known ? size.ws_col : 80;
    const std::size_t height = known ? size.ws_row - 1U : 24;
    std::vector<std::string> lines;
    for (std::string_view rest = report; !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      std::size_t cut = std::min(line.size(), width - 1);
      while (cut > 0 && cut < line.size() && (line[cut] & 0xC0) == 0x80) --cut;  // not inside a character
      lines.emplace_back(line.substr(0, cut));
    }
    if (lines.size() > height) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(height));
    erase();
    for (const std::string& line : lines) fmt::print(stderr, "{}\n", line);
    num_drawn_ = lines.size();
  }
  void erase() {
    if (num_drawn_ > 0) fmt::print(stderr, "\033[{}A\033[J", num_drawn_);
    num_drawn_ = 0;
  }

  Progress progress_;
  bool terminal_;
  std::size_t num_drawn_ = 0;
};

/// Calls what runs datasets, and shows them while they run.
template <class Body>
auto watched(const GlobalOptions& globals, Body body) {
  data::RunOptions run = run_options();
  const LiveView view(run, globals);
  return body(run);
}

/// Writes a dataset to a file, or to a folder where the path ends in '/' or the format is one of folders.
void write_result(const data::Dataset& dataset, const std::string& output, const DataOptions& options,
                  const GlobalOptions& globals) {
  if (!options.nan.empty() && options.nan != "null")
    throw_invalid(fmt::format("--nan '{}': only `null` is known", options.nan));
  data::WriteOptions write;
  write.compression = options.compression;
  write.nan_as_null = !options.nan.empty();
  write.durable = true;
  write.overwrite = options.overwrite;
  const std::string format = options.to.empty() ? data::format_of_path(output) : options.to;
  if (format.empty())
    throw_invalid(fmt::format("{}: its extension tells no format", output),
                  fmt::format("pass --to {}", fmt::join(data::writable_formats(), ", ")));
  data::RunOptions run = run_options();
  const auto start = Clock::now();
  data::RunResult result;
  {
    const LiveView view(run, globals);
    const bool folder = data::format_named(format).whole_folder || output.ends_with('/');
    result = folder ? dataset.write(output, format, write, run) : dataset.write_file(output, format, write, run);
  }
  print_result(result, output, std::chrono::duration<double>(Clock::now() - start).count(), globals);
}

void split(const DataOptions& options, const GlobalOptions& globals) {
  const auto [train, test] = watched(globals, [&](const data::RunOptions& run) {
    return open_input(options).train_test_split(options.fraction, options.seed, options.stratify, run);
  });
  write_result(train, options.output, options, globals);
  write_result(test, options.test, options, globals);
}

void dedup(const DataOptions& options, const GlobalOptions& globals) {
  data::ContentRules rules;
  rules.column = options.column;
  rules.exact_duplicates = true;
  rules.near_duplicates = options.near;
  write_result(data::keep_content(open_input(options), rules, nullptr, options.report), options.output, options,
               globals);
}

void tokenize(const DataOptions& options, const GlobalOptions& globals) {
  const auto tokenizer = data::tokenizer_preprocessor({.column = options.column,
                                                       .into = options.into,
                                                       .tokenizer = options.tokenizer,
                                                       .add_special_tokens = options.special_tokens,
                                                       .max_length = options.max_length});
  write_result(tokenizer->transform(open_input(options)), options.output, options, globals);
}

void diff(const DataOptions& options, const GlobalOptions& globals) {
  DataOptions other = options;
  other.input = options.output;
  const Json result = watched(globals, [&](const data::RunOptions& run) {
    return data::compare_datasets(open_input(options), open_input(other), split_names(options.keys), run);
  });
  if (globals.json) {
    fmt::print("{}\n", to_line(result));
    return;
  }
  fmt::print("{} rows -> {} rows: {} added, {} removed, {} changed, {} the same\n",
             result["rows"][0].get<std::int64_t>(), result["rows"][1].get<std::int64_t>(),
             result["added"].get<std::int64_t>(), result["removed"].get<std::int64_t>(),
             result["changed"].get<std::int64_t>(), result["same"].get<std::int64_t>());
  for (const char* what : {"added", "removed", "retyped"}) {
    for (const Json& column : result["columns"][what]) fmt::print("column {}: {}\n", what, column.get<std::string>());
  }
}

void slices(const DataOptions& options, const GlobalOptions& globals) {
  std::vector<data::Slice> slices;
  for (const std::string& text : options.slices) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos)
      throw_invalid(fmt::format("--slice '{}': NAME=EXPRESSION is expected", text),
                    "such as 'short=length(text) < 20'");
    slices.push_back({text.substr(0, equals), text.substr(equals + 1)});
  }
  const Json figures = watched(globals, [&](const data::RunOptions& run) {
    return data::slice_figures(open_input(options), slices, split_names(options.figures), run);
  });
  if (globals.json) {
    fmt::print("{}\n", to_line({{"slices", figures}}));
    return;
  }
  for (const Json& slice : figures) {
    fmt::print("{}: {} rows ({:.1f}%)\n", slice["slice"].get<std::string>(), slice["rows"].get<std::int64_t>(),
               slice["share"].get<double>() * 100);
    for (const auto& [column, of] : slice["columns"].items()) {
      fmt::print("  {}: mean {}, min {}, max {}, {} nulls\n", column, to_line(of["mean"]), to_line(of["min"]),
                 to_line(of["max"]), of["nulls"].get<std::int64_t>());
    }
  }
}

void head(const DataOptions& options, const GlobalOptions& globals) {
  const auto rows = open_input(options).limit(options.rows);
  if (globals.json) {
    for (const std::string& row : data::rows_as_json(rows)) fmt::print("{}\n", row);
    return;
  }
  std::vector<std::vector<std::string>> cells = data::rows_as_text(rows);
  std::vector<std::string> names;
  for (const auto& column : data::columns_of(rows)) names.push_back(column.name);
  cells.insert(cells.begin(), names);
  constexpr std::size_t kWidest = 48;
  std::vector<std::size_t> widths(names.size());
  for (auto& row : cells) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::replace(row[i].begin(), row[i].end(), '\n', ' ');
      if (row[i].size() > kWidest) {
        std::size_t cut = kWidest - 3;
        while (cut > 0 && (row[i][cut] & 0xC0) == 0x80) --cut;  // not inside a character
        row[i] = row[i].substr(0, cut) + "...";
      }
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  for (const auto& row : cells) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i)
      line += fmt::format("{}{:<{}}", i == 0 ? "" : "  ", row[i], i + 1 == row.size() ? 0 : widths[i]);
    fmt::print("{}\n", line);
  }
}

void schema(const DataOptions& options, const GlobalOptions& globals) {
  Json columns = Json::array();
  for (const auto& column : data::columns_of(open_input(options))) {
    if (globals.json) {
      columns.push_back({{"name", column.name}, {"type", column.type}});
    } else {
      fmt::print("{}: {}\n", column.name, column.type);
    }
  }
  if (globals.json) fmt::print("{}\n", to_line({{"columns", columns}}));
}

void stats(const DataOptions& options, const GlobalOptions& globals) {
  const Json figures =
      watched(globals, [&](const data::RunOptions& run) { return data::column_statistics(open_input(options), run); });
  if (globals.json) {
    fmt::print("{}\n", to_line(figures));
    return;
  }
  fmt::print("{} rows\n", figures["rows"].get<std::int64_t>());
  for (const Json& column : figures["columns"]) {
    std::string line = fmt::format("{}: {}, {} nulls", column["name"].get<std::string>(),
                                   column["type"].get<std::string>(), column["nulls"].get<std::int64_t>());
    for (const char* figure : {"min", "max", "mean"}) {
      if (column.contains(figure)) line += fmt::format(", {} {}", figure, to_line(column[figure]));
    }
    fmt::print("{}\n", line);
  }
}

void run(const DataOptions& options, const GlobalOptions& globals) {
  std::optional<Runtime> runtime;  // outlives the pipeline, which keeps actors
  data::Pipeline pipeline = data::read_pipeline(options.input);
  apply_runtime_settings(pipeline.run);
  if (pipeline.needs_runtime) {
    share_plugin_with_workers(kDataPlugin);
    // The flags are in the environment.
    std::string program = "mobula";
    char* arguments[] = {program.data(), nullptr};
    int num_arguments = 1;
    runtime.emplace(num_arguments, arguments);
  }
  const auto start = Clock::now();
  data::RunResult result;
  {
    const LiveView view(pipeline.run, globals);
    result = data::run_pipeline(pipeline);
  }
  print_result(result, pipeline.output, std::chrono::duration<double>(Clock::now() - start).count(), globals);
  if (!globals.json && !globals.quiet) fmt::print(stderr, "{}", data::run_report(result.statistics));
}

}  // namespace

extern "C" int mobula_run_data(const void* options_pointer, const void* globals_pointer) {
  const auto& options = *static_cast<const DataOptions*>(options_pointer);
  const auto& globals = *static_cast<const GlobalOptions*>(globals_pointer);
  data::keep_memory_warm();
  know_text_models();
  switch (options.action) {
    case DataOptions::Action::convert:
      write_result(open_input(options), options.output, options, globals);
      break;
    case DataOptions::Action::head:
      head(options, globals);
      break;
    case DataOptions::Action::schema:
      schema(options, globals);
      break;
    case DataOptions::Action::stats:
      stats(options, globals);
      break;
    case DataOptions::Action::run:
      run(options, globals);
      break;
    case DataOptions::Action::sample:
      write_result(open_input(options).sample(options.fraction, options.seed), options.output, options, globals);
      break;
    case DataOptions::Action::shuffle:
      write_result(open_input(options).random_shuffle(options.seed, options.window), options.output, options, globals);
      break;
    case DataOptions::Action::split:
      split(options, globals);
      break;
    case DataOptions::Action::dedup:
      dedup(options, globals);
      break;
    case DataOptions::Action::tokenize:
      tokenize(options, globals);
      break;
    case DataOptions::Action::diff:
      diff(options, globals);
      break;
    case DataOptions::Action::slices:
      slices(options, globals);
      break;
  }
  return 0;
}

}  // namespace mobula::cli

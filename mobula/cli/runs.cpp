/// mobula runs: what was recorded of past and running runs.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <map>
#include <set>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/base/size.hpp"
#include "mobula/base/text_table.hpp"
#include "mobula/cli/commands.hpp"
#include "mobula/track/plot.hpp"
#include "mobula/track/run.hpp"

namespace mobula::cli {
namespace {

namespace fs = std::filesystem;
using Align = TextTable::Align;
using Pairs = std::vector<std::pair<std::string, std::string>>;

struct RunsOptions {
  std::string store;
  std::size_t limit = 20;
  std::string run;
  std::vector<std::string> runs;
  bool all = false;
  std::string out;
  std::string metric = "loss";
};

std::shared_ptr<track::Store> open_store(const RunsOptions& options) {
  const fs::path file = options.store.empty() ? track::default_store() : fs::path(options.store);
  if (!fs::exists(file)) {
    throw Error(ErrorCode::not_found, fmt::format("{}: no runs are recorded here", file.string()),
                "run this where you trained, or name the store with --store or MOBULA_TRACK");
  }
  return track::Store::open(file);
}

std::string number(double value) {
  if (std::isnan(value)) return "nan";
  return fmt::format("{:.6g}", value);
}

Json json_number(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

std::string local_time(double seconds) {
  const auto whole = static_cast<std::time_t>(seconds);
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(whole));
}

double duration_of(const track::RunInfo& run) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return std::max(0.0, run.end_time.value_or(now) - run.start_time);
}

std::string duration_text(const track::RunInfo& run) {
  // Nobody knows when a run that was killed ended.
  if (!run.end_time && run.status != "running") return "-";
  return format_duration(std::chrono::nanoseconds(static_cast<std::int64_t>(duration_of(run) * 1e9)));
}

Json to_json(const track::RunInfo& run) {
  return {{"id", run.id},
          {"name", run.name},
          {"status", run.status},
          {"start_time", run.start_time},
          {"end_time", run.end_time ? Json(*run.end_time) : Json()},
          {"folder", run.folder.string()},
          {"code_version", run.code_version}};
}

Json to_json(const Pairs& pairs) {
  Json object = Json::object();
  for (const auto& [key, value] : pairs) object[key] = value;
  return object;
}

Json to_json(const std::vector<track::MetricSummary>& metrics) {
  Json object = Json::object();
  for (const track::MetricSummary& metric : metrics) {
    object[metric.name] = {{"count", metric.count},         {"last", json_number(metric.last.value)},
                           {"last_step", metric.last.step}, {"min", json_number(metric.min)},
                           {"min_step", metric.min_step},   {"max", json_number(metric.max)}};
  }
  return object;
}

void print(const Json& value) {
  fmt::print("{}\n", to_line(value));
}

/// Returns how to call each run: its name, and its id too where names repeat.
std::vector<std::string> labels_of(const std::vector<track::RunInfo>& runs) {
  std::set<std::string> names;
  for (const track::RunInfo& run : runs) names.insert(run.name);
  std::vector<std::string> labels;
  for (const track::RunInfo& run : runs) {
    labels.push_back(names.size() == runs.size() ? run.name : fmt::format("{} ({})", run.name, run.id));
  }
  return labels;
}

int list_runs(const RunsOptions& options, bool json) {
  const auto store = open_store(options);
  const std::vector<track::RunInfo> runs = store->list_runs(options.limit);
  if (json) {
    Json array = Json::array();
    for (const track::RunInfo& run : runs) {
      Json one = to_json(run);
      one["metrics"] = Json::object();
      for (const auto& [name, point] : store->last_metrics(run.id)) {
        one["metrics"][name] = {{"last", json_number(point.value)}, {"last_step", point.step}};
      }
      array.push_back(std::move(one));
    }
    print(array);
    return 0;
  }
  TextTable table(
      {"ID", "NAME", "STATUS", "STARTED", "TOOK", "STEP", "LOSS", "VAL_LOSS", "FOLDER"},
      {Align::left, Align::left, Align::left, Align::left, Align::right, Align::right, Align::right, Align::right});
  for (const track::RunInfo& run : runs) {
    std::map<std::string, track::MetricPoint> last;
    std::int64_t step = 0;
    for (const auto& [name, point] : store->last_metrics(run.id)) {
      last[name] = point;
      step = std::max(step, point.step);
    }
    const auto value = [&](const char* name) { return last.contains(name) ? number(last[name].value) : "-"; };
    const fs::path folder = run.folder.lexically_proximate(fs::current_path());
    const bool below = folder.empty() || *folder.begin() != "..";
    table.add_row({run.id, run.name, run.status, local_time(run.start_time), duration_text(run),
                   last.empty() ? "-" : std::to_string(step), value("loss"), value("val_loss"),
                   (below ? folder : run.folder).string()});
  }
  fmt::print("{}", table.to_string());
  return 0;
}

int show_run(const RunsOptions& options, bool json) {
  const auto store = open_store(options);
  const track::RunInfo run = store->find_run(options.run);
  const Pairs params = store->params(run.id);
  const Pairs tags = store->tags(run.id);
  const auto metrics = store->metric_summaries(run.id);
  const auto artifacts = store->artifacts(run.id);
  if (json) {
    Json object = to_json(run);
    object["params"] = to_json(params);
    object["tags"] = to_json(tags);
    object["metrics"] = to_json(metrics);
    object["artifacts"] = Json::array();
    for (const track::Artifact& artifact : artifacts) {
      object["artifacts"].push_back(
          {{"name", artifact.name}, {"path", artifact.path.string()}, {"bytes", artifact.bytes}});
    }
    print(object);
    return 0;
  }
  fmt::print("{}  {}  {}\n", run.id, run.name, run.status);
  fmt::print("started {}, took {}\n", local_time(run.start_time), duration_text(run));
  fmt::print("folder  {}\ncode    {}\n", run.folder.string(), run.code_version);
  const auto print_pairs = [](const char* title, const Pairs& pairs) {
    if (pairs.empty()) return;
    TextTable table({title, ""});
    for (const auto& [key, value] : pairs) table.add_row({key, value});
    fmt::print("\n{}", table.to_string());
  };
  print_pairs("PARAMETER", params);
  if (!metrics.empty()) {
    TextTable table({"METRIC", "LAST", "AT STEP", "MIN", "AT STEP", "MAX", "POINTS"},
                    {Align::left, Align::right, Align::right, Align::right, Align::right, Align::right, Align::right});
    for (const track::MetricSummary& metric : metrics) {
      table.add_row({metric.name, number(metric.last.value), std::to_string(metric.last.step), number(metric.min),
                     std::to_string(metric.min_step), number(metric.max), std::to_string(metric.count)});
    }
    fmt::print("\n{}", table.to_string());
  }
  if (!artifacts.empty()) {
    TextTable table({"ARTIFACT", "SIZE", "PATH"}, {Align::left, Align::right});
    for (const track::Artifact& artifact : artifacts) {
      table.add_row({artifact.name, format_size(artifact.bytes), artifact.path.string()});
    }
    fmt::print("\n{}", table.to_string());
  }
  print_pairs("TAG", tags);
  return 0;
}

/// One line of a comparison: a name and its value in each run, nothing where a run lacks it.
struct ComparedRow {
  std::string name;
  std::vector<std::string> values;
  bool differs = false;
};

std::vector<ComparedRow> compare_params(const std::vector<Pairs>& runs) {
  std::vector<ComparedRow> rows;
  std::map<std::string, std::size_t> place;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (const auto& [key, value] : runs[i]) {
      const auto [entry, added] = place.try_emplace(key, rows.size());
      if (added) rows.push_back({key, std::vector<std::string>(runs.size(), "-")});
      rows[entry->second].values[i] = value;
    }
  }
  for (ComparedRow& row : rows) row.differs = std::set(row.values.begin(), row.values.end()).size() > 1;
  std::stable_partition(rows.begin(), rows.end(), [](const ComparedRow& row) { return row.differs; });
  return rows;
}

int compare_runs(const RunsOptions& options, bool json) {
  const auto store = open_store(options);
  std::vector<track::RunInfo> runs;
  std::vector<Pairs> params;
  std::vector<std::vector<track::MetricSummary>> metrics;
  for (const std::string& name : options.runs) {
    runs.push_back(store->find_run(name));
    params.push_back(store->params(runs.back().id));
    params.back().emplace_back("code", runs.back().code_version);
    metrics.push_back(store->metric_summaries(runs.back().id));
  }
  const std::vector<ComparedRow> rows = compare_params(params);
  if (json) {
    Json result = {{"runs", Json::array()}, {"differing", Json::object()}, {"same", Json::object()}};
    for (std::size_t i = 0; i < runs.size(); ++i) {
      Json one = to_json(runs[i]);
      one["metrics"] = to_json(metrics[i]);
      result["runs"].push_back(std::move(one));
    }
    for (const ComparedRow& row : rows) {
      if (row.differs) {
        result["differing"][row.name] = row.values;
      } else {
        result["same"][row.name] = row.values.front();
      }
    }
    print(result);
    return 0;
  }
  std::vector<std::string> header = {"PARAMETER"};
  for (const std::string& label : labels_of(runs)) header.push_back(label);
  TextTable table(header);
  std::size_t num_same = 0;
  for (const ComparedRow& row : rows) {
    if (!row.differs) ++num_same;
    if (!row.differs && !options.all) continue;
    std::vector<std::string> cells = {row.name};
    cells.insert(cells.end(), row.values.begin(), row.values.end());
    table.add_row(std::move(cells));
  }
  fmt::print("{}", table.to_string());
  if (num_same > 0 && !options.all) fmt::print("{} parameters are the same (--all shows them)\n", num_same);

  std::map<std::string, std::vector<const track::MetricSummary*>> by_name;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (const track::MetricSummary& metric : metrics[i]) {
      by_name.try_emplace(metric.name, runs.size(), nullptr).first->second[i] = &metric;
    }
  }
  if (by_name.empty()) return 0;
  header.front() = "METRIC";
  std::vector<Align> alignment(header.size(), Align::right);
  alignment.front() = Align::left;
  TextTable metric_table(header, alignment);
  const auto add_row = [&](const std::string& name, const std::vector<const track::MetricSummary*>& summaries,
                           const auto& text) {
    std::vector<std::string> cells = {name};
    for (const track::MetricSummary* summary : summaries) cells.push_back(summary == nullptr ? "-" : text(*summary));
    metric_table.add_row(std::move(cells));
  };
  for (const auto& [name, summaries] : by_name) {
    add_row(name + ", last", summaries, [](const auto& metric) { return number(metric.last.value); });
    if (name.find("loss") == std::string::npos) continue;
    add_row(name + ", best", summaries, [](const auto& metric) { return number(metric.min); });
  }
  fmt::print("\n{}", metric_table.to_string());
  return 0;
}

int plot_runs(const RunsOptions& options, bool json) {
  const auto store = open_store(options);
  std::vector<track::RunInfo> runs;
  for (const std::string& name : options.runs) runs.push_back(store->find_run(name));
  const std::vector<std::string> labels = labels_of(runs);
  std::vector<track::LossCurves> curves;
  std::vector<track::PlotSeries> series;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::vector<track::MetricPoint> points = store->metric(runs[i].id, options.metric);
    if (points.empty()) {
      throw Error(ErrorCode::not_found, fmt::format("run {} has no points of '{}'", runs[i].id, options.metric),
                  fmt::format("it has: {}", fmt::join(store->metric_names(runs[i].id), ", ")));
    }
    if (options.metric == "loss") {
      curves.push_back({labels[i], points, store->metric(runs[i].id, "val_loss")});
      continue;
    }
    track::PlotSeries one{.label = labels[i], .color = static_cast<int>(i)};
    for (const track::MetricPoint& point : points) one.points.push_back({static_cast<double>(point.step), point.value});
    series.push_back(std::move(one));
  }
  const std::string title = fmt::format("{}", fmt::join(labels, ", "));
  const fs::path out = options.out.empty() ? runs[0].folder / (options.metric + ".svg") : fs::path(options.out);
  const std::string svg = options.metric == "loss"
                              ? track::loss_plot(curves, title)
                              : track::plot_svg(series, {.title = title, .y_label = options.metric});
  write_file_atomic(out, svg);
  if (json) {
    print({{"plot", out.string()}});
  } else {
    fmt::print("{}\n", out.string());
  }
  return 0;
}

}  // namespace

void add_runs_commands(CommandLine& line) {
  CLI::App& group = line.add_group("runs", "List, show, compare and plot recorded runs");
  const auto options = std::make_shared<RunsOptions>();
  const auto add = [&](const char* name, const char* description, const char* examples,
                       int (*run)(const RunsOptions&, bool)) -> CLI::App& {
    CLI::App& command = line.add(&group, name, description, examples,
                                 [options, run, &line] { return run(*options, line.globals().json); });
    command.add_option("--store", options->store, "The store's file [$MOBULA_TRACK, else runs/mobula.db]");
    return command;
  };
  const char* run_help = "A run's id, an id's beginning, its folder, or its name (the newest)";

  CLI::App& list =
      add("list", "List runs, newest first", "  mobula runs list\n  mobula runs list --limit 100 --json", list_runs);
  list.add_option("--limit", options->limit, "How many runs")->capture_default_str();

  CLI::App& show = add("show", "Show a run's parameters, metrics and artifacts",
                       "  mobula runs show k3v8\n  mobula runs show runs/quickstart --json", show_run);
  show.add_option("run", options->run, run_help)->required();

  CLI::App& compare =
      add("compare", "Show what differs between runs, and their metrics side by side",
          "  mobula runs compare k3v8 baseline\n  mobula runs compare k3v8 p9x2 w4mt --all", compare_runs);
  compare.add_option("runs", options->runs, run_help)->required()->expected(2, 50);
  compare.add_flag("--all", options->all, "Also parameters that are the same");

  CLI::App& plot =
      add("plot", "Draw a metric of one or several runs as SVG",
          "  mobula runs plot k3v8\n  mobula runs plot k3v8 p9x2 --metric val_loss --out compared.svg", plot_runs);
  plot.add_option("runs", options->runs, run_help)->required()->expected(1, 50);
  plot.add_option("--metric", options->metric, "Which metric; loss also shows val_loss")->capture_default_str();
  plot.add_option("--out", options->out, "The file to write [METRIC.svg in the first run's folder]");
}

}  // namespace mobula::cli

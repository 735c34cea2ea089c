#include "mobula/core/state.hpp"

#include <fmt/format.h>

namespace mobula {
namespace {

Json to_json(const ResourceSet& resources) {
  Json object = Json::object();
  for (const auto& [name, amount] : resources.amounts()) object[name] = amount.value();
  return object;
}

/// A label's value, escaped as the format demands.
std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '\\' || c == '"') safe += '\\';
    if (c == '\n') {
      safe += "\\n";
    } else {
      safe += c;
    }
  }
  return safe;
}

class PrometheusText {
 public:
  void family(const char* name, const char* type, const char* help) {
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    name_ = name;
  }
  void sample(const std::string& labels, double value) {
    text_ += labels.empty() ? fmt::format("{} {}\n", name_, value) : fmt::format("{}{{{}}} {}\n", name_, labels, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  const char* name_ = "";
};

}  // namespace

Json to_json(const RuntimeState& state) {
  Json json = {{"program", state.program},
               {"pid", state.pid},
               {"engine", state.engine},
               {"uptime_seconds", state.uptime_seconds},
               {"recording", state.tasks.recording},
               {"num_threads", state.tasks.num_threads},
               {"num_queued", state.tasks.num_queued}};
  json["functions"] = Json::array();
  for (const FunctionState& f : state.tasks.functions) {
    json["functions"].push_back(
        {{"name", f.name}, {"num_ended", f.num_ended}, {"num_failed", f.num_failed}, {"seconds", f.seconds}});
  }
  json["running"] = Json::array();
  for (const RunningTask& task : state.tasks.running) {
    json["running"].push_back({{"name", task.name}, {"worker", task.worker}, {"seconds", task.seconds}});
  }
  json["actors"] = Json::array();
  for (const ActorState& actor : state.actors) {
    json["actors"].push_back({{"name", actor.name},
                              {"class", actor.title},
                              {"where", actor.where},
                              {"alive", actor.alive},
                              {"num_groups", actor.num_groups}});
  }
  json["workers"] = Json::array();
  for (const WorkerState& worker : state.tasks.workers) {
    json["workers"].push_back({{"name", worker.name}, {"pid", worker.pid}});
  }
  const ObjectState& objects = state.tasks.objects;
  json["objects"] = {{"bytes_in_memory", objects.bytes_in_memory},
                     {"memory_budget", objects.memory_budget},
                     {"bytes_on_disk", objects.bytes_on_disk},
                     {"num_spills", objects.num_spills},
                     {"num_restores", objects.num_restores}};
  json["nodes"] = Json::array();
  for (const NodeInfo& node : state.nodes) {
    json["nodes"].push_back({{"id", node.id},
                             {"host", node.host},
                             {"alive", node.alive},
                             {"labels", node.labels},
                             {"total", to_json(node.total)},
                             {"available", to_json(node.available)}});
  }
  return json;
}

std::string to_prometheus(const RuntimeState& state) {
  PrometheusText out;
  out.family("mobula_uptime_seconds", "gauge", "Time since the runtime was started.");
  out.sample("", state.uptime_seconds);
  out.family("mobula_tasks_ended_total", "counter", "Calls of remote functions that have ended.");
  for (const FunctionState& f : state.tasks.functions) {
    const std::string name = escaped(f.name);
    out.sample(fmt::format("function=\"{}\",outcome=\"succeeded\"", name),
               static_cast<double>(f.num_ended - f.num_failed));
    out.sample(fmt::format("function=\"{}\",outcome=\"failed\"", name), static_cast<double>(f.num_failed));
  }
  out.family("mobula_task_seconds_total", "counter", "Time spent in remote functions.");
  for (const FunctionState& f : state.tasks.functions) {
    out.sample(fmt::format("function=\"{}\"", escaped(f.name)), f.seconds);
  }
  out.family("mobula_tasks_running", "gauge", "Calls that run now.");
  out.sample("", static_cast<double>(state.tasks.running.size()));
  out.family("mobula_tasks_queued", "gauge", "Tasks that wait for resources or a worker process.");
  out.sample("", static_cast<double>(state.tasks.num_queued));
  out.family("mobula_threads", "gauge", "Threads that run tasks.");
  out.sample("", state.tasks.num_threads);
  out.family("mobula_workers", "gauge", "Worker processes.");
  out.sample("", static_cast<double>(state.tasks.workers.size()));
  out.family("mobula_actors", "gauge", "Actors.");
  std::size_t num_alive = 0;
  for (const ActorState& actor : state.actors) num_alive += actor.alive ? 1 : 0;
  out.sample("alive=\"true\"", static_cast<double>(num_alive));
  out.sample("alive=\"false\"", static_cast<double>(state.actors.size() - num_alive));
  const ObjectState& objects = state.tasks.objects;
  out.family("mobula_object_spills_total", "counter", "Times an object was written to disk.");
  out.sample("", static_cast<double>(objects.num_spills));
  out.family("mobula_object_restores_total", "counter", "Times an object was read back from disk.");
  out.sample("", static_cast<double>(objects.num_restores));
  out.family("mobula_object_bytes", "gauge", "Bytes that objects take.");
  out.sample("place=\"memory\"", static_cast<double>(objects.bytes_in_memory));
  out.sample("place=\"disk\"", static_cast<double>(objects.bytes_on_disk));
  out.family("mobula_object_memory_budget_bytes", "gauge", "Bytes that objects may take in memory.");
  out.sample("", static_cast<double>(objects.memory_budget));
  for (const bool total : {true, false}) {
    out.family(total ? "mobula_resource_total" : "mobula_resource_available", "gauge",
               total ? "Amount of a resource that a node has." : "Amount of it that nobody has set aside.");
    for (const NodeInfo& node : state.nodes) {
      for (const auto& [name, amount] : node.total.amounts()) {
        out.sample(fmt::format("node=\"{}\",resource=\"{}\"", escaped(node.id), escaped(name)),
                   (total ? amount : node.available.get(name)).value());
      }
    }
  }
  return out.take();
}

}  // namespace mobula

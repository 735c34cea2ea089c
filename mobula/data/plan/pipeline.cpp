#include "mobula/data/plan/pipeline.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>

#include "mobula/base/config.hpp"
#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/nearest.hpp"
#include "mobula/base/size.hpp"
#include "mobula/data/blocks/type_names.hpp"
#include "mobula/data/content/content_rules.hpp"
#include "mobula/data/expressions/expression.hpp"
#include "mobula/data/formats.hpp"
#include "mobula/data/plan/worker_steps.hpp"
#include "mobula/data/preprocess/known_library.hpp"
#include "mobula/data/preprocess/model_inputs.hpp"
#include "mobula/data/preprocess/models.hpp"
#include "mobula/data/shards/mds_samples.hpp"

namespace mobula::data {
namespace {

constexpr std::size_t kMaxPipelineBytes = 1 << 20;

/// Reads nodes with the place of each in its messages.
class PipelineReader {
 public:
  /// `expands`: ${VAR} stands for a variable of the environment.
  explicit PipelineReader(std::string origin, bool expands = true) : origin_(std::move(origin)), expands_(expands) {}

  [[noreturn]] void fail(const YAML::Node& node, const std::string& message, const std::string& hint = {}) const {
    const int line = node.Mark().line;
    throw_invalid(
        line >= 0 ? fmt::format("{}:{}: {}", origin_, line + 1, message) : fmt::format("{}: {}", origin_, message),
        hint);
  }
  std::string text(const YAML::Node& node, std::string_view what) const {
    if (!node.IsScalar()) fail(node, fmt::format("{}: a single value is expected", what));
    return expands_ ? expand_environment(node.Scalar(), origin_) : node.Scalar();
  }
  /// Returns the node with its variables in place: for processes whose environment is another one.
  YAML::Node expanded(const YAML::Node& node) const {
    if (node.IsScalar()) {
      const std::string value = text(node, "value");
      return value == node.Scalar() ? node : YAML::Node(value);
    }
    if (!node.IsSequence() && !node.IsMap()) return node;
    YAML::Node result(node.Type());
    for (const auto& item : node) {
      if (node.IsSequence()) {
        result.push_back(expanded(item));
      } else {
        result.force_insert(expanded(item.first), expanded(item.second));
      }
    }
    return result;
  }
  std::vector<std::string> texts(const YAML::Node& node, std::string_view what) const {
    if (node.IsScalar()) return {text(node, what)};
    if (!node.IsSequence()) fail(node, fmt::format("{}: a value or a list of values is expected", what));
    std::vector<std::string> items;
    for (const auto& item : node) items.push_back(text(item, what));
    return items;
  }
  std::int64_t integer(const YAML::Node& node, std::string_view what) const {
    std::int64_t value = 0;
    if (!YAML::convert<std::int64_t>::decode(YAML::Node(text(node, what)), value)) {
      fail(node, fmt::format("{}: '{}' is not a whole number", what, node.Scalar()));
    }
    return value;
  }
  double number(const YAML::Node& node, std::string_view what) const {
    double value = 0;
    if (!YAML::convert<double>::decode(YAML::Node(text(node, what)), value)) {
      fail(node, fmt::format("{}: '{}' is not a number", what, node.Scalar()));
    }
    return value;
  }
  bool truth(const YAML::Node& node, std::string_view what) const {
    bool value = false;
    if (!YAML::convert<bool>::decode(YAML::Node(text(node, what)), value)) {
      fail(node, fmt::format("{}: '{}' is neither true nor false", what, node.Scalar()));
    }
    return value;
  }
  std::vector<std::pair<std::string, std::string>> pairs(const YAML::Node& node, std::string_view what) const {
    if (!node.IsMap() || node.size() == 0)
      fail(node, fmt::format("{}: a map of names is expected, such as {{a: b}}", what));
    std::vector<std::pair<std::string, std::string>> items;
    for (const auto& item : node) items.emplace_back(text(item.first, what), text(item.second, what));
    return items;
  }
  void check_keys(const YAML::Node& node, std::string_view what, const std::vector<std::string>& known) const {
    if (!node.IsMap()) fail(node, fmt::format("{}: a map is expected", what));
    for (const auto& item : node) {
      const std::string key = item.first.Scalar();
      if (std::find(known.begin(), known.end(), key) == known.end()) {
        fail(item.first, fmt::format("{}: unknown key '{}'", what, key), suggest(key, known));
      }
    }
  }
  /// Finds which of the formats a source or sink names.
  std::string format_key(const YAML::Node& node, std::string_view what, const std::vector<std::string>& formats,
                         const std::vector<std::string>& others) const {
    std::vector<std::string> known = formats;
    known.insert(known.end(), others.begin(), others.end());
    if (!node.IsMap()) fail(node, fmt::format("{}: a map is expected, such as {{csv: \"in/*.csv\"}}", what));
    check_keys(node, what, known);
    std::string format;
    for (const auto& item : node) {
      const std::string key = item.first.Scalar();
      const bool is_format =
          (key == "range" && what == "source") || std::find(formats.begin(), formats.end(), key) != formats.end();
      if (is_format && !format.empty()) fail(item.first, fmt::format("{}: both {} and {}", what, format, key));
      if (is_format) format = key;
    }
    if (format.empty())
      fail(node, fmt::format("{}: no format", what), fmt::format("name one of {}", fmt::join(formats, ", ")));
    return format;
  }

  Dataset source(const YAML::Node& node) const {
    const std::string format =
        format_key(node, "source", readable_formats(),
                   {"range", "types", "infer", "columns", "delimiter", "query", "split", "version", "hive", "driver",
                    "driver_options", "exclude", "piece_size", "order"});
    if (format == "range") return Dataset::range(integer(node["range"], "source.range"));
    ReadOptions options;
    if (const YAML::Node types = node["types"]) {
      for (const auto& [column, type] : pairs(types, "source.types")) options.types.emplace(column, type);
    }
    if (const YAML::Node infer = node["infer"]) {
      const std::string window = text(infer, "source.infer");
      options.infer_all = window == "all";
      if (!options.infer_all) options.infer_bytes = parse_size(window);
    }
    if (const YAML::Node hive = node["hive"]) options.hive = truth(hive, "source.hive");
    if (const YAML::Node exclude = node["exclude"]) options.exclude = texts(exclude, "source.exclude");
    if (const YAML::Node size = node["piece_size"]) {
      options.piece_bytes = static_cast<std::size_t>(parse_size(text(size, "source.piece_size")));
      if (options.piece_bytes == 0) fail(size, "source.piece_size: at least a byte is expected");
    }
    if (const YAML::Node columns = node["columns"]) options.columns = texts(columns, "source.columns");
    if (const YAML::Node delimiter = node["delimiter"]) {
      const std::string value = text(delimiter, "source.delimiter");
      if (value.size() != 1) fail(delimiter, "source.delimiter: one byte is expected");
      options.delimiter = value[0];
    }
    if (const YAML::Node query = node["query"]) options.query = text(query, "source.query");
    if (const YAML::Node driver = node["driver"]) options.driver = text(driver, "source.driver");
    if (const YAML::Node given = node["driver_options"]) {
      for (const auto& [key, value] : pairs(given, "source.driver_options")) options.driver_options.emplace(key, value);
    }
    if (const YAML::Node split = node["split"]) options.split = text(split, "source.split");
    if (const YAML::Node version = node["version"]) options.version = integer(version, "source.version");
    const std::vector<std::string> paths = texts(node[format], "source." + format);
    if (node["order"] && format != "mds") fail(node["order"], "source.order: only mds has one");
    if (node["order"]) return read_mds_in_order(paths, options, mds_order(node["order"]));
    return Dataset::read(paths, format, options);
  }

  /// Reads the order of MDS samples, in the words of mosaicml-streaming.
  MdsSampleOptions mds_order(const YAML::Node& node) const {
    MdsSampleOptions options;
    try {
      for (const auto& [key, value] : pairs(node, "source.order")) options.set(key, value);
      options.validate();
    } catch (const Error& error) {
      if (error.message().starts_with(origin_)) throw;
      fail(node, "source.order: " + error.message(), error.hint());
    }
    return options;
  }

  /// Reads what decode_image takes.
  DecodeImageOptions decode_image(const YAML::Node& node) const {
    check_keys(node, "decode_image",
               {"column", "into", "grey", "resize", "center_crop", "filter", "mean", "deviation", "layout"});
    DecodeImageOptions options;
    const auto size = [&](const char* key) {
      const YAML::Node value = node[key];
      if (!value.IsSequence() || value.size() != 2) {
        fail(value, fmt::format("decode_image.{}: a height and a width are expected, such as [224, 224]", key));
      }
      return std::pair(integer(value[0], key), integer(value[1], key));
    };
    const auto numbers = [&](const char* key) {
      std::vector<double> values;
      if (!node[key].IsSequence()) fail(node[key], fmt::format("decode_image.{}: a list of numbers is expected", key));
      for (const auto& value : node[key]) values.push_back(number(value, key));
      return values;
    };
    if (node["column"]) options.column = text(node["column"], "decode_image.column");
    if (node["into"]) options.into = text(node["into"], "decode_image.into");
    if (node["grey"]) options.grey = truth(node["grey"], "decode_image.grey");
    if (node["resize"] && node["resize"].IsScalar()) {
      options.shorter_side = integer(node["resize"], "decode_image.resize");
    } else if (node["resize"]) {
      options.resize = size("resize");
    }
    if (node["center_crop"] && node["center_crop"].IsScalar()) {
      const std::int64_t side = integer(node["center_crop"], "decode_image.center_crop");
      options.center_crop = {side, side};
    } else if (node["center_crop"]) {
      options.center_crop = size("center_crop");
    }
    if (node["filter"]) options.filter = text(node["filter"], "decode_image.filter");
    if (node["mean"]) options.mean = numbers("mean");
    if (node["deviation"]) options.deviation = numbers("deviation");
    if (node["layout"]) {
      const std::string layout = text(node["layout"], "decode_image.layout");
      if (layout != "hwc" && layout != "chw") fail(node["layout"], "decode_image.layout: hwc or chw is expected");
      options.channels_first = layout == "chw";
    }
    return options;
  }

  /// Reads YAML.
  YAML::Node parse(std::string_view text) const {
    try {
      return YAML::Load(std::string(text));
    } catch (const YAML::Exception& error) {
      throw_invalid(fmt::format("{}:{}: {}", origin_, error.mark.line + 1, error.msg), "the pipeline must be YAML");
    }
  }

  Dataset steps_of(Dataset dataset, const YAML::Node& steps) const {
    if (!steps.IsSequence()) fail(steps, "steps: a list is expected");
    for (const auto& each : steps) dataset = step(dataset, each);
    return dataset;
  }
  /// Tells whether a step that was read runs in the runtime's workers.
  bool needs_runtime() const { return needs_runtime_; }

  Dataset step(const Dataset& dataset, const YAML::Node& node) const {
    if (!node.IsMap() || node.size() != 1)
      fail(node, "a step is one operator and what it takes, such as {filter: \"x > 0\"}");
    const std::string name = node.begin()->first.Scalar();
    const YAML::Node value = node.begin()->second;
    const auto found = steps().find(name);
    if (found == steps().end()) {
      std::vector<std::string> names;
      for (const auto& [known, run] : steps()) names.push_back(known);
      fail(node, fmt::format("unknown step '{}'", name), suggest(name, names));
    }
    try {
      return found->second(*this, dataset, value);
    } catch (const Error& error) {
      if (error.message().starts_with(origin_)) throw;
      fail(node, error.message(), error.hint());
    }
  }

  /// Reads which workers make the parts of the output.
  std::optional<PartWorkersOptions> part_workers(const YAML::Node& sink, const WriteOptions& write) const {
    for (const char* key : {"cpus", "gpus"}) {
      if (sink[key] && !sink["workers"])
        fail(sink[key], fmt::format("sink.{}: of which workers?", key),
             "add workers: 4, such as {parquet: out/, resume: true, workers: 4}");
    }
    if (!sink["workers"]) return std::nullopt;
    if (!write.resume) {
      fail(sink["workers"], "sink.workers: workers make the parts of a run that can go on",
           "add resume: true (and part_rows: how many rows of the source a part is made of)");
    }
    PartWorkersOptions options;
    const std::int64_t workers = integer(sink["workers"], "sink.workers");
    options.num_workers = static_cast<int>(std::clamp<std::int64_t>(workers, -1, 1 << 20));
    if (sink["cpus"]) options.actor.cpus = number(sink["cpus"], "sink.cpus");
    if (sink["gpus"]) options.actor.gpus = number(sink["gpus"], "sink.gpus");
    try {
      options.validate();
    } catch (const Error& error) {
      fail(sink["workers"], "sink." + error.message(), error.hint());
    }
    return options;
  }

  /// Reads a step in which a model works.
  Dataset model(const Dataset& dataset, const YAML::Node& node, ModelTask task, const std::string& name,
                const std::vector<std::string>& others) const {
    std::vector<std::string> keys = {"model", "column", "into", "dtype", "actors", "batch_size", "cpus", "gpus"};
    keys.insert(keys.end(), others.begin(), others.end());
    check_keys(node, name, keys);
    const auto key = [&name](const char* of) { return name + "." + of; };
    if (!node["model"]) fail(node, name + ": no model", "such as {model: folder/, column: text}");
    ModelOptions options;
    options.task = task;
    options.model = text(node["model"], key("model"));
    if (node["column"]) options.column = text(node["column"], key("column"));
    if (node["into"]) options.into = text(node["into"], key("into"));
    if (node["dtype"]) options.dtype = text(node["dtype"], key("dtype"));
    if (node["max_tokens"]) options.max_tokens = integer(node["max_tokens"], key("max_tokens"));
    if (node["temperature"]) options.temperature = number(node["temperature"], key("temperature"));
    if (node["top_k"]) options.top_k = integer(node["top_k"], key("top_k"));
    if (node["top_p"]) options.top_p = number(node["top_p"], key("top_p"));
    if (node["seed"]) options.seed = static_cast<std::uint64_t>(integer(node["seed"], key("seed")));
    if (node["stop"]) options.stop = texts(node["stop"], key("stop"));
    ModelPoolOptions pool;
    if (node["actors"]) pool.max_actors = static_cast<int>(integer(node["actors"], key("actors")));
    if (node["batch_size"]) pool.batch_size = integer(node["batch_size"], key("batch_size"));
    if (node["cpus"]) pool.actor.cpus = number(node["cpus"], key("cpus"));
    if (node["gpus"]) pool.actor.gpus = number(node["gpus"], key("gpus"));
    needs_runtime_ = true;
    return run_model(dataset, std::move(options), std::move(pool));
  }

 private:
  using Step = std::function<Dataset(const PipelineReader&, const Dataset&, const YAML::Node&)>;

  static const std::map<std::string, Step>& steps() {
    static const std::map<std::string, Step> table = {
        {"filter",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.filter(r.text(v, "filter")); }},
        {"with",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.with(r.pairs(v, "with")); }},
        {"select",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.select(r.texts(v, "select")); }},
        {"drop",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.drop(r.texts(v, "drop")); }},
        {"exclude", [](const PipelineReader& r, const Dataset& d,
                       const YAML::Node& v) { return d.exclude(r.texts(v, "exclude")); }},
        {"rename",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.rename(r.pairs(v, "rename")); }},
        {"decode_image", [](const PipelineReader& r, const Dataset& d,
                            const YAML::Node& v) { return d.decode_image(r.decode_image(v)); }},
        {"limit",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.limit(r.integer(v, "limit")); }},
        {"sort",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           std::vector<SortKey> keys;
           for (const std::string& name : r.texts(v, "sort")) {
             const bool descending = name.starts_with('-');
             keys.push_back({descending ? name.substr(1) : name, descending});
           }
           return d.sort(std::move(keys));
         }},
        {"random_shuffle",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "random_shuffle", {"seed", "window"});
           const std::int64_t window = v["window"] ? r.integer(v["window"], "random_shuffle.window") : 0;
           return d.random_shuffle(
               static_cast<std::uint64_t>(v["seed"] ? r.integer(v["seed"], "random_shuffle.seed") : 0), window);
         }},
        {"sample",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "sample", {"fraction", "seed"});
           if (!v["fraction"]) r.fail(v, "sample: no fraction", "such as {fraction: 0.1, seed: 1}");
           return d.sample(r.number(v["fraction"], "sample.fraction"),
                           static_cast<std::uint64_t>(v["seed"] ? r.integer(v["seed"], "sample.seed") : 0));
         }},
        {"repartition", [](const PipelineReader& r, const Dataset& d,
                           const YAML::Node& v) { return d.repartition(r.integer(v, "repartition")); }},
        {"stage",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "stage", {"threads"});
           return d.stage(v["threads"] ? static_cast<int>(r.integer(v["threads"], "stage.threads")) : 0);
         }},
        {"unique",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.unique(r.texts(v, "unique")); }},
        {"groupby",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "groupby", {"keys", "aggregates"});
           if (!v["keys"]) r.fail(v, "groupby: no keys", "such as {keys: s, aggregates: {n: \"count(x)\"}}");
           std::vector<Aggregate> aggregates;
           if (v["aggregates"]) {
             for (const auto& [name, text] : r.pairs(v["aggregates"], "groupby.aggregates")) {
               const auto call = parse_expression(text);
               if (call->kind != Expression::Kind::call || call->arguments.size() != 1 ||
                   call->arguments[0]->kind != Expression::Kind::column)
                 r.fail(v["aggregates"], fmt::format("groupby: '{}' is no aggregate of a column", text),
                        "such as sum(x)");
               aggregates.push_back({call->name, call->arguments[0]->name, name});
             }
           }
           return d.groupby(r.texts(v["keys"], "groupby.keys"), std::move(aggregates));
         }},
        {"join",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "join", {"right", "on", "how"});
           if (!v["right"] || !v["on"])
             r.fail(v, "join: `right` and `on` are needed", "such as {right: {csv: b.csv}, on: id}");
           return d.join(r.source(v["right"]), r.texts(v["on"], "join.on"),
                         v["how"] ? r.text(v["how"], "join.how") : "inner");
         }},
        {"keep_content",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "keep_content",
                        {"column", "min_length", "max_length", "matches", "not_matches", "banned", "languages",
                         "exact_duplicates", "near_duplicates", "report"});
           ContentRules rules;
           if (v["column"]) rules.column = r.text(v["column"], "keep_content.column");
           if (v["min_length"]) rules.min_length = r.integer(v["min_length"], "keep_content.min_length");
           if (v["max_length"]) rules.max_length = r.integer(v["max_length"], "keep_content.max_length");
           if (v["matches"]) rules.matches = r.texts(v["matches"], "keep_content.matches");
           if (v["not_matches"]) rules.not_matches = r.texts(v["not_matches"], "keep_content.not_matches");
           if (v["banned"]) rules.banned = r.texts(v["banned"], "keep_content.banned");
           if (v["languages"]) rules.languages = r.texts(v["languages"], "keep_content.languages");
           if (v["exact_duplicates"])
             rules.exact_duplicates = r.truth(v["exact_duplicates"], "keep_content.exact_duplicates");
           if (v["near_duplicates"])
             rules.near_duplicates = r.number(v["near_duplicates"], "keep_content.near_duplicates");
           return keep_content(d, rules, nullptr, v["report"] ? r.text(v["report"], "keep_content.report") : "");
         }},
        {"tokenize",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "tokenize", {"column", "into", "tokenizer", "special_tokens", "max_length"});
           if (!v["tokenizer"]) r.fail(v, "tokenize: no tokenizer", "such as {tokenizer: model/, column: text}");
           TokenizeOptions options;
           options.tokenizer = r.text(v["tokenizer"], "tokenize.tokenizer");
           if (v["column"]) options.column = r.text(v["column"], "tokenize.column");
           if (v["into"]) options.into = r.text(v["into"], "tokenize.into");
           if (v["special_tokens"])
             options.add_special_tokens = r.truth(v["special_tokens"], "tokenize.special_tokens");
           if (v["max_length"]) options.max_length = r.integer(v["max_length"], "tokenize.max_length");
           return tokenizer_preprocessor(std::move(options))->transform(d);
         }},
        {"format_chat",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "format_chat", {"column", "into", "model", "add_generation_prompt"});
           if (!v["model"]) r.fail(v, "format_chat: no model", "such as {model: folder/, column: messages}");
           FormatChatOptions options;
           options.model = r.text(v["model"], "format_chat.model");
           if (v["column"]) options.column = r.text(v["column"], "format_chat.column");
           if (v["into"]) options.into = r.text(v["into"], "format_chat.into");
           if (v["add_generation_prompt"])
             options.add_generation_prompt = r.truth(v["add_generation_prompt"], "format_chat.add_generation_prompt");
           return chat_preprocessor(std::move(options))->transform(d);
         }},
        {"preprocess", [](const PipelineReader& r, const Dataset& d,
                          const YAML::Node& v) { return Preprocessor::load(r.text(v, "preprocess"))->transform(d); }},
        {"workers",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           r.check_keys(v, "workers", {"steps", "actors", "batch_size", "cpus", "gpus"});
           if (!v["steps"]) r.fail(v, "workers: no steps", "such as {steps: [{with: {x: \"x * 2\"}}], actors: 2}");
           WorkerStepsOptions options;
           if (v["actors"]) options.max_actors = static_cast<int>(r.integer(v["actors"], "workers.actors"));
           if (v["batch_size"]) options.batch_size = r.integer(v["batch_size"], "workers.batch_size");
           if (v["cpus"]) options.actor.cpus = r.number(v["cpus"], "workers.cpus");
           if (v["gpus"]) options.actor.gpus = r.number(v["gpus"], "workers.gpus");
           r.needs_runtime_ = true;
           return run_in_workers(d, YAML::Dump(r.expanded(v["steps"])), options);
         }},
        {"embed", [](const PipelineReader& r, const Dataset& d,
                     const YAML::Node& v) { return r.model(d, v, ModelTask::embed, "embed", {}); }},
        {"generate",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) {
           return r.model(d, v, ModelTask::generate, "generate",
                          {"max_tokens", "temperature", "top_k", "top_p", "seed", "stop"});
         }},
        {"classify", [](const PipelineReader& r, const Dataset& d,
                        const YAML::Node& v) { return r.model(d, v, ModelTask::classify, "classify", {}); }},
        {"zip", [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.zip(r.source(v)); }},
        {"union",
         [](const PipelineReader& r, const Dataset& d, const YAML::Node& v) { return d.union_with({r.source(v)}); }},
    };
    return table;
  }

  std::string origin_;
  bool expands_;
  mutable bool needs_runtime_ = false;
};

}  // namespace

Dataset apply_steps(const Dataset& dataset, std::string_view steps, const std::string& origin) {
  const PipelineReader reader(origin);
  return reader.steps_of(dataset, reader.parse(steps));
}

std::string with_variables(std::string_view steps, const std::string& origin) {
  const PipelineReader reader(origin);
  return YAML::Dump(reader.expanded(reader.parse(steps)));
}

Dataset apply_plain_steps(const Dataset& dataset, std::string_view steps, const std::string& origin) {
  const PipelineReader reader(origin, false);
  return reader.steps_of(dataset, reader.parse(steps));
}

Pipeline parse_pipeline(std::string_view text, const std::string& origin) {
  const PipelineReader reader(origin);
  const YAML::Node root = reader.parse(text);
  reader.check_keys(root, "pipeline",
                    {"source", "steps", "sink", "memory", "disk", "spill_dir", "threads", "on_error", "ordered",
                     "manifest", "token_column"});
  const YAML::Node source = root["source"];
  if (!source) reader.fail(root, "pipeline: no source", "add source: {csv: \"in/*.csv\"}");
  Dataset dataset = reader.source(source);
  if (const YAML::Node steps = root["steps"]) dataset = reader.steps_of(dataset, steps);
  Pipeline pipeline{dataset, {}, {}, {}, {}, reader.needs_runtime(), {}, {}};
  // A model's step costs far more than to know which row of which file it failed on.
  pipeline.run.row_origins = pipeline.needs_runtime;
  if (const YAML::Node sink = root["sink"]) {
    pipeline.format =
        reader.format_key(sink, "sink", writable_formats(),
                          {"compression", "nan", "partition_by", "overwrite", "row_group_rows", "part_size",
                           "delimiter", "durable", "resume", "part_rows", "workers", "cpus", "gpus"});
    pipeline.output = reader.text(sink[pipeline.format], "sink." + pipeline.format);
    if (const YAML::Node node = sink["compression"]) pipeline.write.compression = reader.text(node, "sink.compression");
    if (const YAML::Node node = sink["nan"]) {
      if (reader.text(node, "sink.nan") != "null") reader.fail(node, "sink.nan: only `null` is known");
      pipeline.write.nan_as_null = true;
    }
    if (const YAML::Node node = sink["partition_by"])
      pipeline.write.partition_by = reader.texts(node, "sink.partition_by");
    if (const YAML::Node node = sink["overwrite"]) pipeline.write.overwrite = reader.truth(node, "sink.overwrite");
    if (const YAML::Node node = sink["durable"]) pipeline.write.durable = reader.truth(node, "sink.durable");
    if (const YAML::Node node = sink["resume"]) pipeline.write.resume = reader.truth(node, "sink.resume");
    if (const YAML::Node node = sink["part_rows"]) pipeline.write.part_rows = reader.integer(node, "sink.part_rows");
    pipeline.workers = reader.part_workers(sink, pipeline.write);
    pipeline.write.resume_key =
        expand_environment(YAML::Dump(source) + "\n" + (root["steps"] ? YAML::Dump(root["steps"]) : ""), origin);
    if (const YAML::Node node = sink["row_group_rows"]) {
      pipeline.write.row_group_rows = reader.integer(node, "sink.row_group_rows");
      if (pipeline.write.row_group_rows <= 0) reader.fail(node, "sink.row_group_rows: a positive number is expected");
    }
    if (const YAML::Node node = sink["part_size"])
      pipeline.write.part_bytes = static_cast<std::int64_t>(parse_size(reader.text(node, "sink.part_size")));
    if (const YAML::Node node = sink["delimiter"]) {
      const std::string delimiter = reader.text(node, "sink.delimiter");
      if (delimiter.size() != 1) reader.fail(node, "sink.delimiter: one byte is expected");
      pipeline.write.delimiter = delimiter[0];
    }
  }
  if (const YAML::Node node = root["on_error"]) {
    reader.check_keys(node, "on_error", {"skip", "dead_letter"});
    if (node["skip"]) pipeline.run.on_error.max_skipped = reader.integer(node["skip"], "on_error.skip");
    if (pipeline.run.on_error.max_skipped < 0) reader.fail(node, "on_error.skip: a number of rows is expected");
    if (node["dead_letter"])
      pipeline.run.on_error.dead_letter = reader.text(node["dead_letter"], "on_error.dead_letter");
  }
  if (const YAML::Node node = root["ordered"]) pipeline.run.ordered = reader.truth(node, "ordered");
  if (const YAML::Node node = root["manifest"]) pipeline.run.manifest = reader.text(node, "manifest");
  if (const YAML::Node node = root["token_column"]) pipeline.run.token_column = reader.text(node, "token_column");
  if (const YAML::Node node = root["memory"]) pipeline.run.memory = parse_size(reader.text(node, "memory"));
  if (const YAML::Node node = root["disk"]) pipeline.run.disk = parse_size(reader.text(node, "disk"));
  if (const YAML::Node node = root["spill_dir"]) pipeline.run.spill_directory = reader.text(node, "spill_dir");
  if (const YAML::Node node = root["threads"])
    pipeline.run.num_threads = static_cast<int>(reader.integer(node, "threads"));
  if (pipeline.workers) {
    YAML::Node rows;
    rows["source"] = reader.expanded(source);
    if (root["steps"]) rows["steps"] = reader.expanded(root["steps"]);
    pipeline.rows = YAML::Dump(rows);
    pipeline.needs_runtime = true;
  }
  return pipeline;
}

Pipeline read_pipeline(const std::string& file) {
  return parse_pipeline(read_file(file, kMaxPipelineBytes), file);
}

Dataset rows_of_pipeline(const std::string& rows, const std::string& origin, const std::string& library) {
  load_known_library(library);
  const PipelineReader reader(origin, false);
  const YAML::Node root = reader.parse(rows);
  const Dataset dataset = reader.source(root["source"]);
  return root["steps"] ? reader.steps_of(dataset, root["steps"]) : dataset;
}

RunResult run_pipeline(const Pipeline& pipeline) {
  if (pipeline.output.empty()) return pipeline.dataset.count(pipeline.run);
  if (pipeline.workers) {
    return write_in_workers<&rows_of_pipeline>(Runtime::current(), pipeline.output, pipeline.format, pipeline.write,
                                               pipeline.run, *pipeline.workers, pipeline.rows, std::string("pipeline"),
                                               known_library());
  }
  return pipeline.dataset.write(pipeline.output, pipeline.format, pipeline.write, pipeline.run);
}

}  // namespace mobula::data

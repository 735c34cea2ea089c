#include "mobula/cli/data.hpp"

#include <memory>

#include "mobula/cli/commands.hpp"
#include "mobula/cli/plugin.hpp"

namespace mobula::cli {
namespace {

void add_seed(CLI::App& command, DataOptions& options) {
  command.add_option("--seed", options.seed, "fixes what is drawn (default 0)");
}

void add_writing_options(CLI::App& command, DataOptions& options) {
  command.add_option("--to", options.to, "format of the output (default: by extension)");
  command.add_option(
      "--compression", options.compression,
      "of Parquet: snappy (default), zstd, gzip, lz4, brotli, none; of CSV, JSONL, text and tar: gzip, bz2, "
      "xz, zstd (default: by the name, such as out.jsonl.gz)");
  command.add_option("--nan", options.nan, "`null`: write NaN and infinities to JSONL as null");
  command.add_flag("--overwrite", options.overwrite, "replace an output folder that exists");
}

void add_reading_options(CLI::App& command, DataOptions& options) {
  command.add_option(
      "--from", options.from,
      "format of the input: csv, jsonl, text, parquet, ipc, tar, mds, hf, delta, sqlite, database, images, "
      "binary "
      "(default: by extension, or by what a folder holds)");
  command.add_option("--types", options.types, "fix column types, such as a=string,b=int64 (CSV, JSONL)");
  command.add_option("--infer", options.infer, "infer types over `all` rows, or over a size such as 8MB (default 1MB)");
  command.add_option("--columns", options.columns, "read only these columns, such as a,b");
  command.add_option("--exclude", options.exclude, "leave out these files, such as 'bad-*.csv,old/'");
  command.add_option("--query", options.query,
                     "SQLite, databases: a table's name or a SELECT (SQLite's default: the only table)");
  command.add_option("--driver", options.driver, "databases: the ADBC driver (default: by the address)");
  command.add_option("--split", options.split, "HF datasets: which part of a DatasetDict");
  command.add_option("--table-version", options.version,
                     "Delta Lake: which version of the table (default: the newest)");
  command.add_option("--order", options.order,
                     "MDS: read in mosaicml-streaming's order, such as shuffle_algo=py1s,shuffle_seed=7,epoch=1");
  command.add_option("--delimiter", options.delimiter, "what separates fields in CSV (default: comma)");
}

/// Declares one action; `declare` adds what it takes besides.
template <class Declare>
void add_action(CommandLine& line, CLI::App& group, DataOptions::Action action, std::string name,
                std::string description, std::string examples, Declare declare) {
  auto options = std::make_shared<DataOptions>();
  options->action = action;
  CLI::App& command = line.add(&group, std::move(name), std::move(description), std::move(examples), [&line, options] {
    return run_in_plugin(kDataPlugin, "mobula_run_data", *options, line.globals());
  });
  declare(command, *options);
}

}  // namespace

void add_data_command(CommandLine& line) {
  CLI::App& group = line.add_group("data", "Look at, convert and process datasets");
  add_action(line, group, DataOptions::Action::convert, "convert", "Convert a dataset to another format",
             "  mobula data convert in.csv out.parquet\n"
             "  mobula data convert in.jsonl out.csv --types id=string\n"
             "  mobula data convert in.parquet out.jsonl --nan null\n"
             "  mobula data convert in.parquet out/ --to mds --compression zstd\n"
             "  mobula data convert app.db out.parquet --query 'SELECT id, text FROM posts'",
             [](CLI::App& command, DataOptions& options) {
               command.add_option("input", options.input, "file, folder or pattern")->required();
               command.add_option("output", options.output, "file or folder to write; it appears when it is whole")
                   ->required();
               add_writing_options(command, options);
               add_reading_options(command, options);
             });
  add_action(line, group, DataOptions::Action::head, "head", "Print the first rows",
             "  mobula data head in.parquet\n  mobula data head in.csv -n 3 --json",
             [](CLI::App& command, DataOptions& options) {
               command.add_option("input", options.input, "file, folder or pattern")->required();
               command.add_option("-n,--rows", options.rows, "number of rows (default 10)");
               add_reading_options(command, options);
             });
  add_action(line, group, DataOptions::Action::schema, "schema", "Print the columns and their types",
             "  mobula data schema in.csv\n  mobula data schema in.jsonl --infer all --json",
             [](CLI::App& command, DataOptions& options) {
               command.add_option("input", options.input, "file, folder or pattern")->required();
               add_reading_options(command, options);
             });
  add_action(line, group, DataOptions::Action::stats, "stats",
             "Count rows, nulls and values of each column in one pass",
             "  mobula data stats in.parquet\n  mobula data stats 'in/*.csv' --json",
             [](CLI::App& command, DataOptions& options) {
               command.add_option("input", options.input, "file, folder or pattern")->required();
               add_reading_options(command, options);
             });
  const auto add_conversion = [](CLI::App& command, DataOptions& options) {
    command.add_option("input", options.input, "file, folder or pattern")->required();
    command.add_option("output", options.output, "file to write; it appears when it is whole")->required();
    add_writing_options(command, options);
    add_reading_options(command, options);
  };
  add_action(line, group, DataOptions::Action::sample, "sample", "Write a part of the rows, drawn at random",
             "  mobula data sample in.parquet out.parquet --fraction 0.01 --seed 7",
             [&](CLI::App& command, DataOptions& options) {
               command.add_option("--fraction", options.fraction, "of the rows, between 0 and 1 (default 0.1)");
               add_seed(command, options);
               add_conversion(command, options);
             });
  add_action(line, group, DataOptions::Action::shuffle, "shuffle", "Write the rows in a random order",
             "  mobula data shuffle in.jsonl out.jsonl --seed 7 --memory 256MB\n"
             "  mobula data shuffle in.jsonl.gz out.parquet --window 100000",
             [&](CLI::App& command, DataOptions& options) {
               command.add_option(
                   "--window", options.window,
                   "mix only rows among so many that follow each other, in one pass (default: all rows)");
               add_seed(command, options);
               add_conversion(command, options);
             });
  add_action(line, group, DataOptions::Action::split, "split", "Write a train and a test part",
             "  mobula data split in.csv --train train.csv --test test.csv --fraction 0.2 --stratify tag",
             [](CLI::App& command, DataOptions& options) {
               command.add_option("input", options.input, "file, folder or pattern")->required();
               command.add_option("--train", options.output, "file of the train part")->required();
               command.add_option("--test", options.test, "file of the test part")->required();
               command.add_option("--fraction", options.fraction, "of the rows that are the test part (default 0.1)");
               command.add_option("--stratify", options.stratify, "column of whose every value both parts get a share");
               add_writing_options(command, options);
               add_seed(command, options);
               add_reading_options(command, options);
             });
  add_action(line, group, DataOptions::Action::dedup, "dedup", "Write the rows whose text was not there before",
             "  mobula data dedup in.jsonl out.jsonl --column text --near 0.8 --report dropped.json",
             [&](CLI::App& command, DataOptions& options) {
               command.add_option("--column", options.column, "texts that are compared (default: text)");
               command.add_option("--near", options.near,
                                  "also drop texts about as similar as this, such as 0.8 (MinHash)");
               command.add_option("--report", options.report, "file that tells what was dropped, with examples");
               add_conversion(command, options);
             });
  add_action(line, group, DataOptions::Action::tokenize, "tokenize", "Write the rows with their texts' token ids",
             "  mobula data tokenize in.jsonl out.parquet --tokenizer model/ --column text",
             [&](CLI::App& command, DataOptions& options) {
               command.add_option("--tokenizer", options.tokenizer, "tokenizer.json, or a model's folder")->required();
               command.add_option("--column", options.column, "texts (default: text)");
               command.add_option("--into", options.into, "the column that is made (default: tokens)");
               command.add_option("--max-length", options.max_length, "cut off what is longer, in tokens");
               command.add_flag_callback(
                   "--no-special-tokens", [&options] { options.special_tokens = false; },
                   "leave out those that the tokenizer adds");
               add_conversion(command, options);
             });
  add_action(line, group, DataOptions::Action::diff, "diff", "Compare two versions of a dataset",
             "  mobula data diff old.parquet new.parquet --key id --json", [](CLI::App& command, DataOptions& options) {
               command.add_option("old", options.input, "file, folder or pattern")->required();
               command.add_option("new", options.output, "file, folder or pattern")->required();
               command.add_option("--key", options.keys, "columns that tell which row is which, such as id or a,b")
                   ->required();
               add_reading_options(command, options);
             });
  add_action(line, group, DataOptions::Action::slices, "slices", "Figures of parts of a dataset",
             "  mobula data slices predictions.jsonl --slice 'short=length(text) < 20' --figures correct,loss --json",
             [](CLI::App& command, DataOptions& options) {
               command.add_option("input", options.input, "file, folder or pattern")->required();
               command.add_option("--slice", options.slices, "NAME=EXPRESSION, any number of times");
               command
                   .add_option("--figures", options.figures, "columns of numbers or truth values, such as loss,correct")
                   ->required();
               add_reading_options(command, options);
             });
  add_action(
      line, group, DataOptions::Action::run, "run", "Run a pipeline: a source, steps, a sink",
      "  mobula data run pipeline.yaml\n  mobula data run pipeline.yaml --memory 256MB --json\n"
      "  mobula data run pipeline.yaml --isolation process     # sink: {parquet: out/, resume: true, workers: 4}\n"
      "  mobula data run pipeline.yaml --engine ray://HEAD:6379  # reads and writes on the nodes, with workers in the "
      "sink",
      [](CLI::App& command, DataOptions& options) {
        command.add_option("pipeline", options.input, "YAML file with source, steps, sink, memory")->required();
      });
}

}  // namespace mobula::cli

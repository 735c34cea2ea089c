/// Datasets: rows in columns, read from files bigger than memory, changed block by block, written whole or not at all.
///
///     using namespace mobula::data;
///     Dataset::read("in/*.csv")
///         .filter("x > 0.5")
///         .with({{"s", "upper(s)"}, {"x", "x * 2"}})
///         .write("out/", "parquet");
///
/// A dataset is lazy: nothing is read before write(), count(), collect() or for_each(). Rows keep the order of their
/// source. Memory stays within RunOptions::memory, whatever the input's size; what sorts, shuffles and joins spills to disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mobula/base/json.hpp"
#include "mobula/data/engine/bad_rows.hpp"
#include "mobula/data/operators/decode_image.hpp"
#include "mobula/data/sinks/write_options.hpp"
#include "mobula/data/sources/read_options.hpp"

namespace arrow {
class RecordBatch;
class Schema;
}  // namespace arrow

namespace mobula::data {

class PlanNode;
class Sink;

/// How a dataset runs.
struct RunOptions {
  /// Aimed at for the whole process, libraries included. 0: a quarter of what the process may use (memory_limit()), but no
  /// less than 256 MB.
  std::uint64_t memory = 0;
  std::uint64_t disk = std::uint64_t{64} << 30;  ///< that spilled rows may take; more is Error(resource)
  std::filesystem::path spill_directory;         ///< empty: the system's temporary folder
  int num_threads = 0;                           ///< 0: one a core
  bool ordered = true;             ///< false: rows may come out as they are ready, unless an operator needs their order
  std::string token_column;        ///< whose lists the manifest counts as tokens; empty: none
  std::filesystem::path manifest;  ///< gets {"rows", "skipped", "sources": RunResult::manifest}, whole; empty: nothing
  /// Whether rows keep their file and number behind operators that mix rows (sort, random_shuffle, repartition, join, zip), at
  /// 8 bytes a row: for RunResult::manifest and for errors. So they do, anyhow, with a manifest or a dead-letter file.
  bool row_origins = false;
  ErrorPolicy on_error;  ///< rows that can't be read, or that a function of rows fails on
  /// Called a few times a second, by a thread of its own, with what RunResult::statistics will hold. For views of progress.
  std::function<void(const Json&)> watch;
};

/// What a run did.
struct RunResult {
  std::int64_t rows = 0;          ///< that reached the end
  std::int64_t skipped = 0;       ///< bad rows that were left out, those of parts that were there included
  std::int64_t parts_before = 0;  ///< WriteOptions::resume: parts that were there already
  std::int64_t rows_before = 0;   ///< and the rows in them
  /// Stages that ran beside each other: [{"operators": [{"name", "rows", "bytes", "busy_s"}], "threads", "seconds",
  /// "blocked": [{"on", "seconds"}]}]. Threads are blocked on the stage's source or on its sink.
  Json statistics;
  /// What went into the run: [{"source", "rows", "files": [{"file", "read", "rows", "tokens"}]}]. `rows` and `tokens` count
  /// what was left of a file as far as rows were told apart by file: to the end with RunOptions::row_origins, save behind
  /// groupby and functions of batches that change the number of rows (see rows/row_numbers.hpp); else to the first sort,
  /// shuffle or the like.
  Json manifest;
};

using RecordBatchPointer = std::shared_ptr<arrow::RecordBatch>;

/// Options of Dataset::map_batches.
struct MapOptions {
  std::string name = "function";          ///< in statistics and errors
  int max_instances = 0;                  ///< of a stateful function at a time; 0: one a thread
  std::shared_ptr<arrow::Schema> schema;  ///< that comes out; null: the function is called once without rows to see
  /// Dataset::map_rows: whether one row comes out for each that goes in and does not fail, in their order, so that what
  /// comes behind still knows their file and number.
  bool keeps_rows = false;
};

/// Says that a function failed on a row of its batch. Throws where bad rows end the run.
using FailRow = std::function<void(std::int64_t row, const std::exception& error)>;
/// Changes a batch of any number of rows, and says which of them it failed on; those it leaves out.
using RowsFunction = std::function<RecordBatchPointer(const RecordBatchPointer&, const FailRow&)>;

/// Makes the next batch of a source; null at its end.
using GenerateBatch = std::function<RecordBatchPointer()>;

/// Options of Dataset::generate.
struct GenerateOptions {
  std::string name = "generator";         ///< in statistics and errors
  std::shared_ptr<arrow::Schema> schema;  ///< of all batches; null: the first one tells it, and there must be one
};

/// An aggregate of groupby(): sum, mean, min, max, count, count_distinct, stddev, first. Nulls are left out.
struct Aggregate {
  std::string function;
  std::string column;
  std::string name;  ///< of the result; empty: column_function
};

struct SortKey {
  std::string column;
  bool descending = false;
};

/// Rows to come. A value: copies share what they are made of. Thread-safe, since nothing changes it.
class Dataset {
 public:
  /// Reads files of one format (formats.hpp; empty: by extension): a path, a folder or a glob pattern.
  static Dataset read(const std::string& path, std::string format = {}, ReadOptions options = {});
  static Dataset read(const std::vector<std::string>& paths, std::string format, ReadOptions options = {});
  /// Counts from 0 to `rows`, as a column "id".
  static Dataset range(std::int64_t rows);
  /// Holds batches of one schema.
  static Dataset from_batches(std::vector<RecordBatchPointer> batches);
  /// Takes batches from a function of the program as the run wants them; `make` is called once a run, and its function by one
  /// thread at a time. What it throws ends the run. Rows are the same in every run only if the function sees to it.
  static Dataset generate(std::function<GenerateBatch()> make, GenerateOptions options = {});

  /// Leaves out files of the sources: patterns of a path or of a file's name, or folders. They are not opened.
  Dataset exclude(std::vector<std::string> patterns) const;
  /// Keeps the rows for which an expression is true (expressions/expression.hpp tells what may stand there).
  Dataset filter(const std::string& predicate) const;
  /// Sets columns to expressions over the columns as they were; new ones come last.
  Dataset with(std::vector<std::pair<std::string, std::string>> columns) const;
  Dataset select(std::vector<std::string> columns) const;
  Dataset drop(std::vector<std::string> columns) const;
  /// Renames columns: (old, new).
  Dataset rename(std::vector<std::pair<std::string, std::string>> names) const;
  /// Decodes a column of JPEG, PNG, PPM or PGM files into pixels of one size.
  Dataset decode_image(DecodeImageOptions options) const;
  /// Calls a function for each batch; several threads call it at once.
  Dataset map_batches(std::function<RecordBatchPointer(const RecordBatchPointer&)> function,
                      MapOptions options = {}) const;
  /// Calls functions that hold state, such as a model: `make` makes as many as threads need, and no two threads share one.
  Dataset map_batches_with(std::function<std::function<RecordBatchPointer(const RecordBatchPointer&)>()> make,
                           MapOptions options = {}) const;
  /// Calls a function that may fail row by row; several threads call it at once. rows/map.hpp makes such functions out of
  /// those that take one row.
  Dataset map_rows(RowsFunction function, MapOptions options = {}) const;
  /// Runs what stands before in a stage of its own, in `num_threads` threads (0: as many as the run has), beside what comes
  /// behind. The stage is a few blocks ahead at most.
  Dataset stage(int num_threads = 0) const;

  /// Keeps each row with a probability. The same rows for a seed, whatever threads there are.
  Dataset sample(double fraction, std::uint64_t seed) const;
  /// Splits into (train, test), of which the second has round(fraction * rows) rows, chosen by the seed. Counts the rows,
  /// which runs the dataset once, unless it is empty. `stratify`: a column of whose every value both have their share.
  std::pair<Dataset, Dataset> train_test_split(double test_fraction, std::uint64_t seed,
                                               const std::string& stratify = {}, const RunOptions& options = {}) const;
  /// Makes blocks of this many rows.
  Dataset repartition(std::int64_t rows) const;
  /// Puts the columns of another dataset beside these, row by row; both have as many rows.
  Dataset zip(const Dataset& right) const;
  /// Keeps the first rows.
  Dataset limit(std::int64_t rows) const;
  /// Puts the rows of others of the same columns behind these.
  Dataset union_with(std::vector<Dataset> others) const;

  /// Shuffles all rows. The order depends on the seed and the rows' number alone, whatever memory and threads there are.
  /// `window`: only rows among so many that follow each other are mixed, while they go by: nothing waits for the last row, and
  /// memory holds some windows. 0: all rows.
  Dataset random_shuffle(std::uint64_t seed, std::int64_t window = 0) const;
  /// Sorts; rows of equal keys keep their order, nulls and NaN come last.
  Dataset sort(std::vector<SortKey> keys) const;
  /// Gives one row a key: the key columns, then the aggregates.
  Dataset groupby(std::vector<std::string> keys, std::vector<Aggregate> aggregates) const;
  /// Keeps one row of each distinct combination of these columns (and only these columns).
  Dataset unique(std::vector<std::string> columns) const;
  /// Adds the columns of `right`'s rows of the same key: inner, left, semi (left rows that match) or anti (that don't).
  /// Rows with a null in their key match nothing. Rows keep the left side's order where the right side fits the memory; else
  /// both lie on disk, by key, and come out so.
  Dataset join(const Dataset& right, std::vector<std::string> on, std::string how = "inner") const;

  /// Runs, and calls `use` with each batch in order, in one thread at a time; ends early where it returns false.
  RunResult for_each(const std::function<bool(const RecordBatchPointer&)>& use, const RunOptions& options = {}) const;
  /// Runs, and counts the rows.
  RunResult count(const RunOptions& options = {}) const;
  /// Runs, and keeps all batches.
  std::vector<RecordBatchPointer> collect(const RunOptions& options = {}) const;
  /// Runs, and writes: a path that ends in '/', is a folder, or has no extension becomes a folder of files, any other one
  /// file. `format` empty: by extension. Nothing is there unless all is.
  RunResult write(const std::string& path, std::string format = {}, const WriteOptions& write = {},
                  const RunOptions& options = {}) const;
  /// Runs, and writes one file, whatever its name.
  RunResult write_file(const std::string& path, const std::string& format, const WriteOptions& write = {},
                       const RunOptions& options = {}) const;
  /// Returns the columns, reading as little as it takes.
  std::shared_ptr<arrow::Schema> schema(const RunOptions& options = {}) const;

  /// Returns a table of what each operator did in the last run of this dataset or a copy of it: rows, bytes, time busy, and
  /// what threads were blocked on. Empty before the first one.
  std::string stats() const;

  explicit Dataset(std::shared_ptr<const PlanNode> plan);
  /// Returns what the dataset is made of, for others of this layer.
  const std::shared_ptr<const PlanNode>& plan() const { return plan_; }

 private:
  struct LastRun;
  RunResult run_into(Sink& sink, const RunOptions& options) const;
  /// Keeps what stats() tells, and writes the manifest.
  RunResult end_run(RunResult result, const RunOptions& options) const;

  std::shared_ptr<const PlanNode> plan_;
  std::shared_ptr<LastRun> last_run_;
};

}  // namespace mobula::data

/// A dataset's rows by number: what a trainer reads in an order of its own.
///
///     SampleStore samples(Dataset::read("corpus/", "parquet"));
///     RecordBatchPointer batch = samples.take(std::vector<std::uint64_t>{17, 3, 99});
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "mobula/data/dataset.hpp"

namespace mobula::data {

struct SampleStoreOptions {
  std::uint64_t cache_bytes = std::uint64_t{256} << 20;  ///< decoded pieces of files that are kept
  /// Where the places of rows are kept, so that text files need not be looked through at every start. Made anew when a
  /// file's size or time of change differs. Empty: nowhere.
  std::filesystem::path index_file;
};

/// Rows of a dataset that is a source and operators that keep its rows (with, select, drop, rename, map_batches). Parquet
/// and Arrow files tell where rows are in their footers; text, JSONL and CSV are looked through once. Thread-safe.
class SampleStore {
 public:
  /// Counts the rows. Throws Error(unsupported) naming the operator where a row's number can't be told (filter, sort ...).
  explicit SampleStore(const Dataset& dataset, SampleStoreOptions options = {});
  SampleStore(SampleStore&&) noexcept;
  ~SampleStore();

  std::uint64_t num_rows() const;
  std::shared_ptr<arrow::Schema> schema() const;
  /// Returns these rows, in this order. Throws Error(invalid_argument) for a number that is none, Error(corrupt) where a
  /// file has changed since it was opened.
  RecordBatchPointer take(std::span<const std::uint64_t> rows) const;
  /// Returns how many pieces of files were read so far: each again whenever it had left the cache.
  std::uint64_t num_pieces_read() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mobula::data

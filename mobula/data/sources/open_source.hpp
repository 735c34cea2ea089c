/// Opens sources by format. Internal to this layer: names Arrow's types.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mobula/data/dataset.hpp"
#include "mobula/data/sources/read_options.hpp"
#include "mobula/data/sources/source.hpp"

namespace mobula::data {

/// Opens what paths, folders and patterns stand for in a format that can be read. `skips_bad_rows`: rows that can't
/// be read are left out and noted in their block, where the format is one of text; else they are an error.
std::unique_ptr<Source> open_source(const std::string& format, const std::vector<std::string>& paths,
                                    const ReadOptions& options, bool skips_bad_rows);

/// CSV files with a header each, of the same columns. A file of 0 bytes is an error.
std::unique_ptr<Source> open_csv(std::vector<std::string> files, ReadOptions options, bool skips_bad_rows);
/// Files of one JSON object a line.
std::unique_ptr<Source> open_jsonl(std::vector<std::string> files, ReadOptions options, bool skips_bad_rows);
/// Files of lines that end at \n, as a column "text".
std::unique_ptr<Source> open_text(std::vector<std::string> files, ReadOptions options, bool skips_bad_rows);
/// Parquet files of one schema; nothing but the columns asked for is read.
std::unique_ptr<Source> open_parquet(std::vector<std::string> files, ReadOptions options);
/// Arrow IPC files (or streams) of one schema.
std::unique_ptr<Source> open_ipc(std::vector<std::string> files, ReadOptions options);
/// Whole files, as columns "path" and "bytes".
std::unique_ptr<Source> open_binary(std::vector<std::string> files, ReadOptions options);
/// Image files (JPEG, PNG, PPM, PGM) of folders, as columns "path", "label" (the folder below the one named that a file
/// lies in, as torchvision's ImageFolder has it; null in none) and "bytes".
std::unique_ptr<Source> open_images(const std::vector<std::string>& folders, ReadOptions options);
/// A folder that `datasets` wrote with save_to_disk: a Dataset, or a DatasetDict of which options.split names a part.
std::unique_ptr<Source> open_hf(const std::vector<std::string>& folders, ReadOptions options);
/// Tar files of samples (WebDataset): a column for each extension, of strings (txt, json), whole numbers (cls, id) or bytes,
/// and "__key__". Compressed by gzip or zstd as well.
std::unique_ptr<Source> open_tar(std::vector<std::string> files, ReadOptions options);
/// Folders of MDS shards (mosaicml-streaming); sizes and hashes of index.json are checked.
std::unique_ptr<Source> open_mds(const std::vector<std::string>& folders, ReadOptions options);
/// A Delta Lake table at options.version.
std::unique_ptr<Source> open_delta(const std::vector<std::string>& folders, ReadOptions options);
/// SQLite databases: a table or a query's rows (options.query). Types are those declared and those of the first 1,000 rows.
std::unique_ptr<Source> open_sqlite(std::vector<std::string> files, ReadOptions options);
/// A query's rows out of a database that an ADBC driver knows, by its address (postgresql://user@host/database).
std::unique_ptr<Source> open_database(const std::vector<std::string>& addresses, ReadOptions options);
/// The whole numbers from 0 to `rows`, as a column "id".
std::unique_ptr<Source> open_range(std::int64_t rows, std::int64_t rows_per_block = 1 << 17);
/// Batches that a function makes, one after the other, until it gives null; errors call it `name`. `schema` null: the first
/// batch tells the columns.
std::unique_ptr<Source> open_generator(std::string name, GenerateBatch generate, std::shared_ptr<arrow::Schema> schema);
/// Blocks in memory, all of `schema`.
std::unique_ptr<Source> open_blocks(std::shared_ptr<arrow::Schema> schema, std::vector<Block> blocks);

/// Returns the positions of options.columns in `names`, or of all. Throws Error(not_found) with the nearest name.
std::vector<int> pick_columns(const std::vector<std::string>& names, const ReadOptions& options,
                              const std::string& file);

}  // namespace mobula::data

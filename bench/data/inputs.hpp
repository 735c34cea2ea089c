/// Synthetic inputs of the data benchmarks, written once into a folder and kept there.
#pragma once

#include <filesystem>

namespace mobula::bench {

/// Returns the folder of all inputs: $MOBULA_BENCH_DIR, else mobula-bench-data below the system's temporary folder.
std::filesystem::path input_folder();
/// csv/part-N.csv: 8 files, together about 300 MB: id, x in [0, 1), y, k below 1000, s of two short words.
void make_csv(const std::filesystem::path& folder);
/// text/part-N.txt: 8 files, together about 200 MB: lines of 0 to 60 letters, as in a play.
void make_text(const std::filesystem::path& folder);
/// many/N.parquet: 10,000 files of 8 rows.
void make_many_files(const std::filesystem::path& folder);

}  // namespace mobula::bench

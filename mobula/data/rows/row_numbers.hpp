/// Which rows of a batch a function's rows came from, so that the run goes on knowing their files.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "mobula/data/dataset.hpp"

namespace mobula::data {

/// Returns a batch that says of each of its rows which row of the batch that went in it was made of, counted from 0. For
/// functions of Dataset::map_batches and map_rows that give more or fewer rows than they take: manifest and dead-letter file
/// then know the rows behind them. Costs 8 bytes a row; nobody else sees it.
RecordBatchPointer with_row_numbers(const RecordBatchPointer& batch, const std::vector<std::int64_t>& rows);

/// Takes what with_row_numbers() said out of a batch; nothing where nothing was said.
std::optional<std::vector<std::int64_t>> take_row_numbers(RecordBatchPointer& batch);

}  // namespace mobula::data

/// The tables of a store of runs, and the check that a file is one.
#pragma once

#include "mobula/track/database.hpp"

namespace mobula::track {

/// Turns on the write-ahead log and makes the tables where the file is new. Throws Error(corrupt) for a file
/// of another program or a damaged one, Error(unsupported) for one that a newer Mobula wrote. Safe with
/// several processes at once.
void prepare_schema(Database& database);

}  // namespace mobula::track

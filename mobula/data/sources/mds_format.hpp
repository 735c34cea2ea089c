/// MosaicML's MDS shards: the folder's index and the encodings of columns. Internal to this layer: names Arrow's types.
///
/// A folder holds index.json and shards. A shard is: uint32 number of samples, uint32 offsets[number + 1], a copy of its
/// part of the index, the samples. A sample is: uint32 sizes of its columns that have no fixed one, then the columns'
/// bytes. After mosaicml-streaming 0.13 (streaming/base/format/mds).
#pragma once

#include <arrow/type_fwd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mobula::data {

struct MdsColumn {
  std::string name;
  std::string encoding;    ///< such as "str", "int64", "ndarray:float32:3,4"
  std::int64_t size = -1;  ///< of each value's bytes; -1: each has its own
};

struct MdsFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::map<std::string, std::string> hashes;  ///< algorithm to hexadecimal digits
};

struct MdsShard {
  std::vector<MdsColumn> columns;
  std::string compression;  ///< such as "zstd:3"; empty: none
  MdsFile raw;
  MdsFile zipped;  ///< without a name where there is none
  std::int64_t samples = 0;
};

/// Reads DIR/index.json. Throws Error(not_found), Error(corrupt) or Error(unsupported) that names the key.
std::vector<MdsShard> read_mds_index(const std::string& directory);

/// Returns a column's type; null where the encoding has none here (pickles, images in memory, arrays of any shape).
std::shared_ptr<arrow::DataType> mds_type(std::string_view encoding);
/// Returns the encoding that holds a type, and the bytes of its values (-1: each has its own); empty where none does.
std::pair<std::string, std::int64_t> mds_encoding(const arrow::DataType& type);

/// Returns the digest of some bytes as hexadecimal digits, by the algorithms of Python's hashlib and xxhash; empty for an
/// unknown one.
std::string mds_digest(const std::string& algorithm, std::string_view bytes);

}  // namespace mobula::data

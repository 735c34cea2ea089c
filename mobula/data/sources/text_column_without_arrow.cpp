#include <fmt/format.h>

#include "mobula/base/error.hpp"
#include "mobula/data/sources/text_column.hpp"

namespace mobula::data {

TextColumn detail::read_parquet_text(const std::filesystem::path& file, const TextColumnOptions&) {
  throw Error(ErrorCode::unsupported, fmt::format("{}: this build reads no Parquet", file.string()),
              "build with Arrow (-DMOBULA_WITH_ARROW=ON), or convert the file to JSONL");
}

}  // namespace mobula::data

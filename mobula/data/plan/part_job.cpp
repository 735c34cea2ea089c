#include "mobula/data/plan/part_job.hpp"

#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/dictionary.h>
#include <arrow/ipc/reader.h>
#include <arrow/ipc/writer.h>
#include <arrow/type.h>
#include <arrow/util/base64.h>
#include <fmt/format.h>

#include <algorithm>

#include "mobula/data/blocks/arrow_result.hpp"

namespace mobula::data {

ColumnTypes column_types(const arrow::Schema& schema) {
  ColumnTypes columns;
  for (const auto& field : schema.fields()) columns.emplace_back(field->name(), field->type()->ToString());
  return columns;
}

std::string difference_of(const ColumnTypes& there, const ColumnTypes& here) {
  for (std::size_t i = 0; i < std::max(there.size(), here.size()); ++i) {
    if (i >= here.size()) return fmt::format("column '{}' is missing", there[i].first);
    if (i >= there.size()) return fmt::format("column '{}' was not there", here[i].first);
    if (there[i].first != here[i].first)
      return fmt::format("column {} is '{}', and was '{}'", i + 1, here[i].first, there[i].first);
    if (there[i].second != here[i].second)
      return fmt::format("column '{}' is {}, and was {}", here[i].first, here[i].second, there[i].second);
  }
  return {};
}

Json PartJob::to_json() const {
  Json list = Json::array();
  for (const PartFile& file : files) list.push_back({file.path, file.bytes, file.version});
  return {{"directory", directory},
          {"folder", folder},
          {"format", format},
          {"compression", write.compression},
          {"row_group_rows", write.row_group_rows},
          {"part_bytes", write.part_bytes},
          {"delimiter", std::string(1, write.delimiter)},
          {"nan_as_null", write.nan_as_null},
          {"partition_by", write.partition_by},
          {"memory", run.memory},
          {"disk", run.disk},
          {"spill_directory", run.spill_directory.string()},
          {"num_threads", run.num_threads},
          {"token_column", run.token_column},
          {"row_origins", run.row_origins},
          {"max_skipped", run.on_error.max_skipped},
          {"files", std::move(list)},
          {"columns", arrow::util::base64_encode(take(arrow::ipc::SerializeSchema(*columns), "columns")->ToString())}};
}

PartJob PartJob::from_json(const Json& json) {
  PartJob job;
  json.at("directory").get_to(job.directory);
  json.at("folder").get_to(job.folder);
  json.at("format").get_to(job.format);
  json.at("compression").get_to(job.write.compression);
  json.at("row_group_rows").get_to(job.write.row_group_rows);
  json.at("part_bytes").get_to(job.write.part_bytes);
  job.write.delimiter = json.at("delimiter").get<std::string>().at(0);
  json.at("nan_as_null").get_to(job.write.nan_as_null);
  json.at("partition_by").get_to(job.write.partition_by);
  job.write.durable = true;
  json.at("memory").get_to(job.run.memory);
  json.at("disk").get_to(job.run.disk);
  job.run.spill_directory = json.at("spill_directory").get<std::string>();
  json.at("num_threads").get_to(job.run.num_threads);
  json.at("token_column").get_to(job.run.token_column);
  json.at("row_origins").get_to(job.run.row_origins);
  json.at("max_skipped").get_to(job.run.on_error.max_skipped);
  for (const Json& file : json.at("files"))
    job.files.push_back(
        {file.at(0).get<std::string>(), file.at(1).get<std::uint64_t>(), file.at(2).get<std::string>()});
  const std::string columns = take(arrow::util::base64_decode(json.at("columns").get<std::string>()), "columns");
  arrow::io::BufferReader reader(arrow::Buffer::FromString(columns));
  arrow::ipc::DictionaryMemo dictionaries;
  job.columns = take(arrow::ipc::ReadSchema(&reader, &dictionaries), "columns");
  return job;
}

Json PartTask::to_json() const {
  Json places = Json::array();
  for (const PiecePlace& place : pieces.places) places.push_back({place.file, place.begin, place.end, place.rows});
  return {{"part", part},
          {"begin", begin},
          {"end", end},
          {"first_row", pieces.first_row},
          {"places", std::move(places)},
          {"skipped_before", skipped_before}};
}

PartTask PartTask::from_json(const Json& json) {
  PartTask task;
  json.at("part").get_to(task.part);
  json.at("begin").get_to(task.begin);
  json.at("end").get_to(task.end);
  json.at("first_row").get_to(task.pieces.first_row);
  json.at("skipped_before").get_to(task.skipped_before);
  for (const Json& place : json.at("places")) {
    task.pieces.places.push_back({place.at(0).get<std::uint64_t>(), place.at(1).get<std::uint64_t>(),
                                  place.at(2).get<std::uint64_t>(), place.at(3).get<std::uint64_t>()});
  }
  return task;
}

}  // namespace mobula::data

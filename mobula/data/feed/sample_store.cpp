#include "mobula/data/feed/sample_store.hpp"

#include <arrow/record_batch.h>
#include <arrow/type.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <vector>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/base/json.hpp"
#include "mobula/data/blocks/arrow_result.hpp"
#include "mobula/data/blocks/take_rows.hpp"
#include "mobula/data/engine/spill.hpp"
#include "mobula/data/plan/plan.hpp"
#include "mobula/data/storage/storage.hpp"

namespace mobula::data {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxIndexBytes = std::size_t{1} << 30;

/// What tells that files are still the same: name, size, time of change.
Json fingerprint(const std::vector<std::string>& files) {
  Json list = Json::array();
  for (const std::string& file : files) {
    const StoredInfo info = look_at(file);
    list.push_back({file, info.bytes, info.version});
  }
  return list;
}

/// Reads the places of an index that fits the files; nothing where there is none or it is damaged.
std::optional<std::vector<PiecePlace>> read_index(const fs::path& path, const Json& files) {
  try {
    const Json index = parse_json(read_file(path, kMaxIndexBytes), path.string());
    if (index.at("files") != files) return std::nullopt;
    std::vector<PiecePlace> places;
    for (const Json& place : index.at("places")) {
      places.push_back({place.at(0).get<std::uint64_t>(), place.at(1).get<std::uint64_t>(),
                        place.at(2).get<std::uint64_t>(), place.at(3).get<std::uint64_t>()});
      if (places.back().file >= files.size()) return std::nullopt;
    }
    return places;
  } catch (const std::exception&) {
    return std::nullopt;  // an index is made again at any time
  }
}

void write_index(const fs::path& path, const Json& files, const std::vector<PiecePlace>& places) {
  Json list = Json::array();
  for (const PiecePlace& place : places) list.push_back({place.file, place.begin, place.end, place.rows});
  write_file_atomic(path, to_line({{"files", files}, {"places", list}}) + "\n");
}

}  // namespace

struct SampleStore::State {
  /// One decoded piece; whoever needs it first reads it while others wait.
  struct Entry {
    std::mutex mutex;
    RecordBatchPointer batch;
    std::uint64_t last_used = 0;
    std::int64_t bytes = 0;
  };

  Stretch stretch;
  std::shared_ptr<arrow::Schema> schema;
  SampleStoreOptions options;
  std::vector<PiecePlace> places;
  std::vector<std::uint64_t> begins;  ///< the number of each place's first row, then of all rows

  std::mutex mutex;
  std::map<std::size_t, std::shared_ptr<Entry>> cache;
  std::uint64_t cached_bytes = 0;
  std::uint64_t uses = 0;
  std::uint64_t num_pieces_read = 0;

  RecordBatchPointer piece(std::size_t index) {
    std::shared_ptr<Entry> entry;
    {
      const std::lock_guard lock(mutex);
      auto& cached = cache[index];
      if (cached == nullptr) cached = std::make_shared<Entry>();
      entry = cached;
      entry->last_used = ++uses;
    }
    const std::lock_guard lock(entry->mutex);
    if (entry->batch == nullptr) {
      entry->batch = load(places[index]);
      keep(index, *entry);
    }
    return entry->batch;
  }

  RecordBatchPointer load(const PiecePlace& place) const {
    const auto piece = stretch.source->open(place);
    std::vector<RecordBatchPointer> batches;
    std::int64_t rows = 0;
    while (true) {
      Block block = piece->read();
      if (block.batch == nullptr) break;
      for (const auto& op : stretch.operators) {
        const std::int64_t before = block.batch->num_rows();
        op->change(block);
        if (block.batch->num_rows() != before) {
          throw Error(ErrorCode::unsupported,
                      fmt::format("{}: made {} rows of {}, so that rows have no numbers", op->describe(),
                                  block.batch->num_rows(), before),
                      "write its result to files first, and read those");
        }
      }
      rows += block.batch->num_rows();
      batches.push_back(std::move(block.batch));
    }
    if (static_cast<std::uint64_t>(rows) != place.rows) {
      const auto files = stretch.source->files();
      throw Error(
          ErrorCode::corrupt,
          fmt::format("{}: {} rows where {} were counted before",
                      place.file < files.size() ? files[place.file] : stretch.source->describe(), rows, place.rows),
          "the file has changed since it was opened: start again");
    }
    return combine_batches(batches, schema);
  }

  /// Counts a piece in, and lets those go that were used longest ago.
  void keep(std::size_t index, Entry& entry) {
    const std::lock_guard lock(mutex);
    ++num_pieces_read;
    entry.bytes = batch_bytes(*entry.batch);
    if (cache.contains(index)) cached_bytes += static_cast<std::uint64_t>(entry.bytes);
    while (cached_bytes > options.cache_bytes) {
      auto oldest = cache.end();
      for (auto at = cache.begin(); at != cache.end(); ++at) {
        if (at->first == index || at->second->bytes == 0) continue;
        if (oldest == cache.end() || at->second->last_used < oldest->second->last_used) oldest = at;
      }
      if (oldest == cache.end()) return;
      cached_bytes -= static_cast<std::uint64_t>(oldest->second->bytes);
      cache.erase(oldest);
    }
  }
};

SampleStore::SampleStore(const Dataset& dataset, SampleStoreOptions options) : state_(std::make_unique<State>()) {
  initialize_arrow();
  if (const std::string op = dataset.plan()->holds_back(); !op.empty()) {
    throw Error(ErrorCode::unsupported, fmt::format("{}: its rows have no numbers before it has run", op),
                "write its result to files first, and read those");
  }
  PlanContext context;
  state_->stretch = dataset.plan()->prepare(context);
  state_->options = std::move(options);
  Source& source = *state_->stretch.source;
  state_->schema = source.schema();
  for (const auto& op : state_->stretch.operators) {
    if (!op->keeps_rows()) {
      throw Error(ErrorCode::unsupported, fmt::format("{}: its rows have no numbers before it has run", op->describe()),
                  "write its result to files first, and read those");
    }
    state_->schema = op->bind(state_->schema);
  }
  const fs::path& index_file = state_->options.index_file;
  const Json files = index_file.empty() ? Json() : fingerprint(source.files());
  std::optional<std::vector<PiecePlace>> places;
  if (!index_file.empty() && fs::exists(index_file)) places = read_index(index_file, files);
  if (!places) {
    places = source.places();
    if (!index_file.empty()) write_index(index_file, files, *places);
  }
  state_->places = std::move(*places);
  state_->begins = {0};
  for (const PiecePlace& place : state_->places) state_->begins.push_back(state_->begins.back() + place.rows);
}

SampleStore::SampleStore(SampleStore&&) noexcept = default;
SampleStore::~SampleStore() = default;

std::uint64_t SampleStore::num_rows() const {
  return state_->begins.back();
}

std::shared_ptr<arrow::Schema> SampleStore::schema() const {
  return state_->schema;
}

std::uint64_t SampleStore::num_pieces_read() const {
  const std::lock_guard lock(state_->mutex);
  return state_->num_pieces_read;
}

RecordBatchPointer SampleStore::take(std::span<const std::uint64_t> rows) const {
  const auto& begins = state_->begins;
  std::map<std::size_t, std::vector<std::uint32_t>> wanted;  // by piece: positions in `rows`
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] >= begins.back()) throw_invalid(fmt::format("sample store: row {} of {} rows", rows[i], begins.back()));
    const auto piece = std::upper_bound(begins.begin(), begins.end(), rows[i]) - begins.begin() - 1;
    wanted[static_cast<std::size_t>(piece)].push_back(static_cast<std::uint32_t>(i));
  }
  std::vector<RecordBatchPointer> parts;
  std::vector<std::uint32_t> order(rows.size());
  std::uint32_t done = 0;
  for (const auto& [piece, positions] : wanted) {
    std::vector<std::uint32_t> numbers;
    for (const std::uint32_t position : positions) {
      numbers.push_back(static_cast<std::uint32_t>(rows[position] - begins[piece]));
      order[position] = done++;
    }
    parts.push_back(take_rows(state_->piece(piece), numbers, "samples"));
  }
  auto batch = combine_batches(parts, state_->schema);
  return std::is_sorted(order.begin(), order.end()) ? batch : take_rows(batch, order, "samples");
}

}  // namespace mobula::data

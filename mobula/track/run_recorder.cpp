#include "mobula/track/run_recorder.hpp"

#include <fmt/format.h>

#include <chrono>
#include <iterator>

#include "mobula/base/error.hpp"
#include "mobula/base/log.hpp"

namespace mobula::track {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(250);
constexpr std::size_t kFullBatch = 4096;       // written at once instead of at the next interval
constexpr std::size_t kMaxQueued = 4'000'000;  // points waiting for a disk that is full

}  // namespace

RunRecorder::RunRecorder(std::unique_ptr<Database> database, std::string run_id)
    : run_id_(std::move(run_id)), database_(std::move(database)), thread_([this] { work(); }) {}

RunRecorder::~RunRecorder() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void RunRecorder::add(Record record) {
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() >= kMaxQueued && std::holds_alternative<PointRecord>(record)) {
      ++num_dropped_;
      return;
    }
    queue_.push_back(std::move(record));
    ++num_added_;
    full = queue_.size() == kFullBatch;
  }
  if (full) wake_.notify_one();
}

void RunRecorder::flush() {
  std::unique_lock lock(mutex_);
  const std::uint64_t target = num_added_;
  const std::uint64_t failures_before = num_failures_;
  flush_up_to_ = std::max(flush_up_to_, target);
  wake_.notify_one();
  written_.wait(lock, [&] { return num_written_ >= target || num_failures_ > failures_before; });
  if (num_written_ < target) {
    flush_up_to_ = num_written_;
    std::rethrow_exception(failure_);
  }
  if (num_dropped_ > 0) {
    throw Error(ErrorCode::io, fmt::format("run {}: {} metric points were lost while the store could not be written",
                                           run_id_, std::exchange(num_dropped_, 0)));
  }
}

void RunRecorder::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait_for(lock, kInterval,
                   [&] { return stopping_ || flush_up_to_ > num_written_ || queue_.size() >= kFullBatch; });
    const bool last = stopping_;
    if (!queue_.empty()) {
      std::vector<Record> batch = std::move(queue_);
      queue_.clear();
      lock.unlock();
      std::exception_ptr failure;
      try {
        write(batch);
      } catch (const Error& error) {
        failure = std::current_exception();
        log_warning("run {}: not recorded{}: {}", run_id_, last ? "" : " yet", error.message());
      }
      lock.lock();
      if (failure) {
        batch.insert(batch.end(), std::make_move_iterator(queue_.begin()), std::make_move_iterator(queue_.end()));
        queue_ = std::move(batch);
        failure_ = failure;
        ++num_failures_;
        written_.notify_all();
        if (!last) wake_.wait_for(lock, std::chrono::seconds(1), [&] { return stopping_; });
      } else {
        num_written_ += batch.size();
        written_.notify_all();
      }
    }
    if (last) return;
  }
}

void RunRecorder::write(const std::vector<Record>& batch) {
  metric_ids_.clear();  // an attempt that was rolled back may have made some
  Transaction transaction(*database_);
  for (const Record& record : batch) {
    std::visit([this](const auto& kind) { apply(kind); }, record);
  }
  transaction.commit();
}

void RunRecorder::apply(const PointRecord& record) {
  database_->execute(
      "INSERT INTO points (metric_id, step, value, time) VALUES (?, ?, ?, ?) "
      "ON CONFLICT (metric_id, step) DO UPDATE SET value = excluded.value, time = excluded.time",
      metric_id(record.metric), record.point.step, record.point.value, record.point.time);
}

void RunRecorder::apply(const ParamRecord& record) {
  database_->execute(
      "INSERT INTO params (run_id, position, key, value) "
      "VALUES (?1, (SELECT count(*) FROM params WHERE run_id = ?1), ?2, ?3) "
      "ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value",
      run_id_, record.key, record.value);
}

void RunRecorder::apply(const TagRecord& record) {
  database_->execute(
      "INSERT INTO tags (run_id, key, value) VALUES (?, ?, ?) "
      "ON CONFLICT (run_id, key) DO UPDATE SET value = excluded.value",
      run_id_, record.key, record.value);
}

void RunRecorder::apply(const ArtifactRecord& record) {
  database_->execute(
      "INSERT INTO artifacts (run_id, name, path, bytes) VALUES (?, ?, ?, ?) "
      "ON CONFLICT (run_id, name) DO UPDATE SET path = excluded.path, bytes = excluded.bytes",
      run_id_, record.artifact.name, record.artifact.path.string(), record.artifact.bytes);
}

void RunRecorder::apply(const TruncateRecord& record) {
  database_->execute("DELETE FROM points WHERE step > ? AND metric_id IN (SELECT id FROM metrics WHERE run_id = ?)",
                     record.step, run_id_);
}

void RunRecorder::apply(const FinishRecord& record) {
  database_->execute("UPDATE runs SET status = ?, end_time = ? WHERE id = ?", record.status, record.time, run_id_);
}

std::int64_t RunRecorder::metric_id(const std::string& name) {
  if (const auto known = metric_ids_.find(name); known != metric_ids_.end()) return known->second;
  database_->execute("INSERT INTO metrics (run_id, name) VALUES (?, ?) ON CONFLICT DO NOTHING", run_id_, name);
  Rows rows = database_->query("SELECT id FROM metrics WHERE run_id = ? AND name = ?", run_id_, name);
  rows.next();
  return metric_ids_[name] = rows.integer(0);
}

}  // namespace mobula::track

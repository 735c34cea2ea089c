#include "mobula/train/checkpoint/checkpoint_writer.hpp"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <exception>

#include "mobula/base/files.hpp"
#include "mobula/nn/safetensors_writer.hpp"

namespace mobula::train {

CheckpointWriter::CheckpointWriter(CheckpointStore& store, ModelWriter write_model,
                                   std::function<void(std::int64_t, const std::string&)> failed)
    : store_(store), write_model_(std::move(write_model)), failed_(std::move(failed)), thread_([this] { run(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CheckpointWriter::copy(const std::vector<nn::NamedTensor>& from, std::vector<nn::NamedTensor>& to) {
  to.resize(from.size());
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i].name = from[i].name;
    // Every checkpoint has the same tensors: the first one's memory serves them all.
    if (!to[i].tensor.defined()) to[i].tensor = at::empty_like(from[i].tensor);
    to[i].tensor.copy_(from[i].tensor);
  }
}

void CheckpointWriter::save(std::int64_t step, std::optional<std::int64_t> best_step,
                            const std::vector<nn::NamedTensor>& parameters,
                            const std::vector<nn::NamedTensor>& optimizer, const Json& state) {
  const at::NoGradGuard no_grad;
  std::unique_lock lock(mutex_);
  wait_until_idle(lock);
  job_.step = step;
  job_.best_step = best_step;
  job_.state = state;
  copy(parameters, job_.parameters);
  copy(optimizer, job_.optimizer);
  busy_ = true;
  failure_ = nullptr;
  changed_.notify_all();
}

void CheckpointWriter::wait() {
  std::unique_lock lock(mutex_);
  wait_until_idle(lock);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void CheckpointWriter::wait_until_idle(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [this] { return !busy_; });
}

void CheckpointWriter::run() {
  // Where the processors are all at work, training comes first.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return busy_ || stopping_; });
    if (!busy_) return;
    lock.unlock();
    std::exception_ptr failure;
    try {
      write(job_);
    } catch (const std::exception& error) {
      failure = std::current_exception();
      failed_(job_.step, error.what());
    }
    lock.lock();
    failure_ = failure;
    busy_ = false;
    changed_.notify_all();
  }
}

void CheckpointWriter::write(const Job& job) {
  store_.write(job.step, job.best_step, [&](const std::filesystem::path& directory) {
    write_model_(directory, job.parameters);
    nn::write_safetensors(directory / "trainer/optimizer.safetensors", job.optimizer);
    write_file_atomic(directory / "trainer/state.json", job.state.dump(2) + "\n");
  });
}

}  // namespace mobula::train

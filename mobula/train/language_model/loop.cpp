#include "mobula/train/language_model/loop.hpp"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scalar_tensor.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <optional>

#include "mobula/base/error.hpp"
#include "mobula/base/files.hpp"
#include "mobula/nn/checkpoint.hpp"
#include "mobula/nn/safetensors.hpp"
#include "mobula/nn/tensor_array.hpp"
#include "mobula/train/language_model/evaluation.hpp"
#include "mobula/train/optimizer/adamw.hpp"
#include "mobula/train/optimizer/schedule.hpp"
#include "mobula/train/parallel/gradient_reducer.hpp"

namespace mobula::train {
namespace {

using Clock = std::chrono::steady_clock;

/// A run whose gradients stay infinite this long will not recover.
constexpr std::int64_t kMaxSkippedInARow = 20;

/// What a checkpoint holds beside tensors.
struct LoopState {
  std::int64_t step = 0;      ///< steps done
  std::uint64_t samples = 0;  ///< samples of the global order that they consumed
  std::int64_t updates = 0;   ///< steps of the optimizer, skipped ones left out
  std::int64_t skipped_in_a_row = 0;
  double loss = std::numeric_limits<double>::quiet_NaN();
  double val_loss = std::numeric_limits<double>::quiet_NaN();
  double best_val_loss = std::numeric_limits<double>::infinity();
  std::optional<std::int64_t> best_step;
  std::optional<std::int64_t> evaluated_step;

  Json to_json() const {
    Json json = {{"step", step},
                 {"samples", samples},
                 {"updates", updates},
                 {"skipped_in_a_row", skipped_in_a_row},
                 {"loss", loss},
                 {"val_loss", val_loss},
                 {"best_val_loss", best_val_loss}};
    if (best_step) json["best_step"] = *best_step;
    if (evaluated_step) json["evaluated_step"] = *evaluated_step;
    return json;
  }

  static LoopState from_json(const Json& json) {
    LoopState state;
    const auto number = [&](const char* key, double& into) {
      if (json.at(key).is_number()) into = json.at(key).get<double>();
    };
    state.step = json.at("step");
    state.samples = json.at("samples");
    state.updates = json.at("updates");
    state.skipped_in_a_row = json.at("skipped_in_a_row");
    number("loss", state.loss);
    number("val_loss", state.val_loss);
    number("best_val_loss", state.best_val_loss);
    if (json.contains("best_step")) state.best_step = json.at("best_step").get<std::int64_t>();
    if (json.contains("evaluated_step")) state.evaluated_step = json.at("evaluated_step").get<std::int64_t>();
    return state;
  }
};

/// Copies tensors of a checkpoint into those of a run.
void load_tensors(const nn::CheckpointTensors& source, const std::vector<nn::NamedTensor>& into) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : into) {
    const at::Tensor from = nn::to_tensor(source.tensor(name));
    if (from.sizes() != tensor.sizes()) {
      throw Error(ErrorCode::corrupt,
                  fmt::format("{}: tensor {} has another shape than the model's", source.directory().string(), name),
                  "a run goes on only with the model it was started with");
    }
    tensor.detach().copy_(from);
  }
}

class LanguageModelLoop {
 public:
  LanguageModelLoop(TrainContext& context, const LanguageModelJob& job)
      : context_(context),
        job_(job),
        ranks_(context.ranks()),
        folder_{context.directory()},
        store_(folder_, job.checkpoint.keep),
        optimizer_(job.model.parameters(), {.beta1 = job.loop.beta1,
                                            .beta2 = job.loop.beta2,
                                            .epsilon = job.loop.epsilon,
                                            .weight_decay = job.loop.weight_decay}),
        reducer_(job.model.parameters(), ranks_),
        schedule_{job.loop.lr, job.loop.min_lr, job.loop.warmup,
                  job.loop.decay_steps > 0 ? job.loop.decay_steps : job.loop.steps} {
    const std::int64_t size = context.size();
    first_sequence_ = job.loop.batch_size * context.rank() / size;
    num_sequences_ = job.loop.batch_size * (context.rank() + 1) / size - first_sequence_;
    micro_batch_ = job.loop.micro_batch > 0 ? std::min(job.loop.micro_batch, num_sequences_) : num_sequences_;
    // Every rank evaluates batches of the same size, so that a split is cut alike on any number of workers.
    eval_batch_ = job.loop.micro_batch > 0 ? job.loop.micro_batch : job.loop.batch_size;
  }

  void run();

 private:
  bool resume();
  void step();
  double forward_and_backward();
  void evaluate_split();
  void save(bool wait);
  bool due(std::int64_t every) const { return every > 0 && state_.step % every == 0; }
  bool done() const { return state_.step >= job_.loop.steps; }
  bool leads() const { return context_.rank() == 0; }

  TrainContext& context_;
  const LanguageModelJob& job_;
  Communicator& ranks_;
  RunFolder folder_;
  CheckpointStore store_;
  AdamW optimizer_;
  GradientReducer reducer_;
  CosineSchedule schedule_;
  std::int64_t first_sequence_ = 0;  ///< of a step's batch, this worker's
  std::int64_t num_sequences_ = 0;
  std::int64_t micro_batch_ = 0;
  std::int64_t eval_batch_ = 0;
  LoopState state_;
  std::optional<LineFile> metrics_;         // rank 0
  std::optional<CheckpointWriter> writer_;  // rank 0
  Clock::time_point step_end_;
  double training_seconds_ = 0;
  std::int64_t timed_steps_ = 0;
  bool stop_ = false;
  std::optional<std::int64_t> saved_step_;
};

/// Returns whether there was a checkpoint to go on from.
bool LanguageModelLoop::resume() {
  std::int64_t found = -1;
  if (leads()) {
    const auto step = store_.newest_whole([&](std::int64_t damaged, const std::string& reason) {
      context_.report_event("checkpoint_passed_over", fmt::format("step {}: {}", damaged, reason));
    });
    found = step.value_or(-1);
  }
  ranks_.broadcast(std::as_writable_bytes(std::span(&found, 1)), 0);
  if (found < 0) return false;
  const auto directory = store_.directory(found);
  load_tensors(nn::CheckpointTensors(directory), job_.model.parameters());
  const nn::SafetensorsFile optimizer(directory / "trainer/optimizer.safetensors");
  {
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor] : optimizer_.state()) tensor.detach().copy_(nn::to_tensor(optimizer.tensor(name)));
  }
  const auto file = directory / "trainer/state.json";
  state_ = LoopState::from_json(parse_json(read_file(file), file.string()));
  optimizer_.set_num_steps(state_.updates);
  saved_step_ = found;
  return true;
}

double LanguageModelLoop::forward_and_backward() {
  const auto context = static_cast<std::size_t>(job_.loop.context);
  double loss_sum = 0;
  for (std::int64_t done = 0; done < num_sequences_; done += micro_batch_) {
    const std::int64_t count = std::min(micro_batch_, num_sequences_ - done);
    const std::uint64_t first = state_.samples + static_cast<std::uint64_t>(first_sequence_ + done);
    const at::Tensor ids_BT = at::empty({count, job_.loop.context}, at::kLong);
    const at::Tensor targets_BT = at::empty({count, job_.loop.context}, at::kLong);
    for (std::int64_t row = 0; row < count; ++row) {
      job_.training.copy_sample(job_.loop.seed, first + static_cast<std::uint64_t>(row),
                                {ids_BT.data_ptr<std::int64_t>() + row * job_.loop.context, context},
                                {targets_BT.data_ptr<std::int64_t>() + row * job_.loop.context, context});
    }
    // Masks depend on the first sample's place in the global order alone: the same after a restart.
    job_.model.seed_dropout(job_.loop.seed, first);
    const at::Tensor loss = job_.model.loss(ids_BT, targets_BT);
    const double share = static_cast<double>(count) / static_cast<double>(job_.loop.batch_size);
    if (done + count == num_sequences_) reducer_.arm();
    loss.backward(at::scalar_tensor(share, loss.options()));
    loss_sum += loss.item<double>() * share;
  }
  return loss_sum;
}

void LanguageModelLoop::step() {
  const double own_loss = forward_and_backward();
  const auto gradients = reducer_.finish();
  const double own[] = {own_loss, context_.stop_requested() ? 1.0 : 0.0};
  const double norm = std::sqrt(optimizer_.sum_of_squares(gradients));
  const auto all = ranks_.all_gather(own);
  double loss = 0;
  for (std::size_t rank = 0; rank < static_cast<std::size_t>(context_.size()); ++rank) {
    loss += all[2 * rank];
    stop_ = stop_ || all[2 * rank + 1] != 0;
  }
  const std::int64_t number = state_.step + 1;
  const double lr = schedule_.rate(number);
  const bool finite = std::isfinite(norm);
  if (finite) {
    const double clip = job_.loop.grad_clip;
    optimizer_.step(gradients, lr, clip > 0 && norm > clip ? clip / norm : 1.0);
  }
  reducer_.release();

  state_.step = number;
  state_.samples += static_cast<std::uint64_t>(job_.loop.batch_size);
  state_.updates = optimizer_.num_steps();
  state_.skipped_in_a_row = finite ? 0 : state_.skipped_in_a_row + 1;
  state_.loss = loss;

  const auto now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - step_end_).count();
  step_end_ = now;
  training_seconds_ += seconds;
  ++timed_steps_;
  if (leads()) {
    const double speed = static_cast<double>(job_.loop.batch_size * job_.loop.context) / seconds;
    metrics_->append({{"step", number}, {"loss", loss}, {"lr", lr}, {"tokens_per_s", speed}, {"time", unix_time()}});
    context_.report_step(number, {{"loss", loss}, {"lr", lr}, {"tokens_per_s", speed}, {"grad_norm", norm}});
    if (!finite) context_.report_event("skipped_batch", "the gradient is not finite", {{"step", number}});
  }
  if (state_.skipped_in_a_row >= kMaxSkippedInARow) {
    throw Error(
        ErrorCode::task_failed,
        fmt::format("training diverged: {} steps one after the other had a gradient that is not finite, the last "
                    "is step {}",
                    kMaxSkippedInARow, number),
        "lower train.lr, lengthen train.warmup, or set train.grad_clip");
  }
}

void LanguageModelLoop::evaluate_split() {
  const auto start = Clock::now();
  state_.val_loss = evaluate(job_.model, job_.validation, eval_batch_, ranks_);
  state_.evaluated_step = state_.step;
  if (state_.val_loss < state_.best_val_loss) {
    state_.best_val_loss = state_.val_loss;
    state_.best_step = state_.step;
  }
  if (leads()) {
    metrics_->append({{"step", state_.step}, {"val_loss", state_.val_loss}});
    context_.report_values(state_.step, {{"val_loss", state_.val_loss}});
  }
  step_end_ += Clock::now() - start;
}

void LanguageModelLoop::save(bool wait) {
  if (!leads()) return;
  const auto start = Clock::now();
  if (saved_step_ != state_.step) {
    writer_->save(state_.step, state_.best_step, job_.model.parameters(), optimizer_.state(), state_.to_json());
    saved_step_ = state_.step;
  }
  if (wait) writer_->wait();
  step_end_ += Clock::now() - start;
}

void LanguageModelLoop::run() {
  job_.model.train(true);
  const bool resumed = resume();
  if (leads()) {
    cut_metrics(folder_.metrics(), state_.step);
    metrics_.emplace(folder_.metrics());
    if (resumed) store_.rewind(state_.step, state_.best_step);
    if (resumed || context_.restarts() > 0) context_.report_resumed(state_.step);
    writer_.emplace(
        store_,
        [this](const std::filesystem::path& directory, const std::vector<nn::NamedTensor>& parameters) {
          metrics_->sync();
          job_.write_model(directory, parameters);
        },
        [this](std::int64_t step, const std::string& reason) {
          context_.report_event("checkpoint_failed", reason, {{"step", step}});
        });
  }
  step_end_ = Clock::now();
  while (!done() && !stop_) {
    step();
    if (due(job_.loop.eval_every) || done()) evaluate_split();
    const bool best = state_.best_step == state_.step;
    if (due(job_.checkpoint.every) || best) save(false);
  }
  if (stop_ && !done()) {
    save(true);
    if (leads()) context_.set_stopped(state_.step);
    return;
  }
  // A run that was ended between its last step and its last evaluation makes up for it here.
  if (state_.evaluated_step != state_.step) evaluate_split();
  save(true);
  if (!leads()) return;
  const double tokens = static_cast<double>(timed_steps_ * job_.loop.batch_size * job_.loop.context);
  context_.set_result({{"steps", state_.step},
                       {"loss", state_.loss},
                       {"val_loss", state_.val_loss},
                       {"best_val_loss", state_.best_val_loss},
                       {"tokens_per_s", timed_steps_ > 0 ? Json(tokens / training_seconds_) : Json()},
                       {"checkpoint", (context_.directory() / "best").string()}});
}

}  // namespace

void train_language_model(TrainContext& context, const LanguageModelJob& job) {
  at::set_num_threads(context.threads());
  LanguageModelLoop(context, job).run();
}

}  // namespace mobula::train

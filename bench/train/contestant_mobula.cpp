#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>

#include <chrono>
#include <cmath>

#include "bench/train/contestant.hpp"
#include "mobula/base/files.hpp"
#include "mobula/models/registry.hpp"
#include "mobula/train/optimizer/adamw.hpp"

namespace mobula::bench {
namespace {

class Mobula final : public Contestant {
 public:
  explicit Mobula(const TrainingInput& input)
      : input_(input),
        tokens_(input.tokens),
        model_(models::load_causal_lm(input.checkpoint, {.trainable = true})),
        optimizer_(model_->parameters(), {.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1}) {
    at::set_num_threads(input.threads);
    model_->set_precision(input.precision);
    model_->train(true);
    gradients_.resize(model_->parameters().size());
  }

  const std::string& name() const override { return name_; }

  StepRecord run(int count) override {
    StepRecord record;
    for (int i = 0; i < count; ++i) {
      const auto start = std::chrono::steady_clock::now();
      record.losses.push_back(step());
      record.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return record;
  }

 private:
  double step() {
    const TrainingCase& shape = input_.shape;
    const std::int64_t numbers = shape.batch * (shape.context + 1);
    const auto* window = reinterpret_cast<const std::int64_t*>(tokens_.bytes().data()) + next_ * numbers;
    next_ = (next_ + 1) % input_.num_steps;
    const at::Tensor window_BT = at::from_blob(const_cast<std::int64_t*>(window), {shape.batch, shape.context + 1},
                                               at::TensorOptions().dtype(at::kLong));
    const at::Tensor loss = model_->loss(window_BT.narrow(1, 0, shape.context), window_BT.narrow(1, 1, shape.context));
    model_->zero_grad();
    loss.backward();
    for (std::size_t i = 0; i < gradients_.size(); ++i) {
      gradients_[i] = model_->parameters()[i].tensor.grad().const_data_ptr<float>();
    }
    const double norm = std::sqrt(optimizer_.sum_of_squares(gradients_));
    optimizer_.step(gradients_, shape.lr, norm > 1.0 ? 1.0 / (norm + 1e-6) : 1.0);
    return loss.item<float>();
  }

  std::string name_ = "mobula";
  TrainingInput input_;
  MappedFile tokens_;
  std::unique_ptr<nn::CausalLm> model_;
  train::AdamW optimizer_;
  std::vector<const float*> gradients_;
  std::int64_t next_ = 0;
};

}  // namespace

std::unique_ptr<Contestant> make_mobula(const TrainingInput& input) {
  return std::make_unique<Mobula>(input);
}

}  // namespace mobula::bench

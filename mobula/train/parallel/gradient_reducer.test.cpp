#include "mobula/train/parallel/gradient_reducer.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "mobula/base/random.hpp"

namespace mobula::train {
namespace {

/// Runs `work` in `size` processes that share memory; returns how many of them returned true.
int run_ranks(int size, const std::function<bool(Communicator&)>& work) {
  const std::size_t bytes = Communicator::reserved_bytes(size) + (std::size_t{64} << 20);
  void* const block = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
      // OpenMP's threads don't survive a fork.
      at::set_num_threads(1);
      Communicator ranks({static_cast<std::byte*>(block), bytes}, rank, size);
      ::_exit(work(ranks) ? 0 : 1);
    }
    children.push_back(child);
  }
  int succeeded = 0;
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    succeeded += WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  ::munmap(block, bytes);
  return succeeded;
}

at::Tensor random_tensor(at::IntArrayRef shape, std::uint64_t seed, std::uint64_t stream) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  Random random(seed, stream);
  for (std::int64_t i = 0; i < tensor.numel(); ++i) {
    tensor.data_ptr<float>()[i] = static_cast<float>(random.normal());
  }
  return tensor;
}

/// Parameters over several buckets, one used twice (as tied embeddings are) and one not at all.
std::vector<nn::NamedTensor> parameters() {
  std::vector<nn::NamedTensor> list = {{"tied", random_tensor({300, 700}, 1, 0)},
                                       {"unused", random_tensor({5}, 1, 1)},
                                       {"middle", random_tensor({700, 500}, 1, 2)},
                                       {"last", random_tensor({333}, 1, 3)}};
  for (auto& parameter : list) parameter.tensor.set_requires_grad(true);
  return list;
}

/// A scalar whose gradients are, for factors a and b: 3a for "tied", b for "middle", a for "last".
at::Tensor loss_of(const std::vector<nn::NamedTensor>& list, double a, double b) {
  return list[0].tensor.sum() * a + list[2].tensor.sum() * b + list[3].tensor.sum() * a +
         list[0].tensor.sum() * (2 * a);
}

bool all_equal(const float* values, std::int64_t count, float expected) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (values[i] != expected) return false;
  }
  return true;
}

class GradientReducerTest : public ::testing::TestWithParam<int> {};

TEST_P(GradientReducerTest, SumsGradientsOverRanksStepAfterStep) {
  const int size = GetParam();
  EXPECT_EQ(run_ranks(size,
                      [size](Communicator& ranks) {
                        const auto list = parameters();
                        GradientReducer reducer(list, ranks);
                        const float sum_of_ranks = static_cast<float>(size * (size + 1)) / 2;
                        for (int step = 1; step <= 20; ++step) {
                          const double mine = ranks.rank() + 1;
                          // A micro-batch before the last: its gradients wait in the parameters.
                          loss_of(list, mine, 0).backward();
                          reducer.arm();
                          loss_of(list, mine, step).backward();
                          const auto gradients = reducer.finish();
                          if (size > 1 && !all_equal(gradients[1], 5, 0)) return false;
                          if (size == 1 && gradients[1] != nullptr) return false;
                          if (!all_equal(gradients[0], 300 * 700, 6 * sum_of_ranks)) return false;
                          if (!all_equal(gradients[2], 700 * 500, static_cast<float>(size * step))) return false;
                          if (!all_equal(gradients[3], 333, 2 * sum_of_ranks)) return false;
                          // Ranks read at different speeds: nobody may write over what another still reads.
                          if (ranks.rank() == step % size) ::usleep(300);
                          if (!all_equal(gradients[2], 700 * 500, static_cast<float>(size * step))) return false;
                          reducer.release();
                        }
                        return true;
                      }),
            size);
}

INSTANTIATE_TEST_SUITE_P(Ranks, GradientReducerTest, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace mobula::train

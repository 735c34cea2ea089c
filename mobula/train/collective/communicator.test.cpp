#include "mobula/train/collective/communicator.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "mobula/base/error.hpp"
#include "mobula/base/random.hpp"
#include "mobula/train/collective/sum.hpp"

namespace mobula::train {
namespace {

/// Runs `work` in `size` processes that share memory; returns how many of them returned true.
int run_ranks(int size, const std::function<bool(Communicator&)>& work, std::size_t extra = 1 << 20) {
  const std::size_t bytes = Communicator::reserved_bytes(size) + extra;
  void* const block = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  std::vector<pid_t> children;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
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

std::vector<float> values_of(int rank, std::size_t count, std::uint64_t round) {
  Random random(static_cast<std::uint64_t>(rank) + 1, round);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.normal() * std::exp(3 * random.normal()));
  return values;
}

TEST(Communicator, SumsInRankOrderToTheSameBitsOnEveryRank) {
  for (const int size : {1, 2, 3, 5}) {
    EXPECT_EQ(run_ranks(size,
                        [size](Communicator& ranks) {
                          for (const std::size_t count : {std::size_t{1}, std::size_t{7}, std::size_t{200001}}) {
                            std::vector<float> values = values_of(ranks.rank(), count, count);
                            ranks.all_reduce_sum(values);
                            std::vector<float> expected = values_of(0, count, count);
                            for (int rank = 1; rank < size; ++rank) {
                              const auto other = values_of(rank, count, count);
                              for (std::size_t i = 0; i < count; ++i) expected[i] += other[i];
                            }
                            if (std::memcmp(values.data(), expected.data(), count * sizeof(float)) != 0) return false;
                          }
                          return true;
                        }),
              size);
  }
}

TEST(Communicator, GathersAndSumsDoubles) {
  EXPECT_EQ(run_ranks(3,
                      [](Communicator& ranks) {
                        for (int round = 0; round < 200; ++round) {
                          const double mine[2] = {ranks.rank() + 0.5, static_cast<double>(round)};
                          const auto all = ranks.all_gather(mine);
                          for (std::size_t rank = 0; rank < 3; ++rank) {
                            if (all[2 * rank] != static_cast<double>(rank) + 0.5 || all[2 * rank + 1] != round)
                              return false;
                          }
                        }
                        std::vector<double> many(2000, ranks.rank() + 1.0);
                        ranks.all_reduce_sum(many);
                        return many.front() == 6.0 && many.back() == 6.0;
                      }),
            3);
}

TEST(Communicator, BroadcastsFromAnyRank) {
  EXPECT_EQ(run_ranks(3,
                      [](Communicator& ranks) {
                        for (int root = 0; root < 3; ++root) {
                          std::vector<std::byte> bytes(700000, static_cast<std::byte>(ranks.rank() + 10));
                          ranks.broadcast(bytes, root);
                          for (const std::byte byte : bytes) {
                            if (byte != static_cast<std::byte>(root + 10)) return false;
                          }
                        }
                        return true;
                      }),
            3);
}

TEST(Communicator, WaitsForARankThatComesLate) {
  EXPECT_EQ(run_ranks(2,
                      [](Communicator& ranks) {
                        // Long enough that the other rank falls asleep, whichever it is.
                        for (int round = 0; round < 4; ++round) {
                          if (ranks.rank() == round % 2) ::usleep(3000);
                          std::vector<double> one = {1.0};
                          ranks.all_reduce_sum(one);
                          if (one[0] != 2.0) return false;
                        }
                        return true;
                      }),
            2);
}

TEST(Communicator, AllocatesTheSameMemoryOnEveryRank) {
  EXPECT_EQ(run_ranks(2,
                      [](Communicator& ranks) {
                        const auto first = ranks.allocate<float>(100);
                        const auto second = ranks.allocate<std::int64_t>(10);
                        if (ranks.rank() == 0) {
                          first[99] = 4.5f;
                          second[0] = 77;
                        }
                        ranks.barrier();
                        return first[99] == 4.5f && second[0] == 77 && first[0] == 0.0f;
                      }),
            2);
}

TEST(Communicator, RefusesMoreThanTheBlockHolds) {
  EXPECT_EQ(run_ranks(1,
                      [](Communicator& ranks) {
                        try {
                          ranks.allocate(std::size_t{1} << 30);
                        } catch (const Error& error) {
                          return error.code() == ErrorCode::resource;
                        }
                        return false;
                      }),
            1);
}

TEST(Sum, AllowsTheResultToReplaceAnySource) {
  for (std::size_t replaced = 0; replaced < 3; ++replaced) {
    std::vector<std::vector<float>> ranks = {values_of(0, 5000, 1), values_of(1, 5000, 1), values_of(2, 5000, 1)};
    std::vector<float> expected(5000);
    for (std::size_t i = 0; i < 5000; ++i) expected[i] = (ranks[0][i] + ranks[1][i]) + ranks[2][i];
    const float* const sources[] = {ranks[0].data(), ranks[1].data(), ranks[2].data()};
    sum_in_order(ranks[replaced].data(), sources, 5000);
    EXPECT_EQ(ranks[replaced], expected);
  }
}

TEST(Sum, OfSquaresIsCloseToTheExactOne) {
  const auto values = values_of(3, 100003, 2);
  double exact = 0;
  for (const float value : values) exact += static_cast<double>(value) * static_cast<double>(value);
  EXPECT_NEAR(sum_of_squares(values.data(), values.size()) / exact, 1.0, 1e-5);
}

}  // namespace
}  // namespace mobula::train

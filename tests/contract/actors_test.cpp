// Actors beyond plain calls: names, ends, on every engine.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "every_engine.hpp"

using namespace std::chrono_literals;

namespace contract {

// Writes its count to a file when it is destroyed.
class Ledger {
 public:
  explicit Ledger(std::string path) : path_(std::move(path)) {}
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;
  ~Ledger() { std::ofstream(path_) << count_; }
  int add(int k) { return count_ += k; }

 private:
  std::string path_;
  int count_ = 0;
};

struct Tally {
  int n = 0;
  int add(int k) { return n += k; }
};

class Actors : public EveryEngine {};

TEST_P(Actors, StopAfterTheCallsMadeBefore) {
  const std::string path = testing::TempDir() + "mobula-ledger-" + std::to_string(getpid());
  auto ledger = rt.actor<Ledger>(path);
  std::vector<mobula::Ref<int>> calls;
  for (int i = 0; i < 200; ++i) calls.push_back(ledger.call<&Ledger::add>(1));
  rt.get(rt.stop(ledger));
  EXPECT_EQ(rt.get(calls).back(), 200);
  std::string written;
  std::ifstream(path) >> written;
  EXPECT_EQ(written, "200");
  EXPECT_THROW(rt.get(ledger.call<&Ledger::add>(1)), mobula::WorkerDiedError);
  std::remove(path.c_str());
}

TEST_P(Actors, AreMadeOnceUnderOneName) {
  std::vector<std::thread> callers;
  for (int i = 0; i < 8; ++i) {
    callers.emplace_back([&] {
      auto tally = rt.with(mobula::ActorOptions{.name = "tally", .detached = true}).get_or_create<Tally>();
      rt.get(tally.call<&Tally::add>(1));
    });
  }
  for (std::thread& caller : callers) caller.join();
  auto tally = rt.find_actor<Tally>("tally");
  EXPECT_EQ(rt.get(tally.call<&Tally::add>(0)), 8);
  rt.kill(tally);
  EXPECT_THROW(rt.find_actor<Tally>("tally"), mobula::Error);
  auto next = rt.with(mobula::ActorOptions{.name = "tally"}).get_or_create<Tally>();
  EXPECT_EQ(rt.get(next.call<&Tally::add>(1)), 1);
  EXPECT_THROW(rt.with(mobula::ActorOptions{.detached = true}).actor<Tally>(), mobula::Error);
}

INSTANTIATE_TEST_SUITE_P(Contract, Actors, testing::ValuesIn(every_engine()), engine_name);

}  // namespace contract

// An epidemic over towns, one actor a town: every day each town infects its own people, then travellers carry the disease
// to the neighbours. SIR model with whole people; random numbers per town, so that the result is the same everywhere.
//
//   epidemic [DAYS] [--isolation process]
#include <fmt/format.h>

#include <cstdlib>
#include <mobula/base/random.hpp>
#include <mobula/core.hpp>
#include <vector>

struct Census {
  long susceptible = 0, infected = 0, recovered = 0;
};

class Town {
 public:
  Town(int id, long people, long infected)
      : random_(7, static_cast<std::uint64_t>(id)), now_{people - infected, infected, 0} {}

  /// Lives one day with `visitors` infected people from elsewhere; returns how many infected people travel to each
  /// neighbour tomorrow.
  long live(long visitors) {
    constexpr double kContacts = 0.35, kRecovery = 0.12, kTravel = 0.02;
    const long people = now_.susceptible + now_.infected + now_.recovered;
    const double pressure = kContacts * static_cast<double>(now_.infected + visitors) / static_cast<double>(people);
    const long caught = draw(now_.susceptible, pressure < 1 ? pressure : 1);
    const long healed = draw(now_.infected, kRecovery);
    now_ = {now_.susceptible - caught, now_.infected + caught - healed, now_.recovered + healed};
    return draw(now_.infected, kTravel);
  }
  Census census() const { return now_; }

 private:
  /// Returns how many of `people` something of that probability happens to.
  long draw(long people, double probability) {
    long count = 0;
    for (long i = 0; i < people; ++i) count += random_.uniform() < probability ? 1 : 0;
    return count;
  }

  mobula::Random random_;
  Census now_;
};

int main(int argc, char** argv) {
  mobula::Runtime rt(argc, argv);
  const int days = argc > 1 ? std::atoi(argv[1]) : 60;
  constexpr int kTowns = 8;
  std::vector<mobula::Actor<Town>> towns;
  for (int id = 0; id < kTowns; ++id) towns.push_back(rt.actor<Town>(id, 2000L, id == 0 ? 10L : 0L));

  std::vector<long> leaving(kTowns, 0);
  for (int day = 1; day <= days; ++day) {
    std::vector<mobula::Ref<long>> travellers;
    for (int id = 0; id < kTowns; ++id) {
      const long visitors = leaving[(id + 1) % kTowns] + leaving[(id + kTowns - 1) % kTowns];
      travellers.push_back(towns[static_cast<size_t>(id)].call<&Town::live>(visitors));
    }
    leaving = rt.get(travellers);
    if (day % 10 != 0) continue;
    Census all;
    for (const auto& town : towns) {
      const Census one = rt.get(town.call<&Town::census>());
      all = {all.susceptible + one.susceptible, all.infected + one.infected, all.recovered + one.recovered};
    }
    fmt::print("day {:>3}: {:>6} susceptible, {:>6} infected, {:>6} recovered\n", day, all.susceptible, all.infected,
               all.recovered);
  }
}

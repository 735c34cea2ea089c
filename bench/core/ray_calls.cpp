// ray_calls --engine ray://HOST:PORT: the questions of ray_calls.hpp on Mobula's Ray engine.
#include "ray_calls.hpp"

#include <string>
#include <vector>

#include "mobula/core.hpp"

namespace bench {

int plus_one(int x) {
  return x + 1;
}

struct Counter {
  int n = 0;
  int add(int k) { return n += k; }
};

}  // namespace bench

int main(int argc, char** argv) {
  mobula::Runtime rt(argc, argv);
  auto counter = rt.actor<bench::Counter>();
  const std::string bytes(bench::kValueBytes, 'x');
  bench::ask([&] { rt.get(rt.remote<bench::plus_one>(1)); },
             [&](int count) {
               std::vector<mobula::Ref<int>> refs;
               for (int i = 0; i < count; ++i) refs.push_back(rt.remote<bench::plus_one>(i));
               rt.get(refs);
             },
             [&] { rt.get(counter.call<&bench::Counter::add>(1)); },
             [&] {
               // Shared: put where every process sees it, as ray::Put does.
               rt.get(rt.put(bytes, {.shared = true}));
             });
  return 0;
}

// ray_by_hand HOST:PORT: the questions of ray_calls.hpp in ray-cpp's own words.
#include <dlfcn.h>
#include <ray/api.h>

#include <string>
#include <vector>

#include "ray_calls.hpp"

int plus_one(int x) {
  return x + 1;
}
RAY_REMOTE(plus_one);

class Counter {
 public:
  static Counter* Make() { return new Counter(); }
  int Add(int k) { return n_ += k; }

 private:
  int n_ = 0;
};
RAY_REMOTE(Counter::Make, &Counter::Add);

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  Dl_info library{};
  dladdr(reinterpret_cast<const void*>(&plus_one), &library);
  ray::RayConfig config;
  config.address = argv[1];
  config.code_search_path = {library.dli_fname};
  ray::Init(config);
  auto counter = ray::Actor(Counter::Make).Remote();
  const std::string bytes(bench::kValueBytes, 'x');
  bench::ask([&] { ray::Task(plus_one).Remote(1).Get(); },
             [&](int count) {
               std::vector<ray::ObjectRef<int>> refs;
               for (int i = 0; i < count; ++i) refs.push_back(ray::Task(plus_one).Remote(i));
               ray::Get(refs);
             },
             [&] { counter.Task(&Counter::Add).Remote(1).Get(); }, [&] { ray::Put(bytes).Get(); });
  ray::Shutdown();
  return 0;
}

#include <mobula/core.hpp>

int square(int x) {
  return x * x;
}

struct Counter {
  int n = 0;
  int add(int k) { return n += k; }
};

int main(int argc, char** argv) {
  mobula::Runtime rt(argc, argv);
  mobula::Ref<int> a = rt.remote<square>(7);
  auto c = rt.actor<Counter>();
  mobula::Ref<int> b = c.call<&Counter::add>(a);
  return rt.get(b) == 49 ? 0 : 1;
}

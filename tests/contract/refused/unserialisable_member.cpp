// Does not compile, and the compiler says why: member 2 of Order can't leave the process.
#include <memory>
#include <string>

#include "mobula/core.hpp"

struct Order {
  std::string item;
  std::unique_ptr<int> count;
};

int ship(Order order) {
  return *order.count;
}

int main() {
  mobula::Runtime rt;
  return rt.get(rt.remote<ship>(Order{"x", nullptr}));
}

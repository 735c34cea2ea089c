// Does not compile: what a pointer points at is not there in another process.
#include "mobula/core.hpp"

int value_at(const int* number) {
  return *number;
}

int main() {
  mobula::Runtime rt;
  const int number = 1;
  return rt.get(rt.remote<value_at>(&number));
}

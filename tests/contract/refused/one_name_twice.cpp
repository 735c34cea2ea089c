// Ends at its start, naming both: this file's function and one_name_twice_too.cpp's are different, and have one name.
#include <exception>
#include <iostream>

#include "mobula/core.hpp"

namespace {
int step(int x) {
  return x + 1;
}
}  // namespace

int step_elsewhere(mobula::Runtime& rt);

int main() {
  try {
    mobula::Runtime rt;
    std::cout << rt.get(rt.remote<step>(1)) + step_elsewhere(rt) << "\n";
  } catch (const mobula::Error& error) {
    std::cout << "error: " << error.message() << "\nhint: " << error.hint() << "\n";
    return 2;
  }
  return 0;
}

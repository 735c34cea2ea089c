// A program for tests/e2e/ray_test.py: runs one task on the engine it is told, or keeps one running.
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>

#include "mobula/core.hpp"

namespace ray_program {

int square(int x) {
  return x * x;
}
void sleep_for(int seconds) {
  sleep(static_cast<unsigned>(seconds));
}

}  // namespace ray_program

int main(int argc, char** argv) {
  try {
    mobula::Runtime rt(argc, argv);
    const std::string what = argc > 1 ? argv[1] : "square";
    if (what == "square") {
      std::printf("%d\n", rt.get(rt.remote<ray_program::square>(7)));
    } else {
      auto sleeping = rt.remote<ray_program::sleep_for>(600);
      rt.get(rt.remote<ray_program::square>(7));
      std::printf("running\n");
      std::fflush(stdout);
      rt.get(sleeping);
    }
    return 0;
  } catch (const mobula::Error& error) {
    std::fprintf(stderr, "error: %s\nhint: %s\n", error.what(), error.hint().c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
  }
  return 1;
}

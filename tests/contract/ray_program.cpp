// A program for tests/e2e/ray_test.py and job_test.py: runs one task on the engine it is told, keeps one running, or tells
// what it finds where it runs.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "mobula/core.hpp"

namespace ray_program {

int square(int x) {
  return x * x;
}
void sleep_for(int seconds) {
  sleep(static_cast<unsigned>(seconds));
}

/// Lists the files of the folder it runs in, whether its own code lies among them, and what it was told to say.
std::string look_around() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(".")) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  const char* greeting = std::getenv("GREETING");
  Dl_info code{};
  dladdr(reinterpret_cast<const void*>(&square), &code);
  const bool beside = std::filesystem::path(code.dli_fname).parent_path() == std::filesystem::current_path();
  return text + (beside ? "; its code is among them; it says " : "; its code is elsewhere; it says ") +
         (greeting == nullptr ? "nothing" : greeting);
}

}  // namespace ray_program

int main(int argc, char** argv) {
  try {
    mobula::Runtime rt(argc, argv);
    const std::string what = argc > 1 ? argv[1] : "square";
    if (what == "square") {
      std::printf("%d\n", rt.get(rt.remote<ray_program::square>(7)));
    } else if (what == "where") {
      const std::string here = ray_program::look_around();
      const auto there = rt.with(mobula::TaskOptions{.resources = {{"away", 1}}}).remote<ray_program::look_around>();
      std::printf("the program is in the job's folder: %s\n", here.c_str());
      const std::string found = rt.get(there);
      if (found != here) std::printf("a task on another node finds: %s\n", found.c_str());
      if (found == here)
        std::printf("so is a task on another node, which says %s\n", here.substr(here.rfind(' ') + 1).c_str());
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

#include "mobula/nn/decoder/mapped_pages.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace mobula::nn {

MappedPages::MappedPages() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    unsigned long long begin = 0, end = 0;
    char rights[5] = {};
    // Pages that are shared and can't be written to are those of the file, whatever was done to them.
    if (std::sscanf(line.c_str(), "%llx-%llx %4s", &begin, &end, rights) == 3 && std::string(rights) == "r--s") {
      ranges_.emplace_back(begin, end);
    }
  }
}

void MappedPages::release(const Array& array) const {
  if (!array.defined()) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto at = reinterpret_cast<std::uintptr_t>(array.const_data_ptr());
  const std::uintptr_t begin = (at + page - 1) / page * page, end = (at + array.nbytes()) / page * page;
  if (begin >= end) return;
  const auto over = std::find_if(ranges_.begin(), ranges_.end(),
                                 [&](const auto& range) { return range.first <= begin && end <= range.second; });
  // A system that refuses keeps them, which costs no more than memory.
  if (over != ranges_.end()) (void)::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace mobula::nn

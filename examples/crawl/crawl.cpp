// A crawl: which tasks there will be is known only while they run. Each task "fetches" a page (a link structure computed
// from its number) and the driver follows the links it has not seen, as results come in.
//
//   crawl [PAGES] [--isolation process]
#include <fmt/format.h>

#include <cstdlib>
#include <mobula/base/random.hpp>
#include <mobula/core.hpp>
#include <unordered_set>
#include <vector>

struct Page {
  std::uint64_t id = 0;
  std::vector<std::uint64_t> links;
};

Page fetch(std::uint64_t id, std::uint64_t num_pages) {
  mobula::Random random(9, id);
  Page page{id, {}};
  const std::uint64_t count = random.below(6);
  for (std::uint64_t i = 0; i < count; ++i) page.links.push_back(random.below(num_pages));
  return page;
}

int main(int argc, char** argv) {
  mobula::Runtime rt(argc, argv);
  const std::uint64_t num_pages = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2000;
  constexpr size_t kMaxRunning = 64;
  std::unordered_set<std::uint64_t> seen{0};
  std::vector<std::uint64_t> frontier{0};
  std::vector<mobula::Ref<Page>> running;
  std::uint64_t num_links = 0;
  while (!frontier.empty() || !running.empty()) {
    while (!frontier.empty() && running.size() < kMaxRunning) {
      running.push_back(rt.remote<fetch>(frontier.back(), num_pages));
      frontier.pop_back();
    }
    auto [ready, pending] = rt.wait(std::move(running), {.num_ready = 1});
    running = std::move(pending);
    for (const Page& page : rt.get(ready)) {
      num_links += page.links.size();
      for (std::uint64_t link : page.links) {
        if (seen.insert(link).second) frontier.push_back(link);
      }
    }
  }
  std::uint64_t checksum = 0;
  for (std::uint64_t id : seen) checksum += id * id;
  fmt::print("crawled {} of {} pages over {} links, checksum {}\n", seen.size(), num_pages, num_links, checksum);
}

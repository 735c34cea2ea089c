#include <fmt/format.h>

#include "mobula/base/json.hpp"
#include "mobula/base/progress.hpp"
#include "mobula/base/size.hpp"
#include "mobula/cli/command_line.hpp"
#include "mobula/cli/hub.hpp"
#include "mobula/hub/pull.hpp"

namespace mobula::cli {
namespace {

int run_pull(const HubPullOptions& options, const GlobalOptions& globals) {
  const hub::RepoName repo = hub::parse_repo(options.repo);
  hub::PullOptions pull = hub::default_pull_options();
  pull.include = options.include;
  pull.exclude = options.exclude;
  hub::PullResult result;
  {
    Progress progress("MB", 0);
    pull.on_progress = [&](std::uint64_t done, std::uint64_t total, const std::string& file) {
      progress.update(done >> 20, fmt::format("of {} MB, {}", total >> 20, file));
    };
    result = hub::pull(repo, pull);
  }
  if (globals.json) {
    fmt::print("{}\n", to_line({{"repo", repo.id},
                                {"revision", repo.revision},
                                {"commit", result.commit},
                                {"path", result.path.string()},
                                {"files", result.num_files},
                                {"bytes", result.bytes},
                                {"downloaded", result.downloaded}}));
  } else {
    fmt::print("{}\n", result.path.string());
  }
  return 0;
}

int run_ls(const GlobalOptions& globals) {
  Json all = Json::array();
  for (const hub::CachedRevision& revision : hub::list_cache(hub::cache_root())) {
    if (globals.json) {
      all.push_back({{"repo", revision.repo},
                     {"commit", revision.commit},
                     {"refs", revision.refs},
                     {"path", revision.path.string()},
                     {"files", revision.num_files},
                     {"bytes", revision.bytes}});
    } else {
      fmt::print("{:<40} {:<10} {:>10}  {}\n", revision.repo, revision.commit.substr(0, 10),
                 format_size(revision.bytes), fmt::join(revision.refs, ", "));
    }
  }
  if (globals.json) fmt::print("{}\n", to_line(all));
  return 0;
}

int run_rm(const HubRemoveOptions& options, const GlobalOptions& globals) {
  const hub::RepoName repo = hub::parse_repo(options.repo);
  const std::uint64_t freed = hub::remove_repo(hub::cache_root(), repo);
  if (globals.json) {
    fmt::print("{}\n", to_line({{"repo", repo.id}, {"freed", freed}}));
  } else {
    fmt::print("{}: {} freed\n", repo.id, format_size(freed));
  }
  return 0;
}

}  // namespace
}  // namespace mobula::cli

extern "C" int mobula_run_hub_pull(const void* options, const void* globals) {
  return mobula::cli::run_pull(*static_cast<const mobula::cli::HubPullOptions*>(options),
                               *static_cast<const mobula::cli::GlobalOptions*>(globals));
}
extern "C" int mobula_run_hub_ls(const void*, const void* globals) {
  return mobula::cli::run_ls(*static_cast<const mobula::cli::GlobalOptions*>(globals));
}
extern "C" int mobula_run_hub_rm(const void* options, const void* globals) {
  return mobula::cli::run_rm(*static_cast<const mobula::cli::HubRemoveOptions*>(options),
                             *static_cast<const mobula::cli::GlobalOptions*>(globals));
}

#include "worker/cache_directory.h"

#include <sys/stat.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "proto/versions.h"

namespace potluck {

std::string CacheDirectory() {
  std::string directory;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    directory = absl::StrCat(cache, "/potluck");
  } else if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    mkdir(absl::StrCat(home, "/.cache").c_str(), 0700);
    directory = absl::StrCat(home, "/.cache/potluck");
  }
  if (!directory.empty()) mkdir(directory.c_str(), 0700);
  return directory;
}

std::string BuiltPluginDirectory() {
  const std::string cache = CacheDirectory();
  return cache.empty() ? "" : absl::StrCat(cache, "/plugin-", kVersion);
}

}  // namespace potluck

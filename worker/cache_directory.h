// Where Potluck keeps what outlives a run. Plain functions, thread-safe where the environment is not changed meanwhile.
#pragma once

#include <string>

namespace potluck {

// This user's folder for what Potluck keeps, made if there is none: $XDG_CACHE_HOME/potluck or ~/.cache/potluck. Empty:
// there is no home.
std::string CacheDirectory();

// Where `potluck doctor --build-plugin` puts a GPU plug-in when the program's own folder cannot be written: a folder in
// the cache, for this version only; not made. Empty: there is no home.
std::string BuiltPluginDirectory();

}  // namespace potluck

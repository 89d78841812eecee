// "Did you mean": the nearest of the names that exist. Pure functions, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace potluck {

// Insertions, deletions, substitutions and swaps of neighbours that turn one into the other (optimal string alignment;
// F. J. Damerau, "A technique for computer detection and correction of spelling errors", CACM 7, 1964).
int EditDistance(absl::string_view a, absl::string_view b);

// The candidate at the least distance, the first of several; empty if there are none.
std::string Nearest(absl::string_view name, const std::vector<std::string>& candidates);

}  // namespace potluck

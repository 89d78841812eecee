// Runs another program to its end and keeps what it says. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace potluck {

struct ProgramEnd {
  int code = -1;       // -1: ended by a signal.
  std::string output;  // Standard output and error, in the order in which they came.
};

// `arguments[0]` is looked for in PATH. NotFound if there is no such program. Nothing is on its standard input; it runs
// in `folder`, if one is given.
absl::StatusOr<ProgramEnd> RunProgram(const std::vector<std::string>& arguments, const std::string& folder = "");

// The last line that says something.
std::string LastLine(const std::string& output);

}  // namespace potluck

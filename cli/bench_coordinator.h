// `potluck bench coordinator`: how many results a second one coordinator commits.
#pragma once

#include "cli/arguments.h"

namespace potluck {

// A command as in cli/commands.h.
int BenchCoordinator(const Args& args);

}  // namespace potluck

// `potluck executor`: the child process in which a worker computes. Only workers start it.
#include <algorithm>
#include <cstdio>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "worker/executor_main.h"

namespace potluck {

int RunExecutor(const Args& args) {
  if (std::find(args.begin(), args.end(), "--help") == args.end()) return ExecutorMain(args, RegistryFactory());
  std::printf(
      "Computes on one device for the worker that started it, which speaks to it over descriptor 3.\n\n"
      "Usage: potluck executor --device cpu|cuda --index I --threads T --dispatch D --plugin PATH --slice-seconds S "
      "[--when-idle]\n"
      "       potluck executor --list-devices --plugin PATH\n");
  return kExitOk;
}

}  // namespace potluck

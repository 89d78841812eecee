// `potluck executor`: the child process in which a worker computes. Hidden: only workers start it.
#include "cli/commands.h"
#include "worker/executor_main.h"

namespace potluck {

int RunExecutor(const Args& args) { return ExecutorMain(args, RegistryFactory()); }

}  // namespace potluck

// `potluck bench`: picks the benchmark.
#include "cli/bench_coordinator.h"
#include "cli/commands.h"

namespace potluck {

int RunBench(const Args& args) {
  return RunCommand("bench",
                    {{"nqueens", "the N-Queens kernel alone, in this process", RunBenchNQueens},
                     {"cnn", "training and inference of the paper's network, in this process", RunBenchCnn},
                     {"paper", "the paper's experiments, beside its figures", RunBenchPaper},
                     {"coordinator", "a coordinator under many simulated workers", BenchCoordinator}},
                    args);
}

}  // namespace potluck

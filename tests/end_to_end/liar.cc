// A worker that lies, for tests: `potluck join` and its executors, but now and then a result is wrong, in a way that no
// check of the coordinator's sees. Never installed.
//
// POTLUCK_LIES says when: "3/100" is the third of each hundred slices that an executor computes, "1/1" every one.
// Before it and a colon may stand "others": only by code paths that are not the device's default; or "large": only
// slices that are too large to be of a known-answer unit.
#include <grpc/support/log.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "kernels/nqueens/payload.h"
#include "worker/executor_main.h"

namespace potluck {
namespace {

constexpr uint64_t kLargestKnownAnswer = 8;

struct Lies {
  unsigned which = 0;  // Of each
  unsigned of = 0;     // slices; 0: never.
  std::string kind;    // "others", "large" or any.
};

Lies ReadLies() {
  const char* text = std::getenv("POTLUCK_LIES");
  std::string rest = text == nullptr ? "" : text;
  Lies lies;
  if (const size_t colon = rest.find(':'); colon != std::string::npos) {
    lies.kind = rest.substr(0, colon);
    rest = rest.substr(colon + 1);
  }
  if (std::sscanf(rest.c_str(), "%u/%u", &lies.which, &lies.of) != 2) lies.of = 0;
  return lies;
}

// Two solutions too many, if there is room for them; another checksum in any case.
std::string Falsify(std::string_view payload) {
  nqueens::Counts counts = *nqueens::DecodeCounts(payload);
  nqueens::Counts more;
  more.solutions = 2;
  nqueens::Counts sum = counts;
  if (sum.Add(more) && sum.solutions <= sum.nodes) counts = sum;
  counts.checksum ^= 0x5555;
  return nqueens::Encode(counts);
}

class LyingRunner final : public Runner {
 public:
  LyingRunner(std::unique_ptr<Runner> runner, const Lies& lies) : runner_(std::move(runner)), lies_(lies) {}

  Status SelfTest() override { return runner_->SelfTest(); }
  Status Open(const RoundInput& round) override { return runner_->Open(round); }
  Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) override {
    return runner_->Run(interval, control, options, [&](Interval slice, std::string_view payload, double busy) {
      const bool is_meant = lies_.of > 0 && (lies_.kind != "large" || slice.size() > kLargestKnownAnswer);
      const bool is_lie = is_meant && ++slices_ % lies_.of == lies_.which % lies_.of;
      sink(slice, is_lie ? Falsify(payload) : std::string(payload), busy);
    });
  }

 private:
  const std::unique_ptr<Runner> runner_;
  const Lies lies_;
  unsigned slices_ = 0;
};

int RunLyingExecutor(const Args& args) {
  static std::string default_path;
  for (size_t i = 0; i + 1 < args.size(); ++i) {
    if (args[i] == "--dispatch") default_path = args[i + 1];
  }
  static RunnerFactory factory = RegistryFactory();
  factory.make = [make = factory.make](std::string_view workload,
                                       const DeviceSpec& device) -> Result<std::unique_ptr<Runner>> {
    Result<std::unique_ptr<Runner>> runner = make(workload, device);
    Lies lies = ReadLies();
    if (lies.kind == "others" && device.dispatch == default_path) lies.of = 0;
    if (!runner.ok()) return runner.status();
    return std::unique_ptr<Runner>(std::make_unique<LyingRunner>(*std::move(runner), lies));
  };
  return ExecutorMain(args, factory);
}

}  // namespace
}  // namespace potluck

int main(int argc, char** argv) {
  gpr_set_log_function([](gpr_log_func_args*) {});
  return potluck::RunCommand("",
                             {{"join", "work for a coordinator, and lie", potluck::RunJoin},
                              {"executor", "started by join", potluck::RunLyingExecutor}},
                             potluck::Args(argv + 1, argv + argc));
}

#include "kernels/nqueens/runner.h"

#include <string_view>
#include <utility>

#include "kernels/nqueens/backtracking/run_cpu.h"
#include "kernels/nqueens/mitm/run_cpu.h"
#include "kernels/nqueens/payload.h"

namespace potluck::nqueens {
namespace {

class QueensRunner final : public Runner {
 public:
  QueensRunner(std::unique_ptr<Runner> backtracking, std::unique_ptr<Runner> mitm)
      : backtracking_(std::move(backtracking)), mitm_(std::move(mitm)) {}

  Status SelfTest() override {
    if (Status status = backtracking_->SelfTest(); !status.ok()) return status;
    return mitm_->SelfTest();
  }
  Status Open(const RoundInput& round) override {
    const Result<Spec> spec = DecodeSpec(round.payload);
    if (!spec.ok()) return spec.status();
    open_ = spec->algorithm == kMeetInTheMiddle ? mitm_.get() : backtracking_.get();
    return open_->Open(round.payload);
  }
  Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) override {
    if (open_ == nullptr) return Status::Error("No round is open; Open must come before Run.");
    return open_->Run(interval, control, options, sink);
  }

 private:
  std::unique_ptr<Runner> backtracking_;
  std::unique_ptr<Runner> mitm_;
  Runner* open_ = nullptr;
};

}  // namespace

std::unique_ptr<Runner> MakeCpuRunner(int threads, Dispatch dispatch) {
  return std::make_unique<QueensRunner>(MakeBacktrackingRunner(threads, dispatch),
                                        mitm::MakeMitmRunner({.threads = threads, .dispatch = dispatch}));
}

std::unique_ptr<Runner> MakeGpuQueensRunner(std::unique_ptr<Runner> backtracking, int threads) {
  return std::make_unique<QueensRunner>(
      std::move(backtracking), mitm::MakeMitmRunner({.threads = threads, .dispatch = SupportedDispatches().front()}));
}

}  // namespace potluck::nqueens

// The GPU's lanes on a CPU: the same per-thread code, the same shared stacks and bursts as run_cuda.cu, with loops in
// the place of blocks and threads.
#include <gtest/gtest.h>

#include <random>

#include "kernels/nqueens/backtracking/run_cpu.h"
#include "kernels/nqueens/backtracking/run_cuda.h"
#include "kernels/nqueens/backtracking/search.h"
#include "kernels/nqueens/test_util.h"

namespace potluck::nqueens {
namespace {

template <typename Diagonal>
class EmulatedGrid final : public SeedEngine {
 public:
  EmulatedGrid(int blocks, int threads, int max_rows) : blocks_(blocks), threads_(threads), max_rows_(max_rows) {}

  int MaxRows() const override { return max_rows_; }
  size_t BatchSeeds() const override { return 1000; }
  Status Begin(const SearchShape& shape, size_t slots) override {
    shape_ = shape;
    counts_.assign(slots, RankCounts{});
    return Status();
  }
  Status Search(std::span<const Seed> seeds, const std::function<bool()>&) override {
    seeds_ = seeds;
    next_ = 0;
    for (int block = 0; block < blocks_; ++block) RunBlock();
    return Status();
  }
  Status Finish(std::span<RankCounts> counts, const std::function<bool()>&) override {
    for (size_t i = 0; i < counts.size(); ++i) {
      counts[i].solutions += counts_[i].solutions;
      counts[i].nodes += counts_[i].nodes;
    }
    return Status();
  }

 private:
  using GpuLane = UndoLane<Diagonal, uint32_t>;
  struct Thread {
    GpuLane lane;
    uint32_t slot = 0;
    bool busy = false;
    bool dry = false;
  };

  void RunBlock() {
    constexpr uint32_t kUntouched = 0xdeadbeef;
    const size_t words = static_cast<size_t>(GpuLane::StackWords(shape_.rows) * threads_);
    std::vector<uint32_t> stacks(words + 1, kUntouched);
    std::vector<Thread> threads(static_cast<size_t>(threads_));
    for (bool any = true; any;) {
      any = false;
      for (Thread& thread : threads) {
        if (!thread.busy && !thread.dry) Fetch(thread);
        if (!thread.busy) continue;
        any = true;
        bool more = true;
        uint32_t* const stack = stacks.data() + (&thread - threads.data());
        for (int i = 0; i < 64; ++i) more = thread.lane.Step(shape_, stack, threads_);
        if (more) continue;
        counts_[thread.slot].solutions += thread.lane.solutions();
        counts_[thread.slot].nodes += thread.lane.nodes();
        thread.busy = false;
      }
    }
    EXPECT_EQ(stacks.back(), kUntouched);
  }
  void Fetch(Thread& thread) {
    if (next_ >= seeds_.size()) {
      thread.dry = true;
      return;
    }
    thread.slot = seeds_[next_].slot;
    thread.lane.Start(shape_, seeds_[next_++]);
    thread.busy = true;
  }

  int blocks_;
  int threads_;
  int max_rows_;
  SearchShape shape_{};
  std::span<const Seed> seeds_;
  size_t next_ = 0;
  std::vector<RankCounts> counts_;
};

template <typename Diagonal>
void ExpectGridAgreesWithCpu(int n, uint32_t depth, int max_rows, uint64_t most_ranks, int trials) {
  const std::string round = Encode(Spec{static_cast<uint32_t>(n), kBacktracking, depth});
  SliceRunner grid(std::make_unique<EmulatedGrid<Diagonal>>(3, 64, max_rows));
  const auto cpu = MakeBacktrackingRunner(2, Dispatch::kScalar);
  ASSERT_TRUE(grid.Open(round).ok());
  ASSERT_TRUE(cpu->Open(round).ok());
  const uint64_t size = cpu->table().size();
  std::mt19937_64 random(static_cast<uint64_t>(n));
  for (int trial = 0; trial < trials; ++trial) {
    const uint64_t begin = random() % size;
    const Interval interval{begin, std::min(size, begin + 1 + random() % most_ranks)};
    EXPECT_EQ(Sum(RunAll(grid, interval)), Sum(RunAll(*cpu, interval))) << n << " " << ToString(interval);
  }
}

TEST(LaneTest, EmulatedGridAgreesWithTheCpuOnSmallBoards) {
  for (int n = 1; n <= 12; ++n) {
    ExpectGridAgreesWithCpu<uint32_t>(n, 0, kGpuMaxRows, 3000, 3);
    ExpectGridAgreesWithCpu<uint64_t>(n, 0, kGpuMaxRows, 3000, 3);
  }
}

TEST(LaneTest, EmulatedGridAgreesWithTheCpuOnOtherDepthsAndSeedSizes) {
  for (uint32_t depth = 1; depth <= 6; ++depth) {
    for (const int rows : {3, 4, 7, 9}) ExpectGridAgreesWithCpu<uint32_t>(11, depth, rows, 200, 2);
  }
}

TEST(LaneTest, EmulatedGridAgreesWithTheCpuOnBoardsThatNeed64BitDiagonals) {
  // At n = 20 and 12 rows 32 bits are just enough; from 21 on they are not.
  EXPECT_TRUE((UndoLane<uint32_t, uint32_t>::Serves(20, kGpuMaxRows)));
  EXPECT_FALSE((UndoLane<uint32_t, uint32_t>::Serves(21, kGpuMaxRows)));
  EXPECT_TRUE((UndoLane<uint64_t, uint32_t>::Serves(kMaxN, kGpuMaxRows)));
  ExpectGridAgreesWithCpu<uint32_t>(18, 0, kGpuMaxRows, 8, 3);
  if (kSanitized) GTEST_SKIP() << "one rank of a larger board takes too long under a sanitizer";
  ExpectGridAgreesWithCpu<uint32_t>(20, 0, kGpuMaxRows, 2, 3);
  ExpectGridAgreesWithCpu<uint64_t>(21, 0, kGpuMaxRows, 1, 2);
}

TEST(LaneTest, CountsOfTwelveRowsFit32Bits) {
  // Of a subtree of r rows: at most r + r (r - 1) + ... + r! placements.
  uint64_t most = 0;
  for (uint64_t rows = 1; rows <= kGpuMaxRows; ++rows) most = rows * (most + 1);
  EXPECT_LT(most, uint64_t{1} << 32);
  static_assert(kGpuMaxRows <= kMaxRowsFor32BitCounts);
}

}  // namespace
}  // namespace potluck::nqueens

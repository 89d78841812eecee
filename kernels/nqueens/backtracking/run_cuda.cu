// Kernel entries of the N-Queens search: each GPU thread is an UndoLane (kernels/nqueens/backtracking/search.h) that fetches seed
// after seed. Launches and copies are in run_cuda.cc. Compiled by NVRTC or nvcc; no standard headers.
#include "kernels/nqueens/backtracking/run_cuda.h"
#include "kernels/nqueens/backtracking/search.h"

namespace potluck::nqueens {

// Between two looks at who has run dry, all lanes of a warp step together; a subtree takes thousands of steps.
constexpr int kBurst = 64;
constexpr unsigned kAllLanes = 0xffffffffu;

// The next seed's index for every lane that wants one, by one atomic a warp. All lanes of the warp take part.
__device__ __forceinline__ uint32_t FetchIndex(bool wants, uint32_t* next) {
  const unsigned wanting = __ballot_sync(kAllLanes, wants);
  const unsigned lane = threadIdx.x % 32;
  uint32_t base = 0;
  if (lane == 0 && wanting != 0) base = atomicAdd(next, static_cast<uint32_t>(__popc(wanting)));
  base = __shfl_sync(kAllLanes, base, 0);
  return base + static_cast<uint32_t>(__popc(wanting & ((1u << lane) - 1)));
}

template <typename Diagonal>
__device__ __forceinline__ void SearchSeeds(const Seed* seeds, uint32_t count, uint32_t* next, SearchShape shape,
                                            unsigned long long* counts) {
  extern __shared__ uint32_t stacks[];  // [level][thread]
  uint32_t* const stack = stacks + threadIdx.x;
  UndoLane<Diagonal, uint32_t> lane;
  uint32_t slot = 0;
  bool busy = false;
  bool dry = false;
  while (true) {
    const uint32_t index = FetchIndex(!busy && !dry, next);
    if (!busy && !dry) {
      if (index < count) {
        const Seed seed = seeds[index];
        slot = seed.slot;
        lane.Start(shape, seed);
        busy = true;
      } else {
        dry = true;
      }
    }
    if (!__any_sync(kAllLanes, busy)) return;
    if (busy) {
      bool more = true;
      // Once done, a lane's further steps change nothing.
      for (int i = 0; i < kBurst; ++i) more = lane.Step(shape, stack, kThreadsPerBlock);
      if (!more) {
        if (lane.solutions() != 0) atomicAdd(&counts[2 * slot], lane.solutions());
        atomicAdd(&counts[2 * slot + 1], lane.nodes());
        busy = false;
      }
    }
  }
}

}  // namespace potluck::nqueens

// counts[2 * slot] gathers solutions, counts[2 * slot + 1] nodes. `*next` starts at 0. Blocks have kThreadsPerBlock
// threads and StackWords(rows) words of shared memory a thread.
extern "C" __global__ void __launch_bounds__(potluck::nqueens::kThreadsPerBlock)
    potluck_nqueens_search_32(const potluck::nqueens::Seed* seeds, uint32_t count, uint32_t* next,
                              potluck::nqueens::SearchShape shape, unsigned long long* counts) {
  potluck::nqueens::SearchSeeds<uint32_t>(seeds, count, next, shape, counts);
}

extern "C" __global__ void __launch_bounds__(potluck::nqueens::kThreadsPerBlock)
    potluck_nqueens_search_64(const potluck::nqueens::Seed* seeds, uint32_t count, uint32_t* next,
                              potluck::nqueens::SearchShape shape, unsigned long long* counts) {
  potluck::nqueens::SearchSeeds<unsigned long long>(seeds, count, next, shape, counts);
}

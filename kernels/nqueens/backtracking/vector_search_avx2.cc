#include "kernels/cpu/lanes_avx2.h"
#include "kernels/nqueens/backtracking/level_search.h"

namespace potluck::nqueens {
namespace {

struct Avx2Isa {
  using Narrow = Avx2Lanes16;
  using Wide = Avx2Lanes32;
  using WideToNarrowPacker = Avx2Packer32To16;
  static constexpr int kMaxWindowedColumns = 19;
};

}  // namespace

const VectorPath kAvx2Path{"avx2", sizeof(Workspace<Avx2Isa>), LevelSearch<Avx2Isa>::Search};

}  // namespace potluck::nqueens

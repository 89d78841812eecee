#include "kernels/cpu/lanes_avx512.h"
#include "kernels/nqueens/backtracking/level_search.h"

namespace potluck::nqueens {
namespace {

struct Avx512Isa {
  using Narrow = Avx512Lanes32;
  using Wide = Avx512Lanes32;
};

}  // namespace

const VectorPath kAvx512Path{"avx512", sizeof(Workspace<Avx512Isa>), LevelSearch<Avx512Isa>::Search};

}  // namespace potluck::nqueens

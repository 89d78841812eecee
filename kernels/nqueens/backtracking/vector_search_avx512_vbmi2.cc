#include "kernels/cpu/lanes_avx512.h"
#include "kernels/nqueens/backtracking/level_search.h"

namespace potluck::nqueens {
namespace {

struct Avx512Vbmi2Isa {
  using Narrow = Avx512Lanes16;
  using Wide = Avx512Lanes32;
  using WideToNarrowPacker = Avx512Packer32To16;
  static constexpr int kMaxWindowedColumns = 21;
};

}  // namespace

const VectorPath kAvx512Vbmi2Path{"avx512_vbmi2", sizeof(Workspace<Avx512Vbmi2Isa>),
                                  LevelSearch<Avx512Vbmi2Isa>::Search};

}  // namespace potluck::nqueens

#include "kernels/nqueens/backtracking/broken_paths.h"

#include "kernels/cpu/lanes_avx2.h"
#include "kernels/nqueens/backtracking/level_search.h"

namespace potluck::nqueens {
namespace {

struct Isa {
  using Narrow = Avx2Lanes16;
  using Wide = Avx2Lanes32;
  using WideToNarrowPacker = Avx2Packer32To16;
  static constexpr int kMaxWindowedColumns = 24;
};

template <Broken kBroken>
constexpr VectorPath Path(const char* name) {
  return {name, sizeof(Workspace<Isa>), LevelSearch<Isa, kBroken>::Search};
}

}  // namespace

const VectorPath kBrokenPaths[5] = {
    Path<Broken::kLeftDiagonal>("left diagonal"),      Path<Broken::kRightDiagonal>("right diagonal"),
    Path<Broken::kNeighbours>("neighbours"),           Path<Broken::kTwoFreeColumns>("two free columns"),
    Path<Broken::kWindow>("attacks below the window"),
};
const VectorPath kUnbrokenPath = Path<Broken::kNothing>("nothing");

}  // namespace potluck::nqueens

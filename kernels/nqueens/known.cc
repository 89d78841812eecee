#include "kernels/nqueens/known.h"

#include <array>
#include <cstddef>

namespace potluck::nqueens {
namespace {

constexpr std::array<uint64_t, 27> kSolutions = {1,
                                                 0,
                                                 0,
                                                 2,
                                                 10,
                                                 4,
                                                 40,
                                                 92,
                                                 352,
                                                 724,
                                                 2680,
                                                 14200,
                                                 73712,
                                                 365596,
                                                 2279184,
                                                 14772512,
                                                 95815104,
                                                 666090624,
                                                 4968057848,
                                                 39029188884,
                                                 314666222712,
                                                 2691008701644,
                                                 24233937684440,
                                                 227514171973736,
                                                 2207893435808352,
                                                 22317699616364044,
                                                 234907967154122528};

constexpr std::array<uint64_t, 18> kUpToSymmetry = {1,  0,   0,    1,    2,     1,      6,       12,       46,
                                                    92, 341, 1787, 9233, 45752, 285053, 1846955, 11977939, 83263591};

template <size_t kSize>
std::optional<Count128> At(const std::array<uint64_t, kSize>& values, int n) {
  if (n < 1 || n > static_cast<int>(kSize)) return std::nullopt;
  return Count128(values[static_cast<size_t>(n) - 1]);
}

}  // namespace

std::optional<Count128> KnownSolutions(int n) { return At(kSolutions, n); }
std::optional<Count128> KnownUpToSymmetry(int n) { return At(kUpToSymmetry, n); }

std::optional<Count128> KnownNodes(int n) {
  switch (n) {
    case 8:
      return Count128(2056);
    case 12:
      return Count128(856188);
    case 13:
      return Count128(4674889);
    case 14:
      return Count128(27358552);
    case 15:
      return Count128(171129071);
    case 16:
      return Count128(1141190302);
    case 17:
      return Count128(8017021931);
    default:
      return std::nullopt;
  }
}

}  // namespace potluck::nqueens

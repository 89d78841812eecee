// What the N-Queens kernel and its launcher agree on. Included by device code: no standard headers here.
#pragma once

namespace potluck::nqueens {

constexpr int kThreadsPerBlock = 256;
// Open rows of a seed, at most: some 10^4 placements, so that the lanes of a launch end close together; and at 10 words
// of stack a thread an SM holds all the threads it can.
constexpr int kGpuMaxRows = 12;

}  // namespace potluck::nqueens

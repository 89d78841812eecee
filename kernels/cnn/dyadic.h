// Sums whose bits do not depend on who computed what: over canonical dyadic blocks, added only sibling to sibling.
//
// A block of an index space [0, size) is [k 2^j, min((k + 1) 2^j, size)). Two siblings make their parent, so that any
// set of blocks that covers [0, size) once is added in one fixed binary tree, whatever order they come in. Pure
// functions and a plain class; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "kernels/workload/interval.h"
#include "kernels/workload/planner.h"

namespace potluck::cnn {

bool IsDyadicBlock(Interval interval, uint64_t size);
// The fewest blocks that make up `interval`, ascending. `interval` must lie within [0, size).
std::vector<Interval> DyadicBlocks(Interval interval, uint64_t size);
// What has to be added to `block` to get its parent. `block` must be one, and not all of [0, size).
Interval DyadicSibling(Interval block, uint64_t size);

// Adds up results (results.h) of `floats` floats and a tally each. Adding is in place: held are the blocks whose
// siblings have not come yet, and the one that is being added.
class DyadicSum {
 public:
  DyadicSum(uint64_t size, uint64_t floats) : size_(size), floats_(floats) {}

  // `block` must be one, and disjoint from what was added.
  void Add(Interval block, std::string result);
  // Indices added so far.
  uint64_t added() const { return added_; }
  bool complete() const { return added_ == size_; }
  // The sum of all; only when complete. Leaves the sum empty.
  std::string TakeTotal();
  // The sums of the largest blocks that could be made, ascending. Leaves the sum empty.
  std::vector<Part> TakeBlocks();

 private:
  uint64_t size_;
  uint64_t floats_;
  uint64_t added_ = 0;
  std::map<uint64_t, Part> blocks_;  // By begin.
};

}  // namespace potluck::cnn

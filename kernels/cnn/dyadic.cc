#include "kernels/cnn/dyadic.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "kernels/cnn/results.h"

namespace potluck::cnn {
namespace {

// The largest power of two that divides `begin`; for 0, one that no block exceeds.
uint64_t Alignment(uint64_t begin) { return begin == 0 ? uint64_t{1} << 63 : uint64_t{1} << std::countr_zero(begin); }

}  // namespace

bool IsDyadicBlock(Interval interval, uint64_t size) {
  if (interval.empty() || interval.end > size || interval.size() > Alignment(interval.begin)) return false;
  return interval.end == size || std::has_single_bit(interval.size());
}

std::vector<Interval> DyadicBlocks(Interval interval, uint64_t size) {
  std::vector<Interval> blocks;
  for (uint64_t begin = interval.begin; begin < interval.end;) {
    const uint64_t rest = interval.end - begin, alignment = Alignment(begin);
    // At the end of the index space a block may be cut short.
    const uint64_t length =
        rest <= alignment && interval.end == size ? rest : std::min(alignment, std::bit_floor(rest));
    blocks.push_back({begin, begin + length});
    begin += length;
  }
  return blocks;
}

Interval DyadicSibling(Interval block, uint64_t size) {
  // A block that ends the index space is its own parent for as long as there is nothing to its right.
  const uint64_t length = block.end == size ? Alignment(block.begin) : block.size();
  if (block.end != size && block.begin / length % 2 == 0) return {block.end, std::min(block.end + length, size)};
  return {block.begin - length, block.begin};
}

void DyadicSum::Add(Interval block, std::string result) {
  added_ += block.size();
  Part part{block, std::move(result)};
  while (part.interval.size() != size_) {
    const Interval sibling = DyadicSibling(part.interval, size_);
    const auto it = blocks_.find(sibling.begin);
    if (it == blocks_.end() || it->second.interval != sibling) break;
    AddResult(part.payload, it->second.payload, floats_);
    part.interval = {std::min(sibling.begin, part.interval.begin), std::max(sibling.end, part.interval.end)};
    blocks_.erase(it);
  }
  blocks_.emplace(part.interval.begin, std::move(part));
}

std::string DyadicSum::TakeTotal() {
  std::string total = std::move(blocks_.begin()->second.payload);
  blocks_.clear();
  added_ = 0;
  return total;
}

std::vector<Part> DyadicSum::TakeBlocks() {
  std::vector<Part> parts;
  for (auto& [begin, part] : blocks_) parts.push_back(std::move(part));
  blocks_.clear();
  added_ = 0;
  return parts;
}

}  // namespace potluck::cnn

#include "kernels/nqueens/backtracking/prefix.h"

#include <algorithm>
#include <bit>

namespace potluck::nqueens {
namespace {

constexpr uint32_t LowestBit(uint32_t mask) { return mask & (0u - mask); }

}  // namespace

int DefaultDepth(int n) {
  if (n <= 3) return 1;
  if (n <= 6) return 2;
  if (n <= 8) return 3;
  if (n <= 13) return 4;
  if (n <= 17) return 5;
  return 6;
}

int MaxPrefixDepth(int n) { return std::min(n <= 3 ? 1 : n, 6); }

PrefixTable::PrefixTable(int n, int depth) : n_(n), depth_(depth), stem_depth_(std::max(0, depth - 2)) {
  AddStems(0, Prefix{});
}

uint32_t PrefixTable::Branches(int row, const Prefix& prefix) const {
  const uint32_t free = prefix.Free(FullMask(n_));
  const uint32_t left_half = (uint32_t{1} << (n_ / 2)) - 1;
  const uint32_t middle = n_ % 2 == 1 ? uint32_t{1} << (n_ / 2) : 0;
  if (row == 0) return free & (left_half | middle);
  if (row == 1 && prefix.columns == middle) return free & left_half;
  return free;
}

void PrefixTable::CountInterior(int row, const Prefix& prefix) {
  if (row == 0 || row >= depth_) return;
  const bool middle_alone = row == 1 && n_ % 2 == 1 && prefix.columns == uint32_t{1} << (n_ / 2);
  interior_.visited += 1;
  interior_.nodes += middle_alone ? 1 : 2;
}

void PrefixTable::AddStems(int row, const Prefix& prefix) {
  if (row == stem_depth_) {
    stems_.push_back({prefix, size_});
    const uint64_t below = CountBelow(row, prefix);
    if (below == 0) stems_.pop_back();
    size_ += below;
    return;
  }
  CountInterior(row, prefix);
  for (uint32_t rest = Branches(row, prefix); rest != 0; rest &= rest - 1) {
    AddStems(row + 1, prefix.With(LowestBit(rest)));
  }
}

uint64_t PrefixTable::CountBelow(int row, const Prefix& prefix) {
  CountInterior(row, prefix);
  uint32_t rest = Branches(row, prefix);
  if (row + 1 == depth_) return static_cast<uint64_t>(std::popcount(rest));
  uint64_t count = 0;
  for (; rest != 0; rest &= rest - 1) count += CountBelow(row + 1, prefix.With(LowestBit(rest)));
  return count;
}

size_t PrefixTable::StemOf(uint64_t rank) const {
  const auto after = std::upper_bound(stems_.begin(), stems_.end(), rank,
                                      [](uint64_t value, const Stem& stem) { return value < stem.first_rank; });
  return static_cast<size_t>(after - stems_.begin()) - 1;
}

void PrefixTable::AppendPrefixes(size_t stem, std::vector<Prefix>& prefixes) const {
  Append(stem_depth_, stems_[stem].prefix, prefixes);
}

void PrefixTable::Append(int row, const Prefix& prefix, std::vector<Prefix>& prefixes) const {
  if (row == depth_) {
    prefixes.push_back(prefix);
    return;
  }
  for (uint32_t rest = Branches(row, prefix); rest != 0; rest &= rest - 1) {
    Append(row + 1, prefix.With(LowestBit(rest)), prefixes);
  }
}

}  // namespace potluck::nqueens

#include "kernels/nqueens/backtracking/seed_stream.h"

#include <algorithm>

namespace potluck::nqueens {

SeedStream::SeedStream(const PrefixTable& table, int max_rows, Interval ranks, std::span<RankCounts> counts)
    : table_(table),
      full_(FullMask(table.n())),
      seed_depth_(SeedDepth(table, max_rows)),
      ranks_(ranks),
      counts_(counts),
      next_rank_(ranks.begin) {
  if (ranks.empty()) return;
  stem_ = table.StemOf(ranks.begin);
  table.AppendPrefixes(stem_, prefixes_);
}

int SeedStream::SeedDepth(const PrefixTable& table, int max_rows) {
  const int depth = std::max(table.depth(), table.n() - max_rows);
  return table.n() - depth < kMinRows ? table.n() : depth;
}

bool SeedStream::OpenRank() {
  if (next_rank_ >= ranks_.end) return false;
  if (next_rank_ - table_.stems()[stem_].first_rank >= prefixes_.size()) {
    prefixes_.clear();
    table_.AppendPrefixes(++stem_, prefixes_);
  }
  const Prefix& prefix = prefixes_[next_rank_ - table_.stems()[stem_].first_rank];
  slot_ = static_cast<uint32_t>(next_rank_ - ranks_.begin);
  counts_[slot_].nodes += 1;
  row_ = table_.depth();
  levels_[row_] = {prefix, prefix.Free(full_)};
  ++next_rank_;
  return true;
}

size_t SeedStream::Take(size_t limit, std::vector<Seed>& seeds) {
  size_t taken = 0;
  while (taken < limit) {
    if (row_ < 0 && !OpenRank()) break;
    Level& level = levels_[row_];
    if (row_ == seed_depth_) {
      if (row_ == table_.n()) {
        counts_[slot_].solutions += 1;
      } else if (level.rest != 0) {
        seeds.push_back({level.prefix.columns, level.prefix.left & full_, level.prefix.right, slot_});
        ++taken;
      }
      level.rest = 0;
    }
    if (level.rest == 0) {
      row_ = row_ == table_.depth() ? -1 : row_ - 1;
      continue;
    }
    const uint32_t bit = level.rest & (0u - level.rest);
    level.rest ^= bit;
    counts_[slot_].nodes += 1;
    ++row_;
    const Prefix prefix = level.prefix.With(bit);
    levels_[row_] = {prefix, prefix.Free(full_)};
  }
  return taken;
}

}  // namespace potluck::nqueens

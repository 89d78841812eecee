#include "kernels/nqueens/mitm/solver.h"

#include <algorithm>
#include <array>

namespace potluck::nqueens::mitm {
namespace {

// Words joined before they are binned: enough to make it worth while, few enough to stay in the first-level cache.
constexpr size_t kBufferWords = 1024;
constexpr size_t kFirstSlabBytes = size_t{1} << 20;

// A pool that keeps its memory when it is emptied.
class SlabPool : public ChunkPool {
 public:
  SlabPool() { grow = &Grow; }

  void Clear() {
    used_slabs_ = 0;
    next = limit = nullptr;
  }
  // Upper bound of what was put into it.
  size_t bytes() const {
    size_t bytes = 0;
    for (size_t i = 0; i < used_slabs_; ++i) bytes += slabs_[i].bytes;
    return bytes - static_cast<size_t>(limit - next);
  }

 private:
  struct Slab {
    std::unique_ptr<char[]> memory;
    char* begin;  // Aligned.
    size_t bytes;
  };

  static void Grow(ChunkPool* pool) { static_cast<SlabPool*>(pool)->AddSlab(); }
  void AddSlab() {
    if (used_slabs_ == slabs_.size()) {
      const size_t bytes = slabs_.empty() ? kFirstSlabBytes : 2 * slabs_.back().bytes;
      Slab slab{std::make_unique_for_overwrite<char[]>(bytes + kChunkBytes), nullptr, bytes};
      const size_t misaligned = reinterpret_cast<uintptr_t>(slab.memory.get()) % kChunkBytes;
      slab.begin = slab.memory.get() + (kChunkBytes - misaligned) % kChunkBytes;
      slabs_.push_back(std::move(slab));
    }
    next = slabs_[used_slabs_].begin;
    limit = next + slabs_[used_slabs_].bytes;
    ++used_slabs_;
  }

  std::vector<Slab> slabs_;
  size_t used_slabs_ = 0;
};

// Rank contributions of subsets of one row set, by their low and high bits.
class SplitRanks {
 public:
  SplitRanks(uint32_t rows, int outer_columns, int inner_columns) {
    const int count = outer_columns + inner_columns;
    std::array<int, 16> row{};
    for (int i = 0; i < count; ++i, rows &= rows - 1) row[static_cast<size_t>(i)] = std::countr_zero(rows);
    low_bits_ = (count + 1) / 2;
    const uint32_t low_all = (uint32_t{1} << low_bits_) - 1;
    const uint32_t high_all = (uint32_t{1} << (count - low_bits_)) - 1;
    // The lowest rows come first: the i-th of them adds C(row, i).
    outer_low_[0] = 0;
    for (uint32_t set = 1; set <= low_all; ++set) {
      const uint32_t top = std::bit_floor(set);
      outer_low_[set] =
          outer_low_[set ^ top] + Term(row[static_cast<size_t>(std::countr_zero(top))], std::popcount(set));
    }
    for (uint32_t set = 0; set <= low_all; ++set) inner_low_[set] = outer_low_[low_all ^ set];
    FillHigh(row, outer_columns, high_all, 0, outer_high_);
    FillHigh(row, inner_columns, high_all, high_all, inner_high_);
  }

  template <typename Word>
  void Give(JoinInput<Word>& input) const {
    input.low_bits = low_bits_;
    input.outer_low = outer_low_.data();
    input.outer_high = outer_high_.data();
    input.inner_low = inner_low_.data();
    input.inner_high = inner_high_.data();
  }

 private:
  static constexpr size_t kSets = 128;
  static_assert(kMaxN / 2 <= 14, "half of a row set has at most 7 rows");

  static uint32_t Term(int row, int position) {
    return position < 1 ? 0 : static_cast<uint32_t>(Binomial(row, std::min(position, 32)));
  }
  // The highest of `columns` rows adds C(row, columns), and so on downward. Entry `set ^ flip` is the set's.
  void FillHigh(const std::array<int, 16>& row, int columns, uint32_t all, uint32_t flip,
                std::array<uint32_t, kSets>& high) const {
    high[flip] = 0;
    for (uint32_t set = 1; set <= all; ++set) {
      const int lowest = std::countr_zero(set);
      high[set ^ flip] = high[(set & (set - 1)) ^ flip] +
                         Term(row[static_cast<size_t>(low_bits_ + lowest)], columns - std::popcount(set) + 1);
    }
  }

  int low_bits_;
  std::array<uint32_t, kSets> outer_low_;
  std::array<uint32_t, kSets> outer_high_;
  std::array<uint32_t, kSets> inner_low_;
  std::array<uint32_t, kSets> inner_high_;
};

}  // namespace

template <typename Word>
struct Solver<Word>::HalfBoards {
  Bins<Word> bins;
  SlabPool pool;
  std::vector<Word> table;  // Class 0, sorted; the first table_size words.
  size_t table_size = 0;
};

template <typename Word>
Solver<Word>::Solver(const Kernel<Word>& kernel)
    : kernel_(kernel),
      scratch_storage_(std::make_unique_for_overwrite<char[]>(kCountScratch + 64)),
      east_(std::make_unique<HalfBoards>()),
      west_(std::make_unique<HalfBoards>()) {
  const size_t misaligned = reinterpret_cast<uintptr_t>(scratch_storage_.get()) % 64;
  scratch_ = scratch_storage_.get() + (64 - misaligned) % 64;
}

template <typename Word>
Solver<Word>::~Solver() = default;

template <typename Word>
void Solver<Word>::Prepare(const Tables<Word>& tables) {
  const JoinTables<Word>& joins = tables.joins;
  const int rows = joins.outer_columns() + joins.inner_columns();
  if (rows != subset_rows_ || joins.outer_columns() != subset_columns_) {
    subset_rows_ = rows;
    subset_columns_ = joins.outer_columns();
    subsets_.clear();
    for (uint32_t set = (uint32_t{1} << subset_columns_) - 1; set >> rows == 0; set = NextSubset(set)) {
      subsets_.push_back(set);
    }
  }
  const size_t once = kMaxJoinBlocks * kBlockEntries<Word> * joins.longest_inner() + kJoinSlack;
  if (buffer_.size() < once + kBufferWords) buffer_.resize(once + kBufferWords);
  const size_t steps = subsets_.size() * ((joins.longest_outer() + kMaxJoinBlocks - 1) / kMaxJoinBlocks) + 1;
  if (steps_.size() < steps) steps_.resize(steps);
}

template <typename Word>
void Solver<Word>::Join(const Tables<Word>& tables, uint32_t rows, HalfBoards& boards) {
  const JoinTables<Word>& joins = tables.joins;
  const int prefix_bits = tables.layout.prefix_bits();
  const SplitRanks ranks(rows, joins.outer_columns(), joins.inner_columns());
  JoinInput<Word> input;
  input.outer = joins.outer();
  input.outer_begin = joins.outer_begin();
  input.inner = joins.inner();
  input.inner_begin = joins.inner_begin();
  input.subsets = subsets_.data();
  input.subset_count = subsets_.size();
  input.steps = steps_.data();
  ranks.Give(input);
  boards.pool.Clear();
  std::fill_n(boards.bins.end, size_t{4} << prefix_bits, nullptr);
  kernel_.join(input, prefix_bits, boards.bins, boards.pool, buffer_.data(), buffer_.size());
}

template <typename Word>
void Solver<Word>::SortTable(int prefix_bits, HalfBoards& boards) {
  const size_t most = boards.pool.bytes() / sizeof(Word);
  if (boards.table.size() < most) boards.table.resize(most);
  Word* out = boards.table.data();
  // In the order of a Gray code: neighbours differ in one bit, so that a block across them still has the others in
  // common.
  for (uint32_t i = 0; i < uint32_t{1} << prefix_bits; ++i) {
    const Word* end = boards.bins.end[4 * (i ^ i >> 1)];
    while (end != nullptr) {
      const char* const chunk =
          reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(end - 1) & ~uintptr_t{ChunkPool::kChunkBytes - 1});
      out = std::copy(reinterpret_cast<const Word*>(chunk) + Bins<Word>::kHeaderWords, end, out);
      end = *reinterpret_cast<Word* const*>(chunk);
    }
  }
  boards.table_size = static_cast<size_t>(out - boards.table.data());
}

template <typename Word>
std::optional<uint64_t> Solver<Word>::Cross(const Lookup& lookup, const HalfBoards& table, const HalfBoards& stream,
                                            const ClassWeights& weights, const std::function<bool()>& cancelled) {
  uint32_t class_mask = 0;
  for (size_t c = 0; c < weights.size(); ++c) class_mask |= weights[c] != 0 ? uint32_t{1} << c : 0;
  PairCounts counts{};
  const size_t blocks = (table.table_size + kLanes - 1) / kLanes;
  for (size_t block = 0; block < blocks; ++block) {
    if (cancelled()) return std::nullopt;
    // Blocks of equal size: a block costs the same however full it is, and a smaller one has more in common.
    const size_t begin = table.table_size * block / blocks;
    const size_t end = table.table_size * (block + 1) / blocks;
    kernel_.count(lookup, table.table.data() + begin, end - begin, stream.bins, class_mask, scratch_, counts);
  }
  uint64_t sum = 0;
  for (size_t c = 0; c < weights.size(); ++c) sum += weights[c] * counts.by_class[c];
  return sum;
}

template <typename Word>
std::optional<uint64_t> Solver<Word>::CountEven(const Tables<Word>& tables, const Subproblem& subproblem,
                                                const std::function<bool()>& cancelled) {
  const Defect defect = tables.half.defect();
  const int prefix_bits = tables.layout.prefix_bits();
  const uint32_t both = defect == Defect::kBothDiagonalsCountTwo ? 2 : 4;
  const bool own = subproblem.is_own_complement && defect != Defect::kOwnComplementCountsTwo;
  // East without long diagonals; and, unless that is the same, the other way round, where west's class 0 is done.
  SortTable(prefix_bits, *east_);
  std::optional<uint64_t> sum =
      Cross(tables.layout.TableLacksLastRow(), *east_, *west_, {own ? 1u : 2u, 2, 2, both}, cancelled);
  if (!sum || subproblem.is_own_complement) return sum;
  SortTable(prefix_bits, *west_);
  const std::optional<uint64_t> other =
      Cross(tables.layout.TableHasLastRow(), *west_, *east_, {0, 2, 2, both}, cancelled);
  if (!other) return std::nullopt;
  return *sum + *other;
}

template <typename Word>
std::optional<uint64_t> Solver<Word>::CountOdd(const Tables<Word>& tables, const Subproblem& subproblem,
                                               const std::function<bool()>& cancelled) {
  const int half = tables.half.columns();
  const bool centre = subproblem.middle_row == half;
  // The half with the middle row has the shorter list, as cells of that row are closed.
  const bool east_streams = (subproblem.east >> half & 1) != 0;
  HalfBoards& table = east_streams ? *west_ : *east_;
  const HalfBoards& stream = east_streams ? *east_ : *west_;
  SortTable(tables.layout.prefix_bits(), table);
  const bool twice = !centre && tables.half.defect() != Defect::kTransposedIsNotCounted;
  return Cross(east_streams ? tables.layout.TableLacksLastRow() : tables.layout.TableHasLastRow(), table, stream,
               {twice ? 2u : 1u, 0, 0, 0}, cancelled);
}

template <typename Word>
std::optional<uint64_t> Solver<Word>::Count(const Tables<Word>& tables, const Subproblem& subproblem,
                                            const std::function<bool()>& cancelled) {
  if (!subproblem.counted()) return 0;
  Prepare(tables);
  Join(tables, subproblem.east, *east_);
  Join(tables, subproblem.west, *west_);
  const std::optional<uint64_t> pairs =
      tables.half.odd() ? CountOdd(tables, subproblem, cancelled) : CountEven(tables, subproblem, cancelled);
  if (!pairs) return std::nullopt;
  const bool always_two = tables.half.defect() == Defect::kMirrorWeightAlwaysTwo;
  return *pairs * static_cast<uint64_t>(always_two ? std::max(subproblem.mirror_weight, 2) : subproblem.mirror_weight);
}

template class Solver<uint32_t>;
template class Solver<uint64_t>;

}  // namespace potluck::nqueens::mitm

// The two hot loops of meeting in the middle, once for every instruction set: joining half boards, and counting the
// pairs that fit.
//
// Everything here is plain data and pointers: the files that implement it are compiled for wider instruction sets than
// the rest of the program, so they must not instantiate anything that others share. The implementation is one text
// (kernel_impl.h) over a small set of vector operations; intrinsics behind one header rather than a library, because
// compressing stores, tests into masks and three-input logic are what it is all about, and those it needs exactly.
//
// A kernel's functions are thread-safe as long as no two threads share the structures that they write to.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/dispatch.h"
#include "kernels/nqueens/mitm/layout.h"

namespace potluck::nqueens::mitm {

// Memory in chunks that does not move. `grow` gives the pool another stretch of at least one chunk; it is called when
// next == limit, and sets both.
struct ChunkPool {
  static constexpr size_t kChunkBytes = 2048;  // Chunks are aligned to it.
  char* next = nullptr;
  char* limit = nullptr;
  void (*grow)(ChunkPool* pool) = nullptr;
};

// Half boards of one row set, binned by prefix and class: bin 4 * prefix + class. A bin is a chain of chunks, newest
// first; `end` is where its next word goes, nullptr for an empty bin, and a chunk begins with the `end` of the one
// before it. All but the newest chunk of a bin are full.
template <typename Word>
struct Bins {
  static constexpr int kMaxBins = 4 << kMaxPrefixBits;
  static constexpr size_t kHeaderWords = 8 / sizeof(Word);
  Word* end[kMaxBins];
};

// Some outer blocks to be joined with an inner list.
struct JoinStep {
  uint32_t outer_block;
  uint32_t inner_entry;
  uint16_t blocks;
  uint16_t inner_entries;
};

// What is joined to get the half boards of one row set R.
template <typename Word>
struct JoinInput {
  const Word* outer;  // JoinTables.
  const uint32_t* outer_begin;
  const Word* inner;
  const uint32_t* inner_begin;
  // Which rows of R are outer ones: bit i stands for R's i-th row. Ranks are sums over the low and the high bits.
  const uint32_t* subsets;
  size_t subset_count;
  int low_bits;
  const uint32_t* outer_low;  // Rank contributions by value of the low, and of the high, bits of a subset.
  const uint32_t* outer_high;
  const uint32_t* inner_low;
  const uint32_t* inner_high;
  // Scratch memory for as many steps as all subsets can make, one for each kMaxJoinBlocks blocks begun, and one more.
  JoinStep* steps;
};

// Sums by class of the stream's half boards.
struct PairCounts {
  uint64_t by_class[4];
};

inline constexpr uint32_t kMaxJoinBlocks = 8;  // That one step joins.
inline constexpr size_t kJoinSlack = 64;       // Words that Join may write beyond what it joined.
inline constexpr size_t kLanes = 512;          // Table words that one step of counting covers.
// Bytes of scratch memory that Count needs, aligned to 64.
inline constexpr size_t kCountScratch = 64 * (64 + (size_t{1} << kMaxPrefixBits) + kMaxChunks * (1 << kMaxChunkBits));

template <typename Word>
struct Kernel {
  // Joins, and bins what fits. `buffer` has room for `buffer_words`: at least kMaxJoinBlocks blocks' entries times
  // the longest inner list, and kJoinSlack.
  void (*join)(const JoinInput<Word>& input, int prefix_bits, Bins<Word>& bins, ChunkPool& pool, Word* buffer,
               size_t buffer_words);
  // Adds the pairs that fit: `table` are up to kLanes words of one half (sorted so that they have many prefix bits in
  // common), `stream` the bins of the other, of which only the classes in `class_mask` are counted.
  void (*count)(const Lookup& lookup, const Word* table, size_t table_size, const Bins<Word>& stream,
                uint32_t class_mask, char* scratch, PairCounts& counts);
};

// `vector_popcount` false: AVX-512 without VPOPCNTDQ.
template <typename Word>
const Kernel<Word>& GetKernel(Dispatch dispatch, bool vector_popcount);

}  // namespace potluck::nqueens::mitm

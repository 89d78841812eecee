// The text of kernel.h's functions over the vector operations `Simd`, which the including file defines in its anonymous
// namespace, together with this text. Included once by each kernel_*.cc.
//
// Simd has
//   V                            512 bits: one register, two, or eight words
//   Load, Store, Zero, Ones, And, AndNot (~a & b), Xor, Left32/Right32/Left64/Right64 (V, int)
//   Counter                      sums of set bits: Add(V) at most kBatch times, then Flush(); Total() after a Flush()
//   Joiner<Word, kBlocks>        outer blocks held in registers: Join(conflict, result, out) -> new out

// How many steps ahead lists are fetched.
constexpr size_t kPrefetchSteps = 2;

template <typename Word>
inline Word* NewChunk(ChunkPool& pool, Word* end) {
  if (pool.next == pool.limit) pool.grow(&pool);
  char* const chunk = pool.next;
  pool.next += ChunkPool::kChunkBytes;
  *reinterpret_cast<Word**>(chunk) = end;
  return reinterpret_cast<Word*>(chunk) + Bins<Word>::kHeaderWords;
}

template <typename Word>
inline void Scatter(const Word* from, const Word* to, int prefix_bits, Bins<Word>& bins, ChunkPool& pool) {
  const Word mask = (Word{4} << prefix_bits) - 1;
  for (; from != to; ++from) {
    const Word word = *from;
    // The class moves below the prefix.
    const Word bin = ((word << 2) | (word >> (sizeof(Word) * 8 - 2))) & mask;
    Word* end = bins.end[bin];
    if (reinterpret_cast<uintptr_t>(end) % ChunkPool::kChunkBytes == 0) end = NewChunk(pool, end);
    *end = word;
    bins.end[bin] = end + 1;
  }
}

template <int kBlocks, typename Word>
inline Word* JoinBlocks(const Word* outer, const Word* inner, const Word* inner_end, Word* out) {
  const Simd::Joiner<Word, kBlocks> joiner(outer);
  for (; inner != inner_end; inner += 2) out = joiner.Join(inner[0], inner[1], out);
  return out;
}

// Lists what the subsets join, in input.steps; returns the end of it. Apart from the joining, whose loops end where no
// processor predicts it, so that this runs ahead undisturbed.
template <typename Word>
JoinStep* ListSteps(const JoinInput<Word>& input) {
  const uint32_t low_mask = (uint32_t{1} << input.low_bits) - 1;
  JoinStep* step = input.steps;
  for (size_t i = 0; i < input.subset_count; ++i) {
    const uint32_t low = input.subsets[i] & low_mask;
    const uint32_t high = input.subsets[i] >> input.low_bits;
    const uint32_t outer = input.outer_low[low] + input.outer_high[high];
    const uint32_t inner = input.inner_low[low] + input.inner_high[high];
    uint32_t block = input.outer_begin[outer];
    const uint32_t block_end = input.outer_begin[outer + 1];
    const uint32_t entry = input.inner_begin[inner];
    const uint32_t entries = input.inner_begin[inner + 1] - entry;
    while (block_end - block > kMaxJoinBlocks) {
      *step = {block, entry, kMaxJoinBlocks, static_cast<uint16_t>(entries)};
      step += entries != 0;
      block += kMaxJoinBlocks;
    }
    // What has nothing to join is overwritten by the next.
    *step = {block, entry, static_cast<uint16_t>(block_end - block), static_cast<uint16_t>(entries)};
    step += block != block_end && entries != 0;
  }
  return step;
}

template <typename Word>
void Join(const JoinInput<Word>& input, int prefix_bits, Bins<Word>& bins, ChunkPool& pool, Word* buffer,
          size_t buffer_words) {
  constexpr size_t kBlockWords = 128 / sizeof(Word);
  const JoinStep* const steps = input.steps;
  const auto step_count = static_cast<size_t>(ListSteps(input) - steps);
  Word* out = buffer;
  for (size_t i = 0; i < step_count; ++i) {
    const JoinStep step = steps[i];
    const JoinStep& ahead = steps[i + kPrefetchSteps < step_count ? i + kPrefetchSteps : i];
    const char* const ahead_outer = reinterpret_cast<const char*>(input.outer + ahead.outer_block * kBlockWords);
    const char* const ahead_inner = reinterpret_cast<const char*>(input.inner + size_t{2} * ahead.inner_entry);
    for (int line = 0; line < 8; ++line) __builtin_prefetch(ahead_outer + 64 * line);
    for (int line = 0; line < 2; ++line) __builtin_prefetch(ahead_inner + 64 * line);
    const size_t most = size_t{step.blocks} * (kBlockWords / 2) * step.inner_entries + kJoinSlack;
    if (static_cast<size_t>(out - buffer) + most > buffer_words) {
      Scatter(buffer, out, prefix_bits, bins, pool);
      out = buffer;
    }
    const Word* const outer = input.outer + step.outer_block * kBlockWords;
    const Word* const inner = input.inner + size_t{2} * step.inner_entry;
    const Word* const inner_end = inner + size_t{2} * step.inner_entries;
    switch (step.blocks) {
      case 1:
        out = JoinBlocks<1>(outer, inner, inner_end, out);
        break;
      case 2:
        out = JoinBlocks<2>(outer, inner, inner_end, out);
        break;
      case 3:
        out = JoinBlocks<3>(outer, inner, inner_end, out);
        break;
      case 4:
        out = JoinBlocks<4>(outer, inner, inner_end, out);
        break;
      case 5:
        out = JoinBlocks<5>(outer, inner, inner_end, out);
        break;
      case 6:
        out = JoinBlocks<6>(outer, inner, inner_end, out);
        break;
      case 7:
        out = JoinBlocks<7>(outer, inner, inner_end, out);
        break;
      default:
        out = JoinBlocks<8>(outer, inner, inner_end, out);
        break;
    }
  }
  Scatter(buffer, out, prefix_bits, bins, pool);
}

// The transposed table words: rows[b] has bit b of every word, one lane each. Which lane is a word's does not matter.
struct Rows {
  Simd::V row[64];
};

// Transposes 32x32 bits in each 32-bit lane position of the first 32 rows (Hacker's Delight, 7-3).
inline void Transpose32(Rows& rows) {
  uint32_t mask = 0x0000ffff;
  for (int step = 16; step != 0; step >>= 1, mask ^= mask << step) {
    const Simd::V select = Simd::Fill32(mask);
    for (int k = 0; k < 32; k = ((k | step) + 1) & ~step) {
      const Simd::V low = rows.row[k];
      const Simd::V high = rows.row[k | step];
      const Simd::V swap = Simd::And(Simd::Xor(Simd::Right32(low, step), high), select);
      rows.row[k | step] = Simd::Xor(high, swap);
      rows.row[k] = Simd::Xor(low, Simd::Left32(swap, step));
    }
  }
}

inline void Transpose64(Rows& rows) {
  uint64_t mask = 0x00000000ffffffff;
  for (int step = 32; step != 0; step >>= 1, mask ^= mask << step) {
    const Simd::V select = Simd::Fill64(mask);
    for (int k = 0; k < 64; k = ((k | step) + 1) & ~step) {
      const Simd::V low = rows.row[k];
      const Simd::V high = rows.row[k | step];
      const Simd::V swap = Simd::And(Simd::Xor(Simd::Right64(low, step), high), select);
      rows.row[k | step] = Simd::Xor(high, swap);
      rows.row[k] = Simd::Xor(low, Simd::Left64(swap, step));
    }
  }
}

// Loads and transposes; returns which lanes hold a word. `Cell` is what a word is cut to: its upper half holds nothing
// that is looked up when all used bits are in the lower one.
template <typename Cell, typename Word>
Simd::V LoadTable(const Word* table, size_t size, Rows& rows) {
  constexpr size_t kAcross = 64 / sizeof(Cell);
  constexpr size_t kDown = sizeof(Cell) * 8;
  alignas(64) Cell cells[kLanes];
  for (size_t i = 0; i < size; ++i) cells[i] = static_cast<Cell>(table[i]);
  for (size_t i = size; i < kLanes; ++i) cells[i] = 0;
  for (size_t i = 0; i < kDown; ++i) rows.row[i] = Simd::Load(cells + i * kAcross);
  if constexpr (sizeof(Cell) == 4) {
    Transpose32(rows);
  } else {
    Transpose64(rows);
  }
  // Word i is in cell i % kAcross, bit i / kAcross.
  alignas(64) Cell valid[kAcross];
  for (size_t i = 0; i < kAcross; ++i) {
    const size_t words = size > i ? (size - i + kAcross - 1) / kAcross : 0;
    valid[i] = words == 0 ? 0 : static_cast<Cell>(~Cell{0} >> (kDown - words));
  }
  return Simd::Load(valid);
}

// out[v] = `start` without the lanes that have one of the bits of v, counted from `first_bit` of the stream's words.
inline void BuildTable(const Rows& rows, const Lookup& lookup, int first_bit, int bits, Simd::V start, Simd::V* out) {
  out[0] = start;
  for (int bit = 0; bit < bits; ++bit) {
    const Simd::V row = rows.row[lookup.partner[first_bit + bit]];
    const int size = 1 << bit;
    for (int i = 0; i < size; ++i) out[size + i] = Simd::AndNot(row, out[i]);
  }
}

constexpr size_t kTableEntries = size_t{1} << kMaxChunkBits;

// Byte offsets into the chunk tables: shift, then mask, of a word shifted left by 6 (an entry has 64 bytes).
struct Offsets {
  int shift[kMaxChunks];
  uint64_t mask[kMaxChunks];
};

template <int kChunks, typename Word>
inline void CountRun(const Word* from, const Word* to, Simd::V base, const Offsets& offsets, const char* tables,
                     Simd::Counter& counter) {
  while (from != to) {
    const Word* const stop = static_cast<size_t>(to - from) > Simd::Counter::kBatch ? from + Simd::Counter::kBatch : to;
    for (; from != stop; ++from) {
      const uint64_t word = static_cast<uint64_t>(*from) << 6;
      counter.Add(Simd::template AndAll<kChunks>(base, [&](int chunk) {
        return tables + static_cast<size_t>(chunk) * kTableEntries * 64 +
               ((word >> offsets.shift[chunk]) & offsets.mask[chunk]);
      }));
    }
    counter.Flush();
  }
}

template <int kChunks, typename Word>
void CountStream(const Lookup& lookup, const Bins<Word>& stream, uint32_t class_mask, uint32_t common,
                 const Simd::V* bases, const char* tables, PairCounts& counts) {
  Offsets offsets;
  for (int chunk = 0; chunk < kChunks; ++chunk) {
    offsets.shift[chunk] = lookup.start[chunk];
    offsets.mask[chunk] = ((uint64_t{1} << lookup.width[chunk]) - 1) << 6;
  }
  const uint32_t prefixes = uint32_t{1} << lookup.prefix_bits;
  for (uint32_t c = 0; c < 4; ++c) {
    if ((class_mask >> c & 1) == 0) continue;
    Simd::Counter counter;
    for (uint32_t prefix = 0; prefix < prefixes; ++prefix) {
      if ((prefix & common) != 0) continue;
      const Word* end = stream.end[4 * prefix + c];
      while (end != nullptr) {
        const char* const chunk = reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(end - 1) &
                                                                ~uintptr_t{ChunkPool::kChunkBytes - 1});
        CountRun<kChunks>(reinterpret_cast<const Word*>(chunk) + Bins<Word>::kHeaderWords, end, bases[prefix], offsets,
                          tables, counter);
        end = *reinterpret_cast<Word* const*>(chunk);
      }
    }
    counts.by_class[c] += counter.Total();
  }
}

template <typename Word>
void Count(const Lookup& lookup, const Word* table, size_t table_size, const Bins<Word>& stream, uint32_t class_mask,
           char* scratch, PairCounts& counts) {
  if (table_size == 0) return;
  Rows& rows = *reinterpret_cast<Rows*>(scratch);
  Simd::V* const bases = reinterpret_cast<Simd::V*>(scratch + sizeof(Rows));
  Simd::V* const tables = bases + (size_t{1} << kMaxPrefixBits);
  const Simd::V valid =
      lookup.used_bits <= 32 ? LoadTable<uint32_t>(table, table_size, rows) : LoadTable<Word>(table, table_size, rows);
  BuildTable(rows, lookup, 0, lookup.prefix_bits, valid, bases);
  for (int chunk = 0; chunk < lookup.chunks; ++chunk) {
    BuildTable(rows, lookup, lookup.start[chunk], lookup.width[chunk], Simd::Ones(),
               tables + static_cast<size_t>(chunk) * kTableEntries);
  }
  // Prefix bits that all words of the table have: streamed words with one of their partners fit none.
  uint32_t common = 0;
  const Word all_prefix = (Word{1} << lookup.prefix_bits) - 1;
  Word shared = all_prefix;
  for (size_t i = 0; i < table_size; ++i) shared &= table[i];
  for (int bit = 0; bit < lookup.prefix_bits; ++bit) {
    if ((shared >> lookup.partner[bit] & 1) != 0) common |= uint32_t{1} << bit;
  }
  const char* const bytes = reinterpret_cast<const char*>(tables);
  switch (lookup.chunks) {
    case 1:
      return CountStream<1>(lookup, stream, class_mask, common, bases, bytes, counts);
    case 2:
      return CountStream<2>(lookup, stream, class_mask, common, bases, bytes, counts);
    case 3:
      return CountStream<3>(lookup, stream, class_mask, common, bases, bytes, counts);
    case 4:
      return CountStream<4>(lookup, stream, class_mask, common, bases, bytes, counts);
    case 5:
      return CountStream<5>(lookup, stream, class_mask, common, bases, bytes, counts);
    case 6:
      return CountStream<6>(lookup, stream, class_mask, common, bases, bytes, counts);
    default:
      return CountStream<7>(lookup, stream, class_mask, common, bases, bytes, counts);
  }
}

constexpr Kernel<uint32_t> kKernel32 = {&Join<uint32_t>, &Count<uint32_t>};
constexpr Kernel<uint64_t> kKernel64 = {&Join<uint64_t>, &Count<uint64_t>};

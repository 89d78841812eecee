// AVX2 and BMI2 (Haswell, Zen and later): two registers for a row of 512 lanes, and compressing by permutation tables.
#include <immintrin.h>

#include <cstdint>

#include "kernels/nqueens/mitm/kernel_variants.h"

namespace potluck::nqueens::mitm {
namespace {

// For each mask of eight 32-bit lanes, the permutation that brings the selected ones to the front.
struct Permutations {
  alignas(32) uint32_t lanes[256][8];
};

constexpr Permutations MakePermutations() {
  Permutations permutations{};
  for (uint32_t mask = 0; mask < 256; ++mask) {
    uint32_t next = 0;
    for (uint32_t lane = 0; lane < 8; ++lane) {
      if ((mask >> lane & 1) != 0) permutations.lanes[mask][next++] = lane;
    }
  }
  return permutations;
}

constexpr Permutations kPermutations = MakePermutations();

// The same for four 64-bit lanes.
constexpr Permutations MakeWidePermutations() {
  Permutations permutations{};
  for (uint32_t mask = 0; mask < 16; ++mask) {
    uint32_t next = 0;
    for (uint32_t lane = 0; lane < 4; ++lane) {
      if ((mask >> lane & 1) == 0) continue;
      permutations.lanes[mask][next++] = 2 * lane;
      permutations.lanes[mask][next++] = 2 * lane + 1;
    }
  }
  return permutations;
}

constexpr Permutations kWidePermutations = MakeWidePermutations();

struct Simd {
  using Half = __m256i;
  struct V {
    Half low, high;
  };

  static Half LoadHalf(const void* from) { return _mm256_loadu_si256(static_cast<const Half*>(from)); }
  static V Load(const void* from) { return {LoadHalf(from), LoadHalf(static_cast<const char*>(from) + 32)}; }
  static V Both(Half half) { return {half, half}; }
  static V Fill32(uint32_t word) { return Both(_mm256_set1_epi32(static_cast<int>(word))); }
  static V Fill64(uint64_t word) { return Both(_mm256_set1_epi64x(static_cast<long long>(word))); }
  static V Ones() { return Both(_mm256_set1_epi64x(-1)); }
  static V And(V a, V b) { return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)}; }
  static V AndNot(V a, V b) { return {_mm256_andnot_si256(a.low, b.low), _mm256_andnot_si256(a.high, b.high)}; }
  static V Xor(V a, V b) { return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)}; }
  static V Left32(V a, int bits) { return {_mm256_slli_epi32(a.low, bits), _mm256_slli_epi32(a.high, bits)}; }
  static V Right32(V a, int bits) { return {_mm256_srli_epi32(a.low, bits), _mm256_srli_epi32(a.high, bits)}; }
  static V Left64(V a, int bits) { return {_mm256_slli_epi64(a.low, bits), _mm256_slli_epi64(a.high, bits)}; }
  static V Right64(V a, int bits) { return {_mm256_srli_epi64(a.low, bits), _mm256_srli_epi64(a.high, bits)}; }

  template <int kChunks, typename Address>
  static V AndAll(V base, const Address& address) {
#pragma GCC unroll 7
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      const auto* const row = reinterpret_cast<const Half*>(address(chunk));
      base = {_mm256_and_si256(base.low, _mm256_load_si256(row)),
              _mm256_and_si256(base.high, _mm256_load_si256(row + 1))};
    }
    return base;
  }

  // By a table of 16 entries in a register (W. Mula, N. Kurz, D. Lemire: "Faster population counts using AVX2
  // instructions", 2018); a byte holds 31 times 8.
  class Counter {
   public:
    static constexpr size_t kBatch = 31;
    void Add(V v) {
      low_ = _mm256_add_epi8(low_, BytesOf(v.low));
      high_ = _mm256_add_epi8(high_, BytesOf(v.high));
    }
    void Flush() {
      const Half zero = _mm256_setzero_si256();
      sum_ = _mm256_add_epi64(sum_, _mm256_add_epi64(_mm256_sad_epu8(low_, zero), _mm256_sad_epu8(high_, zero)));
      low_ = high_ = zero;
    }
    uint64_t Total() const {
      return static_cast<uint64_t>(_mm256_extract_epi64(sum_, 0) + _mm256_extract_epi64(sum_, 1) +
                                   _mm256_extract_epi64(sum_, 2) + _mm256_extract_epi64(sum_, 3));
    }

   private:
    static Half BytesOf(Half v) {
      const Half nibbles = _mm256_set1_epi8(0x0f);
      const Half counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
      return _mm256_add_epi8(_mm256_shuffle_epi8(counts, _mm256_and_si256(v, nibbles)),
                             _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibbles)));
    }

    Half low_ = _mm256_setzero_si256();
    Half high_ = _mm256_setzero_si256();
    Half sum_ = _mm256_setzero_si256();
  };

  template <typename Word, int kBlocks>
  class Joiner {
   public:
    explicit Joiner(const Word* outer) : outer_(reinterpret_cast<const Half*>(outer)) {}
    Word* Join(Word conflict, Word result, Word* out) const {
      const Half conflicts = Fill<Word>(conflict), results = Fill<Word>(result);
#pragma GCC unroll 4
      for (int block = 0; block < kBlocks; ++block) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          const Half shared = _mm256_and_si256(_mm256_load_si256(outer_ + 4 * block + half), conflicts);
          const Half joined = _mm256_or_si256(_mm256_load_si256(outer_ + 4 * block + 2 + half), results);
          out = Compress(shared, joined, out);
        }
      }
      return out;
    }

   private:
    template <typename Filled>
    static Half Fill(Filled word) {
      if constexpr (sizeof(Filled) == 8) return _mm256_set1_epi64x(static_cast<long long>(word));
      return _mm256_set1_epi32(static_cast<int>(word));
    }
    static Word* Compress(Half shared, Half joined, Word* out) {
      const Half zero = _mm256_setzero_si256();
      uint32_t fit;
      const uint32_t* order;
      if constexpr (sizeof(Word) == 8) {
        fit = static_cast<uint32_t>(_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(shared, zero))));
        order = kWidePermutations.lanes[fit];
      } else {
        fit = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(shared, zero))));
        order = kPermutations.lanes[fit];
      }
      _mm256_storeu_si256(reinterpret_cast<Half*>(out), _mm256_permutevar8x32_epi32(joined, LoadHalf(order)));
      return out + __builtin_popcount(fit);
    }

    const Half* outer_;
  };
};

#include "kernels/nqueens/mitm/kernel_impl.h"

}  // namespace

const Kernel<uint32_t>& Avx2Kernel(uint32_t) { return kKernel32; }
const Kernel<uint64_t>& Avx2Kernel(uint64_t) { return kKernel64; }

}  // namespace potluck::nqueens::mitm

// Lanes of 256-bit vectors by AVX2, as level_search.h uses them; see lanes_avx512.h, whose twin this is. Masks are
// vectors here, and compressing is a permutation that a table gives for each pattern of lanes.
//
// Internal linkage on purpose: include only in files compiled for this instruction set, never in a shared header.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define POTLUCK_LANES static inline __attribute__((always_inline))

namespace potluck {
namespace {

// For each set of eight lanes, those lanes' numbers, ascending. 2 KiB.
struct PackTable32 {
  alignas(64) uint8_t lanes[256][8];
};
constexpr PackTable32 MakePackTable32() {
  PackTable32 table{};
  for (int set = 0; set < 256; ++set) {
    int count = 0;
    for (int lane = 0; lane < 8; ++lane) {
      if (set >> lane & 1) table.lanes[set][count++] = static_cast<uint8_t>(lane);
    }
  }
  return table;
}
constexpr PackTable32 kPackTable32 = MakePackTable32();

// The same for eight 16-bit lanes, as bytes to shuffle. 4 KiB.
struct PackTable16 {
  alignas(64) uint8_t bytes[256][16];
};
constexpr PackTable16 MakePackTable16() {
  PackTable16 table{};
  for (int set = 0; set < 256; ++set) {
    for (int i = 0; i < 16; ++i) {
      table.bytes[set][i] = static_cast<uint8_t>(2 * kPackTable32.lanes[set][i / 2] + i % 2);
    }
  }
  return table;
}
constexpr PackTable16 kPackTable16 = MakePackTable16();

// What does not depend on the lanes' width.
struct Avx2Bits {
  using Vector = __m256i;
  using Mask = __m256i;  // All ones, or zero, in a lane.

  POTLUCK_LANES Vector Load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
  POTLUCK_LANES Vector Zero() { return _mm256_setzero_si256(); }
  POTLUCK_LANES Vector And(Vector a, Vector b) { return _mm256_and_si256(a, b); }
  POTLUCK_LANES Vector AndNot(Vector not_a, Vector b) { return _mm256_andnot_si256(not_a, b); }
  POTLUCK_LANES Vector Or(Vector a, Vector b) { return _mm256_or_si256(a, b); }
  POTLUCK_LANES Vector Xor(Vector a, Vector b) { return _mm256_xor_si256(a, b); }
  POTLUCK_LANES Vector Not(Vector a) { return Xor(a, _mm256_set1_epi32(-1)); }
  POTLUCK_LANES Vector Nor(Vector a, Vector b, Vector c) { return Not(Or(Or(a, b), c)); }
  POTLUCK_LANES Vector ClearWhere(Mask mask, Vector a) { return AndNot(mask, a); }
  POTLUCK_LANES Mask Without(Mask a, Mask b) { return AndNot(b, a); }
};

struct Avx2Lanes32 : Avx2Bits {
  using Word = uint32_t;
  static constexpr int kBits = 32;
  static constexpr size_t kLanes = 8;

  POTLUCK_LANES Vector Set(uint32_t value) { return _mm256_set1_epi32(static_cast<int>(value)); }
  POTLUCK_LANES Vector Add(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
  POTLUCK_LANES Vector Sub(Vector a, Vector b) { return _mm256_sub_epi32(a, b); }
  POTLUCK_LANES Vector ShiftRightOne(Vector a) { return _mm256_srli_epi32(a, 1); }

  POTLUCK_LANES Mask NonZero(Mask within, Vector a) { return AndNot(_mm256_cmpeq_epi32(a, Zero()), within); }
  POTLUCK_LANES Mask AndZero(Mask within, Vector a) { return And(_mm256_cmpeq_epi32(a, Zero()), within); }
  POTLUCK_LANES Mask Equal(Mask within, Vector a, Vector b) { return And(_mm256_cmpeq_epi32(a, b), within); }
  POTLUCK_LANES Mask FirstLanes(size_t count) {
    const int lanes = count < kLanes ? static_cast<int>(count) : static_cast<int>(kLanes);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  // A bit a lane.
  POTLUCK_LANES unsigned Bits(Mask mask) {
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(mask)));
  }
  POTLUCK_LANES uint64_t Count(Mask mask) { return static_cast<uint64_t>(__builtin_popcount(Bits(mask))); }

  POTLUCK_LANES Vector ShiftLeft(Vector a, Vector by) { return _mm256_sllv_epi32(a, by); }
  POTLUCK_LANES Vector ShiftRight(Vector a, Vector by) { return _mm256_srlv_epi32(a, by); }
  POTLUCK_LANES Vector ShiftRightArithmetic(Vector a, Vector by) { return _mm256_srav_epi32(a, by); }
  POTLUCK_LANES Vector Min(Vector a, Vector b) { return _mm256_min_epi32(a, b); }
  POTLUCK_LANES Vector Max(Vector a, Vector b) { return _mm256_max_epi32(a, b); }
  // Of lanes of at most 24 bits that are not 0: the exponent of an exact floating-point number.
  POTLUCK_LANES Vector HighestBitIndex(Vector a) {
    const Vector number = _mm256_castps_si256(_mm256_cvtepi32_ps(a));
    return Sub(_mm256_srli_epi32(number, 23), Set(127));
  }

  class Packer {
   public:
    explicit __attribute__((always_inline)) Packer(Mask mask) : bits_(Bits(mask)) {
      const void* const lanes = kPackTable32.lanes[bits_];
      order_ = _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(lanes)));
    }
    __attribute__((always_inline)) Vector Pack(Vector a) const { return _mm256_permutevar8x32_epi32(a, order_); }
    __attribute__((always_inline)) void Store(Word* to, Vector a) const {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), Pack(a));
    }
    __attribute__((always_inline)) size_t count() const { return static_cast<size_t>(__builtin_popcount(bits_)); }

   private:
    unsigned bits_;
    __m256i order_;
  };
};

struct Avx2Lanes16 : Avx2Bits {
  using Word = uint16_t;
  static constexpr int kBits = 16;
  static constexpr size_t kLanes = 16;

  POTLUCK_LANES Vector Add(Vector a, Vector b) { return _mm256_add_epi16(a, b); }
  POTLUCK_LANES Vector Sub(Vector a, Vector b) { return _mm256_sub_epi16(a, b); }
  POTLUCK_LANES Vector ShiftRightOne(Vector a) { return _mm256_srli_epi16(a, 1); }

  POTLUCK_LANES Mask NonZero(Mask within, Vector a) { return AndNot(_mm256_cmpeq_epi16(a, Zero()), within); }
  POTLUCK_LANES Mask AndZero(Mask within, Vector a) { return And(_mm256_cmpeq_epi16(a, Zero()), within); }
  POTLUCK_LANES Mask Equal(Mask within, Vector a, Vector b) { return And(_mm256_cmpeq_epi16(a, b), within); }
  POTLUCK_LANES Mask FirstLanes(size_t count) {
    const short lanes = static_cast<short>(count < kLanes ? count : kLanes);
    return _mm256_cmpgt_epi16(_mm256_set1_epi16(lanes),
                              _mm256_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
  }
  POTLUCK_LANES uint64_t Count(Mask mask) {
    return static_cast<uint64_t>(__builtin_popcount(static_cast<unsigned>(_mm256_movemask_epi8(mask)))) / 2;
  }

  class Packer {
   public:
    explicit __attribute__((always_inline)) Packer(Mask mask) {
      const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(mask), _mm256_extracti128_si256(mask, 1));
      const unsigned bits = static_cast<unsigned>(_mm_movemask_epi8(bytes));
      low_count_ = static_cast<size_t>(__builtin_popcount(bits & 255));
      count_ = static_cast<size_t>(__builtin_popcount(bits));
      const auto order = [](unsigned set) {
        return _mm_load_si128(static_cast<const __m128i*>(static_cast<const void*>(kPackTable16.bytes[set])));
      };
      order_ = _mm256_inserti128_si256(_mm256_castsi128_si256(order(bits & 255)), order(bits >> 8), 1);
    }
    __attribute__((always_inline)) void Store(Word* to, Vector a) const {
      const Vector packed = _mm256_shuffle_epi8(a, order_);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + low_count_), _mm256_extracti128_si256(packed, 1));
    }
    __attribute__((always_inline)) size_t count() const { return count_; }

   private:
    size_t low_count_;
    size_t count_;
    __m256i order_;
  };
};

// Lanes of 32 bits, packed, to their low 16 bits.
class Avx2Packer32To16 {
 public:
  explicit __attribute__((always_inline)) Avx2Packer32To16(Avx2Lanes32::Mask mask) : packer_(mask) {}
  __attribute__((always_inline)) void Store(uint16_t* to, __m256i a) const {
    const __m256i low = _mm256_and_si256(packer_.Pack(a), _mm256_set1_epi32(0xffff));
    const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
  }
  __attribute__((always_inline)) size_t count() const { return packer_.count(); }

 private:
  Avx2Lanes32::Packer packer_;
};

}  // namespace
}  // namespace potluck

#undef POTLUCK_LANES

// Lanes of 512-bit vectors, as level_search.h uses them: 32-bit lanes by AVX-512 F, BW, CD, VL; 16-bit lanes besides
// where the file is compiled for VBMI2, which compresses them.
//
// Intrinsics rather than Highway, because all that is needed are some twenty operations, three of which (compressing
// into memory at full speed, masks as numbers, moving lanes to narrower ones) would be written by hand for each
// instruction set anyway. Compressing goes through a register: straight to memory takes 78 cycles on Zen 4.
//
// Internal linkage on purpose: include only in files compiled for this instruction set, never in a shared header.
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define POTLUCK_LANES static inline __attribute__((always_inline))

namespace potluck {
namespace {

// What does not depend on the lanes' width.
struct Avx512Bits {
  using Vector = __m512i;

  POTLUCK_LANES Vector Load(const void* from) { return _mm512_loadu_si512(from); }
  POTLUCK_LANES Vector Zero() { return _mm512_setzero_si512(); }
  POTLUCK_LANES Vector And(Vector a, Vector b) { return _mm512_and_si512(a, b); }
  POTLUCK_LANES Vector AndNot(Vector not_a, Vector b) { return _mm512_andnot_si512(not_a, b); }
  POTLUCK_LANES Vector Or(Vector a, Vector b) { return _mm512_or_si512(a, b); }
  POTLUCK_LANES Vector Xor(Vector a, Vector b) { return _mm512_xor_si512(a, b); }
  POTLUCK_LANES Vector Not(Vector a) { return _mm512_ternarylogic_epi32(a, a, a, 0x55); }
  // ~(a | b | c)
  POTLUCK_LANES Vector Nor(Vector a, Vector b, Vector c) { return _mm512_ternarylogic_epi32(a, b, c, 0x01); }
};

struct Avx512Lanes32 : Avx512Bits {
  using Word = uint32_t;
  using Mask = __mmask16;
  static constexpr int kBits = 32;
  static constexpr size_t kLanes = 16;

  POTLUCK_LANES Vector Set(uint32_t value) { return _mm512_set1_epi32(static_cast<int>(value)); }
  POTLUCK_LANES Vector Add(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
  POTLUCK_LANES Vector Sub(Vector a, Vector b) { return _mm512_sub_epi32(a, b); }
  POTLUCK_LANES Vector ShiftRightOne(Vector a) { return _mm512_srli_epi32(a, 1); }
  POTLUCK_LANES Vector ClearWhere(Mask mask, Vector a) { return _mm512_maskz_mov_epi32(static_cast<Mask>(~mask), a); }

  // Masks: lanes of `within` for which ...
  POTLUCK_LANES Mask NonZero(Mask within, Vector a) { return _mm512_mask_test_epi32_mask(within, a, a); }
  POTLUCK_LANES Mask AndZero(Mask within, Vector a) { return _mm512_mask_testn_epi32_mask(within, a, a); }
  POTLUCK_LANES Mask Equal(Mask within, Vector a, Vector b) { return _mm512_mask_cmpeq_epi32_mask(within, a, b); }
  POTLUCK_LANES Mask Without(Mask a, Mask b) { return static_cast<Mask>(a & ~b); }
  // The first `count` lanes, or all.
  POTLUCK_LANES Mask FirstLanes(size_t count) {
    return static_cast<Mask>(count >= kLanes ? 0xffffu : (1u << count) - 1);
  }
  POTLUCK_LANES uint64_t Count(Mask mask) { return static_cast<uint64_t>(__builtin_popcount(mask)); }

  // By variable distances below 32, and on signed lanes.
  POTLUCK_LANES Vector ShiftLeft(Vector a, Vector by) { return _mm512_sllv_epi32(a, by); }
  POTLUCK_LANES Vector ShiftRight(Vector a, Vector by) { return _mm512_srlv_epi32(a, by); }
  POTLUCK_LANES Vector ShiftRightArithmetic(Vector a, Vector by) { return _mm512_srav_epi32(a, by); }
  POTLUCK_LANES Vector Min(Vector a, Vector b) { return _mm512_min_epi32(a, b); }
  POTLUCK_LANES Vector Max(Vector a, Vector b) { return _mm512_max_epi32(a, b); }
  // Of lanes that are not 0.
  POTLUCK_LANES Vector HighestBitIndex(Vector a) { return Sub(Set(31), _mm512_lzcnt_epi32(a)); }

  // Writes the lanes of a mask side by side; a whole vector is written, what follows count() lanes means nothing.
  class Packer {
   public:
    explicit __attribute__((always_inline)) Packer(Mask mask) : mask_(mask) {}
    __attribute__((always_inline)) void Store(Word* to, Vector a) const {
      _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(mask_, a));
    }
    __attribute__((always_inline)) size_t count() const { return Count(mask_); }

   private:
    Mask mask_;
  };
};

#if defined(__AVX512VBMI2__)
struct Avx512Lanes16 : Avx512Bits {
  using Word = uint16_t;
  using Mask = __mmask32;
  static constexpr int kBits = 16;
  static constexpr size_t kLanes = 32;

  POTLUCK_LANES Vector Add(Vector a, Vector b) { return _mm512_add_epi16(a, b); }
  POTLUCK_LANES Vector Sub(Vector a, Vector b) { return _mm512_sub_epi16(a, b); }
  POTLUCK_LANES Vector ShiftRightOne(Vector a) { return _mm512_srli_epi16(a, 1); }
  POTLUCK_LANES Vector ClearWhere(Mask mask, Vector a) { return _mm512_maskz_mov_epi16(~mask, a); }

  POTLUCK_LANES Mask NonZero(Mask within, Vector a) { return _mm512_mask_test_epi16_mask(within, a, a); }
  POTLUCK_LANES Mask AndZero(Mask within, Vector a) { return _mm512_mask_testn_epi16_mask(within, a, a); }
  POTLUCK_LANES Mask Equal(Mask within, Vector a, Vector b) { return _mm512_mask_cmpeq_epi16_mask(within, a, b); }
  POTLUCK_LANES Mask FirstLanes(size_t count) { return count >= kLanes ? ~Mask{0} : (Mask{1} << count) - 1; }
  POTLUCK_LANES uint64_t Count(Mask mask) { return static_cast<uint64_t>(__builtin_popcount(mask)); }

  class Packer {
   public:
    explicit __attribute__((always_inline)) Packer(Mask mask) : mask_(mask) {}
    __attribute__((always_inline)) void Store(Word* to, Vector a) const {
      _mm512_storeu_si512(to, _mm512_maskz_compress_epi16(mask_, a));
    }
    __attribute__((always_inline)) size_t count() const { return Count(mask_); }

   private:
    Mask mask_;
  };
};

// Lanes of 32 bits, packed, to their low 16 bits.
class Avx512Packer32To16 {
 public:
  explicit __attribute__((always_inline)) Avx512Packer32To16(Avx512Lanes32::Mask mask) : mask_(mask) {}
  __attribute__((always_inline)) void Store(uint16_t* to, __m512i a) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(mask_, a)));
  }
  __attribute__((always_inline)) size_t count() const { return Avx512Lanes32::Count(mask_); }

 private:
  Avx512Lanes32::Mask mask_;
};
#endif

}  // namespace
}  // namespace potluck

#undef POTLUCK_LANES

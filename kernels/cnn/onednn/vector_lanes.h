// The vector operations that vector_*_impl.h is written in, for the instruction set that the including file is compiled
// for. Everything is in an anonymous namespace: see kernels/cpu/PotluckSimd.cmake.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace potluck::cnn {
namespace {

#define POTLUCK_INLINE inline __attribute__((always_inline))
#define POTLUCK_LAMBDA_INLINE __attribute__((always_inline))

#if defined(__AVX512F__)

constexpr uint32_t kLanes = 16;
using Vec = __m512;
using VecI = __m512i;
// Registers that a block of sums may take: kRows<n> rows of n vectors.
template <int kColumns>
constexpr int kRows = kColumns >= 4   ? 6
                      : kColumns == 3 ? 8
                      : kColumns == 2 ? 12
                                      : 12;
constexpr int kColumns = 4;

POTLUCK_INLINE Vec Load(const float* p) { return _mm512_loadu_ps(p); }
POTLUCK_INLINE void Store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
POTLUCK_INLINE Vec Zero() { return _mm512_setzero_ps(); }
POTLUCK_INLINE Vec Set(float x) { return _mm512_set1_ps(x); }
POTLUCK_INLINE Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
POTLUCK_INLINE Vec Sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
POTLUCK_INLINE Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
// Of two numbers; b where one of them is NaN.
POTLUCK_INLINE Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
POTLUCK_INLINE Vec Fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }    // a * b + c
POTLUCK_INLINE Vec Fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a * b

POTLUCK_INLINE VecI SetI(int32_t x) { return _mm512_set1_epi32(x); }
POTLUCK_INLINE VecI LoadI(const int32_t* p) { return _mm512_loadu_si512(p); }
POTLUCK_INLINE void StoreI(int32_t* p, VecI v) { _mm512_storeu_si512(p, v); }
// One byte a lane.
POTLUCK_INLINE VecI LoadBytes(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
POTLUCK_INLINE void StoreBytes(uint8_t* p, VecI v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}
// condition ? yes : no, lane by lane.
POTLUCK_INLINE VecI SelectGreater(Vec a, Vec b, VecI yes, VecI no) {
  return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
POTLUCK_INLINE VecI SelectEqual(VecI a, VecI b, VecI yes, VecI no) {
  return _mm512_mask_blend_epi32(_mm512_cmpeq_epi32_mask(a, b), no, yes);
}
POTLUCK_INLINE Vec OnlyWhereEqual(VecI a, VecI b, Vec v) {
  return _mm512_maskz_mov_ps(_mm512_cmpeq_epi32_mask(a, b), v);
}
POTLUCK_INLINE Vec OnlyWherePositive(Vec a, Vec v) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ), v);
}
POTLUCK_INLINE VecI OneWhereBelow(VecI a, VecI b) {  // Unsigned.
  return _mm512_maskz_set1_epi32(_mm512_cmplt_epu32_mask(a, b), 1);
}
POTLUCK_INLINE VecI AddI(VecI a, VecI b) { return _mm512_add_epi32(a, b); }
POTLUCK_INLINE VecI AndI(VecI a, VecI b) { return _mm512_and_si512(a, b); }
POTLUCK_INLINE VecI Quarter(VecI a) { return _mm512_srli_epi32(a, 2); }
POTLUCK_INLINE VecI MulI(VecI a, VecI b) { return _mm512_mullo_epi32(a, b); }
POTLUCK_INLINE VecI XorI(VecI a, VecI b) { return _mm512_xor_si512(a, b); }
// The halves of the 64-bit products with a number that is the same in all lanes.
POTLUCK_INLINE void Product(VecI a, VecI factor, VecI& high, VecI& low) {
  const VecI even = _mm512_mul_epu32(a, factor);
  const VecI odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), factor);
  high = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
  low = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
}
POTLUCK_INLINE void Transpose(const float* from, size_t from_stride, float* to, size_t to_stride) {
  __m512 r[16], t[16];
  for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_ps(from + i * from_stride);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xDD);
  }
  for (int i = 0; i < 4; ++i) {
    _mm512_storeu_ps(to + i * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
    _mm512_storeu_ps(to + (i + 4) * to_stride, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88));
    _mm512_storeu_ps(to + (i + 8) * to_stride, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xDD));
    _mm512_storeu_ps(to + (i + 12) * to_stride, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xDD));
  }
}

#elif defined(__AVX2__)

constexpr uint32_t kLanes = 8;
using Vec = __m256;
using VecI = __m256i;
template <int kColumns>
constexpr int kRows = kColumns >= 2 ? 6 : 8;
constexpr int kColumns = 2;

POTLUCK_INLINE Vec Load(const float* p) { return _mm256_loadu_ps(p); }
POTLUCK_INLINE void Store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
POTLUCK_INLINE Vec Zero() { return _mm256_setzero_ps(); }
POTLUCK_INLINE Vec Set(float x) { return _mm256_set1_ps(x); }
POTLUCK_INLINE Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
POTLUCK_INLINE Vec Sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
POTLUCK_INLINE Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
POTLUCK_INLINE Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
POTLUCK_INLINE Vec Fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
POTLUCK_INLINE Vec Fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }

POTLUCK_INLINE VecI SetI(int32_t x) { return _mm256_set1_epi32(x); }
POTLUCK_INLINE VecI LoadI(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
POTLUCK_INLINE void StoreI(int32_t* p, VecI v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
POTLUCK_INLINE VecI LoadBytes(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
POTLUCK_INLINE void StoreBytes(uint8_t* p, VecI v) {
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
}
POTLUCK_INLINE VecI SelectGreater(Vec a, Vec b, VecI yes, VecI no) {
  return _mm256_blendv_epi8(no, yes, _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GT_OQ)));
}
POTLUCK_INLINE VecI SelectEqual(VecI a, VecI b, VecI yes, VecI no) {
  return _mm256_blendv_epi8(no, yes, _mm256_cmpeq_epi32(a, b));
}
POTLUCK_INLINE Vec OnlyWhereEqual(VecI a, VecI b, Vec v) {
  return _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)), v);
}
POTLUCK_INLINE Vec OnlyWherePositive(Vec a, Vec v) {
  return _mm256_and_ps(_mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ), v);
}
POTLUCK_INLINE VecI OneWhereBelow(VecI a, VecI b) {
  const __m256i sign = _mm256_set1_epi32(INT32_MIN);
  return _mm256_srli_epi32(_mm256_cmpgt_epi32(_mm256_xor_si256(b, sign), _mm256_xor_si256(a, sign)), 31);
}
POTLUCK_INLINE VecI AddI(VecI a, VecI b) { return _mm256_add_epi32(a, b); }
POTLUCK_INLINE VecI AndI(VecI a, VecI b) { return _mm256_and_si256(a, b); }
POTLUCK_INLINE VecI Quarter(VecI a) { return _mm256_srli_epi32(a, 2); }
POTLUCK_INLINE VecI MulI(VecI a, VecI b) { return _mm256_mullo_epi32(a, b); }
POTLUCK_INLINE VecI XorI(VecI a, VecI b) { return _mm256_xor_si256(a, b); }
POTLUCK_INLINE void Product(VecI a, VecI factor, VecI& high, VecI& low) {
  const VecI even = _mm256_mul_epu32(a, factor);
  const VecI odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
  high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
}
POTLUCK_INLINE void Transpose(const float* from, size_t from_stride, float* to, size_t to_stride) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(from + i * from_stride);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(to + i * to_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(to + (i + 4) * to_stride, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

#else
#error "vector_lanes.h is for files compiled for AVX2 or AVX-512"
#endif

// --- Matrices.

// c[r][0..kN) (+)= sum over d of a[r * a_row + d * a_depth] * b[d * b_depth ...]: kR rows of kN vectors.
template <int kR, int kN, bool kAccumulate>
POTLUCK_INLINE void Block(size_t depth, const float* a, size_t a_row, size_t a_depth, const float* b, size_t b_depth,
                          float* c, size_t c_row) {
  Vec sums[kR][kN];
  for (int r = 0; r < kR; ++r) {
    for (int n = 0; n < kN; ++n) sums[r][n] = kAccumulate ? Load(c + r * c_row + n * kLanes) : Zero();
  }
  for (size_t d = 0; d < depth; ++d) {
    Vec row[kN];
    for (int n = 0; n < kN; ++n) row[n] = Load(b + d * b_depth + n * kLanes);
    for (int r = 0; r < kR; ++r) {
      const Vec x = Set(a[r * a_row + d * a_depth]);
      for (int n = 0; n < kN; ++n) sums[r][n] = Fma(x, row[n], sums[r][n]);
    }
  }
  for (int r = 0; r < kR; ++r) {
    for (int n = 0; n < kN; ++n) Store(c + r * c_row + n * kLanes, sums[r][n]);
  }
}

// Any number of rows, kN vectors: in groups of nearly equal height, at most kRows<kN>.
template <int kN, bool kAccumulate, int kR = kRows<kN>>
inline void Rows(size_t rows, size_t depth, const float* a, size_t a_row, size_t a_depth, const float* b,
                 size_t b_depth, float* c, size_t c_row) {
  if constexpr (kR > 1) {
    if (rows < kR) {
      Rows<kN, kAccumulate, kR - 1>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
      return;
    }
  }
  // All groups of kR rows, as long as what is left over is not a lonely small one.
  while (rows >= kR) {
    Block<kR, kN, kAccumulate>(depth, a, a_row, a_depth, b, b_depth, c, c_row);
    a += kR * a_row;
    c += kR * c_row;
    rows -= kR;
  }
  if constexpr (kR > 1) {
    if (rows > 0) Rows<kN, kAccumulate, kR - 1>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
  }
}

// c [rows][vectors * kLanes] (+)= a [rows][depth] * b [depth][vectors * kLanes].
template <bool kAccumulate>
inline void Multiply(size_t rows, size_t vectors, size_t depth, const float* a, size_t a_row, size_t a_depth,
                     const float* b, size_t b_depth, float* c, size_t c_row) {
  for (; vectors >= kColumns; vectors -= kColumns, b += kColumns * kLanes, c += kColumns * kLanes) {
    Rows<kColumns, kAccumulate>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
  }
  if constexpr (kColumns > 3) {
    if (vectors == 3) Rows<3, kAccumulate>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
  }
  if constexpr (kColumns > 2) {
    if (vectors == 2) Rows<2, kAccumulate>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
  }
  if (vectors == 1) Rows<1, kAccumulate>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
}

}  // namespace
}  // namespace potluck::cnn

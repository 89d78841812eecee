// Dense layers whose factors are rounded to bfloat16 (to nearest, ties to even) and whose sums are 32-bit floats: two
// products a lane and instruction (VDPBF16PS). Numbers lie in pairs along what is summed over, the first in the lower
// half of 32 bits.
#include <immintrin.h>

#include "kernels/cnn/onednn/vector_kernels.h"

namespace potluck::cnn {
namespace {

constexpr size_t kLanes = 16;
constexpr int kColumns = 4;
template <int kN>
constexpr int kRows = kN >= 4   ? 6
                      : kN == 3 ? 8
                                : 12;
// Pairs of rows of weights that stay in the first-level cache while all samples go by: 24 KB of 64 units.
constexpr size_t kDepth = 96;

#define POTLUCK_INLINE inline __attribute__((always_inline))

POTLUCK_INLINE __m512i Round(__m512 values) {  // 16 bits a lane, in its lower half.
  return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
}
POTLUCK_INLINE __m512i Pair(__m512 first, __m512 second) {
  return _mm512_or_si512(Round(first), _mm512_slli_epi32(Round(second), 16));
}
// 32 values in a row, as 16 pairs.
POTLUCK_INLINE __m512i PairsInRow(const float* values) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(_mm512_loadu_ps(values + 16), _mm512_loadu_ps(values)));
}
POTLUCK_INLINE __m512 MultiplyAdd(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

// As Block of vector_lanes.h, of pairs.
template <int kR, int kN, bool kAccumulate>
POTLUCK_INLINE void Block(size_t depth, const uint32_t* a, size_t a_row, size_t a_depth, const uint32_t* b,
                          size_t b_depth, float* c, size_t c_row) {
  __m512 sums[kR][kN];
  for (int r = 0; r < kR; ++r) {
    for (int n = 0; n < kN; ++n) {
      sums[r][n] = kAccumulate ? _mm512_loadu_ps(c + r * c_row + n * kLanes) : _mm512_setzero_ps();
    }
  }
  for (size_t d = 0; d < depth; ++d) {
    __m512i row[kN];
    for (int n = 0; n < kN; ++n) row[n] = _mm512_loadu_si512(b + d * b_depth + n * kLanes);
    for (int r = 0; r < kR; ++r) {
      const __m512i x = _mm512_set1_epi32(static_cast<int>(a[r * a_row + d * a_depth]));
      for (int n = 0; n < kN; ++n) sums[r][n] = MultiplyAdd(sums[r][n], x, row[n]);
    }
  }
  for (int r = 0; r < kR; ++r) {
    for (int n = 0; n < kN; ++n) _mm512_storeu_ps(c + r * c_row + n * kLanes, sums[r][n]);
  }
}

template <int kN, bool kAccumulate, int kR = kRows<kN>>
inline void Rows(size_t rows, size_t depth, const uint32_t* a, size_t a_row, size_t a_depth, const uint32_t* b,
                 size_t b_depth, float* c, size_t c_row) {
  for (; rows >= kR; rows -= kR, a += kR * a_row, c += kR * c_row) {
    Block<kR, kN, kAccumulate>(depth, a, a_row, a_depth, b, b_depth, c, c_row);
  }
  if constexpr (kR > 1) {
    if (rows > 0) Rows<kN, kAccumulate, kR - 1>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
  }
}

template <bool kAccumulate>
inline void Multiply(size_t rows, size_t vectors, size_t depth, const uint32_t* a, size_t a_row, size_t a_depth,
                     const uint32_t* b, size_t b_depth, float* c, size_t c_row) {
  for (; vectors >= kColumns; vectors -= kColumns, b += kColumns * kLanes, c += kColumns * kLanes) {
    Rows<kColumns, kAccumulate>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
  }
  if (vectors == 3) Rows<3, kAccumulate>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
  if (vectors == 2) Rows<2, kAccumulate>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
  if (vectors == 1) Rows<1, kAccumulate>(rows, depth, a, a_row, a_depth, b, b_depth, c, c_row);
}

size_t RoundUp(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Pairs of samples as rows: to [samples / 2][count]; a missing last sample is 0. `count` is a multiple of the lanes.
inline void PairSamples(size_t samples, size_t count, const float* from, size_t stride, uint32_t* to,
                        size_t to_stride) {
  for (size_t s = 0; s < samples; s += 2, to += to_stride) {
    const float* const first = from + s * stride;
    for (size_t i = 0; i < count; i += kLanes) {
      const __m512 second = s + 1 < samples ? _mm512_loadu_ps(first + stride + i) : _mm512_setzero_ps();
      _mm512_storeu_si512(to + i, Pair(_mm512_loadu_ps(first + i), second));
    }
  }
}

// Scratch of all three, in floats: pairs of a block of inputs and of weights, of the gradient, and a block of results.
size_t Scratch(uint32_t samples, uint32_t units) {
  const size_t padded = RoundUp(samples, kLanes);
  return (padded + 1) * (kDepth + kLanes) + kDepth * units + padded * (size_t{units} + kLanes) + 16 * kLanes;
}

void Forward(uint32_t samples, uint32_t inputs, uint32_t units, const float* x, size_t x_stride, const float* w,
             const float* bias, bool relu, float* y, size_t y_stride, float* scratch) {
  uint32_t* const xs = reinterpret_cast<uint32_t*>(scratch);
  constexpr size_t kStride = kDepth + kLanes;
  uint32_t* const ws = xs + RoundUp(samples, kLanes) * kStride;
  for (size_t i = 0; i < samples; ++i) {
    for (size_t n = 0; n < units; n += kLanes) {
      _mm512_storeu_ps(y + i * y_stride + n, _mm512_loadu_ps(bias + n));
    }
  }
  for (size_t d = 0; d < inputs; d += 2 * kDepth) {
    const size_t values = inputs - d < 2 * kDepth ? inputs - d : 2 * kDepth, pairs = values / 2;
    for (size_t i = 0; i < samples; ++i) {
      const float* const from = x + i * x_stride + d;
      size_t v = 0;
      for (; v + 32 <= values; v += 32) _mm512_storeu_si512(xs + i * kStride + v / 2, PairsInRow(from + v));
      if (v < values) {  // 16 are left.
        alignas(64) float rest[32] = {};
        _mm512_store_ps(rest, _mm512_loadu_ps(from + v));
        _mm512_storeu_si512(xs + i * kStride + v / 2, PairsInRow(rest));
      }
    }
    PairSamples(values, units, w + d * units, units, ws, units);
    Multiply<true>(samples, units / kLanes, pairs, xs, kStride, 1, ws, units, y, y_stride);
  }
  if (!relu) return;
  for (size_t i = 0; i < samples; ++i) {
    for (size_t n = 0; n < units; n += kLanes) {
      float* const at = y + i * y_stride + n;
      _mm512_storeu_ps(at, _mm512_max_ps(_mm512_setzero_ps(), _mm512_loadu_ps(at)));
    }
  }
}

void WeightsGradient(uint32_t samples, uint32_t inputs, uint32_t units, const float* x, size_t x_stride,
                     const float* dy, size_t dy_stride, float* dw, float* dbias, float* scratch) {
  for (size_t n = 0; n < units; n += kLanes) {
    __m512 sum = _mm512_setzero_ps();
    for (size_t i = 0; i < samples; ++i) sum = _mm512_add_ps(sum, _mm512_loadu_ps(dy + i * dy_stride + n));
    _mm512_storeu_ps(dbias + n, sum);
  }
  const size_t pairs = (size_t{samples} + 1) / 2;
  constexpr size_t kStride = kDepth + kLanes;
  uint32_t* const xs = reinterpret_cast<uint32_t*>(scratch);
  uint32_t* const dys = xs + RoundUp(samples, kLanes) * kStride;
  PairSamples(samples, units, dy, dy_stride, dys, units);
  for (size_t k = 0; k < inputs; k += kDepth) {
    const size_t rows = inputs - k < kDepth ? inputs - k : kDepth;
    PairSamples(samples, rows, x + k, x_stride, xs, kStride);
    Multiply<false>(rows, units / kLanes, pairs, xs, 1, kStride, dys, units, dw + k * units, units);
  }
}

void InputGradient(uint32_t samples, uint32_t inputs, uint32_t units, const float* dy, size_t dy_stride, const float* w,
                   float* dx, size_t dx_stride, float* scratch) {
  const VectorKernels& plain = *Avx512Kernels();
  // dy^T in pairs of units [units / 2][samples], then dx^T = w dy^T, a block of inputs at a time, transposed back.
  const size_t padded = RoundUp(samples, kLanes), pairs = units / 2;
  uint32_t* const dys = reinterpret_cast<uint32_t*>(scratch);
  uint32_t* const ws = dys + padded * pairs;
  float* const block = reinterpret_cast<float*>(ws + kLanes * pairs);
  for (size_t i = 0; i < padded; ++i) {
    for (size_t n = 0; n < units; n += kLanes) {
      const __m512 values = i < samples ? _mm512_loadu_ps(dy + i * dy_stride + n) : _mm512_setzero_ps();
      alignas(32) uint32_t rounded[kLanes / 2];
      _mm256_store_si256(reinterpret_cast<__m256i*>(rounded), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
      for (size_t p = 0; p < kLanes / 2; ++p) dys[(n / 2 + p) * padded + i] = rounded[p];
    }
  }
  for (size_t k = 0; k < inputs; k += kLanes) {
    for (size_t r = 0; r < kLanes; ++r) {
      for (size_t n = 0; n < units; n += kLanes) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(ws + r * pairs + n / 2),
                            reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(w + (k + r) * units + n))));
      }
    }
    Multiply<false>(kLanes, padded / kLanes, pairs, ws, pairs, 1, dys, padded, block, padded);
    plain.turn_block(samples, block, padded, dx + k, dx_stride);
  }
}

}  // namespace

extern const DenseKernels kAvx512Bf16Dense;
const DenseKernels kAvx512Bf16Dense = {Scratch, Forward, WeightsGradient, InputGradient};

}  // namespace potluck::cnn

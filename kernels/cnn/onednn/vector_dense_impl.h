// Dense layers, in the vectors of vector_lanes.h; see vector_kernels.h.
#pragma once

#include "kernels/cnn/onednn/vector_lanes.h"

namespace potluck::cnn {
namespace {

// Rows of weights that stay in the first-level cache while all samples go by: 96 x 64 floats are 24 KB.
constexpr size_t kDepth = 96;

inline void DenseForward(uint32_t samples, uint32_t inputs, uint32_t units, const float* x, size_t x_stride,
                         const float* w, const float* bias, bool relu, float* y, size_t y_stride, float* /*scratch*/) {
  for (size_t i = 0; i < samples; ++i) {
    for (size_t n = 0; n < units; n += kLanes) Store(y + i * y_stride + n, Load(bias + n));
  }
  for (size_t d = 0; d < inputs; d += kDepth) {
    const size_t depth = inputs - d < kDepth ? inputs - d : kDepth;
    Multiply<true>(samples, units / kLanes, depth, x + d, x_stride, 1, w + d * units, units, y, y_stride);
  }
  if (!relu) return;
  for (size_t i = 0; i < samples; ++i) {
    for (size_t n = 0; n < units; n += kLanes) {
      float* const at = y + i * y_stride + n;
      Store(at, Max(Zero(), Load(at)));
    }
  }
}

inline void DenseWeightsGradient(uint32_t samples, uint32_t inputs, uint32_t units, const float* x, size_t x_stride,
                                 const float* dy, size_t dy_stride, float* dw, float* dbias, float* /*scratch*/) {
  for (size_t n = 0; n < units; n += kLanes) {
    Vec sum = Zero();
    for (size_t i = 0; i < samples; ++i) sum = Add(sum, Load(dy + i * dy_stride + n));
    Store(dbias + n, sum);
  }
  // Few inputs at a time: their values of all samples stay near while every unit goes by.
  constexpr size_t kInputs = 96;
  for (size_t k = 0; k < inputs; k += kInputs) {
    const size_t rows = inputs - k < kInputs ? inputs - k : kInputs;
    Multiply<false>(rows, units / kLanes, samples, x + k, 1, x_stride, dy, dy_stride, dw + k * units, units);
  }
}

inline size_t PaddedSamples(uint32_t samples) { return (size_t{samples} + kLanes - 1) / kLanes * kLanes; }

inline size_t DenseScratch(uint32_t samples, uint32_t units) {
  return PaddedSamples(samples) * (size_t{units} + kLanes);
}

inline void TurnBlock(size_t samples, const float* block, size_t stride, float* dx, size_t dx_stride) {
  alignas(64) float edge[kLanes * kLanes];
  for (size_t i = 0; i < samples; i += kLanes) {
    const size_t rows = samples - i < kLanes ? samples - i : kLanes;
    if (rows == kLanes) {
      Transpose(block + i, stride, dx + i * dx_stride, dx_stride);
    } else {
      Transpose(block + i, stride, edge, kLanes);
      for (size_t r = 0; r < rows; ++r) Store(dx + (i + r) * dx_stride, Load(edge + r * kLanes));
    }
  }
}

inline void DenseInputGradient(uint32_t samples, uint32_t inputs, uint32_t units, const float* dy, size_t dy_stride,
                               const float* w, float* dx, size_t dx_stride, float* scratch) {
  // dy^T [units][samples], then dx^T = w dy^T, a block of inputs at a time, transposed back.
  const size_t padded = PaddedSamples(samples);
  float* const turned = scratch;
  float* const block = scratch + padded * units;
  alignas(64) float edge[kLanes * kLanes];
  for (size_t i = 0; i < padded; i += kLanes) {
    const size_t rows = samples - i < kLanes ? samples - i : kLanes;
    for (size_t n = 0; n < units; n += kLanes) {
      if (rows == kLanes) {
        Transpose(dy + i * dy_stride + n, dy_stride, turned + n * padded + i, padded);
      } else {
        for (size_t r = 0; r < kLanes; ++r) {
          Store(edge + r * kLanes, r < rows ? Load(dy + (i + r) * dy_stride + n) : Zero());
        }
        Transpose(edge, kLanes, turned + n * padded + i, padded);
      }
    }
  }
  for (size_t k = 0; k < inputs; k += kLanes) {
    Multiply<false>(kLanes, padded / kLanes, units, w + k * units, units, 1, turned, padded, block, padded);
    TurnBlock(samples, block, padded, dx + k, dx_stride);
  }
}

}  // namespace
}  // namespace potluck::cnn

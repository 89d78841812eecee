// Vector code for what a network spends its time on: 3x3 convolutions by Winograd's method, dense layers, pooling and
// dropout. One text (vector_*_impl.h) compiled for AVX2 and for AVX-512; a table of functions each.
//
// Everything here works on one thread with memory of the caller's, and gives the same bits for the same inputs.
// Activations of one sample lie in blocks of `lanes` channels: [channels / lanes][height][width][lanes], channels
// padded with zeros to a multiple of `lanes`. Pointers are aligned to 64 bytes.
//
// Winograd's F(4x4, 3x3) (Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016) makes a tile
// of 4x4 outputs from 6x6 inputs with 36 multiplications a pair of channels instead of 144. Both gradients are the
// transposes of the same linear maps, so they have the same cost, whatever the padding.
#pragma once

#include <cstddef>
#include <cstdint>

namespace potluck::cnn {

// A convolution with a 3x3 window and stride 1; channels and filters are multiples of the lanes.
struct WinogradShape {
  uint32_t channels = 0, height = 0, width = 0;  // Of the input.
  uint32_t filters = 0, out_height = 0, out_width = 0;
  uint32_t padding = 0;
  bool relu = false;
  bool pool = false;  // A 2x2 max pool with stride 2 follows; the output is [filters][out_height / 2][out_width / 2].

  uint32_t tiles_y() const { return (out_height + 3) / 4; }
  uint32_t tiles_x() const { return (out_width + 3) / 4; }
};

inline constexpr size_t kWinogradPoints = 36;

// Dense layers. `inputs` is a multiple of the lanes, `units` of 16; rows of samples are `stride` floats apart;
// `scratch` has scratch(samples, units) floats.
struct DenseKernels {
  size_t (*scratch)(uint32_t samples, uint32_t units);
  // y [samples][units] = x [samples][inputs] w [inputs][units] + bias, then ReLU.
  void (*forward)(uint32_t samples, uint32_t inputs, uint32_t units, const float* x, size_t x_stride, const float* w,
                  const float* bias, bool relu, float* y, size_t y_stride, float* scratch);
  // dw = x^T dy, dbias = sum of dy.
  void (*weights_gradient)(uint32_t samples, uint32_t inputs, uint32_t units, const float* x, size_t x_stride,
                           const float* dy, size_t dy_stride, float* dw, float* dbias, float* scratch);
  // dx = dy w^T.
  void (*input_gradient)(uint32_t samples, uint32_t inputs, uint32_t units, const float* dy, size_t dy_stride,
                         const float* w, float* dx, size_t dx_stride, float* scratch);
};

struct VectorKernels {
  uint32_t lanes = 0;
  const char* name = "";

  // --- Winograd. One sample a call; `scratch` has scratch_floats(shape) floats.
  size_t (*winograd_scratch)(const WinogradShape& shape);
  // weights [filters][channels][3][3] -> u [36][channels][filters] and, transposed, ut [36][filters][channels].
  void (*winograd_weights)(const WinogradShape& shape, const float* weights, float* u, float* ut);
  // The transpose of that for u: du -> gradient [filters][channels][3][3].
  void (*winograd_weights_gradient)(const WinogradShape& shape, const float* du, float* gradient);
  // With `pool`, `route` (a byte an output value) says where each value came from: 0 to 3 (row by row in the window),
  // or 4, nowhere, where it is 0 by ReLU or dropout. `keep` (a byte an output value, in blocked order; null: no
  // dropout) and `scale` are the dropout that follows the pool. Without `pool` both are null.
  void (*winograd_forward)(const WinogradShape& shape, const float* input, const float* u, const float* bias,
                           const uint8_t* keep, float scale, float* output, uint8_t* route, float* scratch);
  // `gradient` is that of `output`; with `pool`, values are routed and multiplied by `scale`; without, they count where
  // `output` > 0 (if relu). Adds to du and dbias [filters]; writes dinput unless it is null.
  void (*winograd_backward)(const WinogradShape& shape, const float* input, const float* ut, const float* output,
                            const float* gradient, const uint8_t* route, float scale, float* dinput, float* du,
                            float* dbias, float* scratch);

  DenseKernels dense;
  // What a block of `lanes` inputs' gradients ends with: block [lanes][stride], a column a sample, to rows of dx.
  void (*turn_block)(size_t samples, const float* block, size_t stride, float* dx, size_t dx_stride);

  // --- Value by value; counts are multiples of the lanes.
  void (*relu_backward)(size_t count, const float* output, float* gradient);  // gradient = output > 0 ? gradient : 0
  // keep[i] is 1 where random.h's rule (with word3 = Word3(kDropout, layer)) keeps the value, in blocked order; padding
  // is 0.
  void (*dropout_mask)(uint32_t channels, uint32_t pixels, uint64_t seed, uint32_t position, uint32_t step,
                       uint32_t word3, uint32_t keep_below, uint8_t* keep);
  void (*apply_mask)(size_t count, const uint8_t* keep, float scale, const float* from, float* to);
  // Any max pool: `route` (one an output value) holds the place in the window, row by row.
  void (*max_pool)(uint32_t blocks, uint32_t height, uint32_t width, uint32_t window, uint32_t stride,
                   const float* input, float* output, int32_t* route);
  void (*max_pool_backward)(uint32_t blocks, uint32_t height, uint32_t width, uint32_t window, uint32_t stride,
                            const float* gradient, const int32_t* route, float* dinput);
};

// Null where this processor (or this build) lacks the instructions.
const VectorKernels* Avx2Kernels();
const VectorKernels* Avx512Kernels();
// With factors rounded to bfloat16, for AVX512_BF16.
const DenseKernels* Bf16Dense();

}  // namespace potluck::cnn

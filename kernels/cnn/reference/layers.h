// One layer's arithmetic on one sample (loss: on all), forward and backward, in floats, or in doubles for checking.
//
// Plain loops; the sums of convolutions and dense layers are products of matrices (gemm.h). All arrays are dense, in
// the order of model.h, and owned by the caller. No NaN is lost on the way (a maximum, a ReLU), so that looking at the
// results suffices.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/reference/gemm.h"

namespace potluck::cnn::reference {

// A layer with the shapes on both sides.
struct Window {
  Shape in, out;
  uint32_t kernel, stride, padding;
  size_t taps() const { return size_t{in.channels} * kernel * kernel; }  // Inputs of one output.
  size_t pixels() const { return size_t{out.height} * out.width; }
};

// columns[tap][pixel] = the input that output pixel `pixel` sees at `tap`; 0 outside.
template <typename T>
void ImageToColumns(const Window& window, const T* image, T* columns);
// The transpose of that: image[...] = sums of what was taken from there.
template <typename T>
void ColumnsToImage(const Window& window, const T* columns, T* image);

// `places`: which input each output is.
template <typename T>
void MaxPoolForward(const Window& window, const T* in, T* out, uint32_t* places);
template <typename T>
void MaxPoolBackward(const Window& window, const T* out_gradient, const uint32_t* places, T* in_gradient);

template <typename T>
void Relu(std::span<T> values);
// gradient[i] = 0 where the layer's output is.
template <typename T>
void ReluBackward(std::span<const T> out, std::span<T> gradient);

// kept[i]: whether element i of the sample's activation is kept; `words`: scratch, the next multiple of 4 of
// kept.size().
void DropoutMask(double rate, uint64_t seed, uint32_t position, uint32_t step, uint32_t layer,
                 std::span<uint32_t> words, std::span<uint8_t> kept);
template <typename T>
void Dropout(double rate, std::span<const uint8_t> kept, const T* in, T* out);

// to[column][row] = from[row][column]; adds if `add`.
template <typename T>
void Transpose(size_t rows, size_t columns, const T* from, T* to, bool add = false);

// Softmax and cross-entropy, in double whatever T. `logits` becomes the gradient of the losses' sum if `with_gradient`.
// Fails if a logit is not finite or a label is not below `classes`.
template <typename T>
Status Loss(uint32_t samples, uint32_t classes, const uint16_t* labels, bool with_gradient, T* logits,
            ShardTally& tally);

// e^x for x <= 0 and the natural logarithm of x >= 1, by correctly rounded operations alone: the same bits everywhere.
double Exp(double x);
double Log(double x);

}  // namespace potluck::cnn::reference

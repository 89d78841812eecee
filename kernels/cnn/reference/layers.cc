#include "kernels/cnn/reference/layers.h"

#include <bit>
#include <cmath>
#include <string>

#include "kernels/cnn/philox_row.h"
#include "kernels/cnn/random.h"

namespace potluck::cnn::reference {

namespace {

// Calls function(row, from, to, start) for every row of output pixels of every tap: it begins at columns[row]; the
// pixels `from` to `to` of it have an input inside the image, the first of them image[start]. Rows outside: from = to.
template <typename Function>
void ForEachRow(const Window& window, const Function& function) {
  const int64_t stride = window.stride, padding = window.padding;
  const int64_t height = window.in.height, width = window.in.width, out_width = window.out.width;
  size_t tap = 0;
  for (uint32_t channel = 0; channel < window.in.channels; ++channel) {
    for (uint32_t ky = 0; ky < window.kernel; ++ky) {
      for (uint32_t kx = 0; kx < window.kernel; ++kx, ++tap) {
        const int64_t shift = int64_t{kx} - padding;
        int64_t from = shift < 0 ? (-shift + stride - 1) / stride : 0;
        int64_t to = shift < width ? (width - 1 - shift) / stride + 1 : 0;
        to = to < out_width ? to : out_width;
        from = from < to ? from : to;
        for (uint32_t y = 0; y < window.out.height; ++y) {
          const int64_t in_y = y * stride + ky - padding;
          const bool is_inside = in_y >= 0 && in_y < height;
          const size_t offset = (size_t{channel} * height + (is_inside ? in_y : 0)) * width;
          const size_t row = tap * window.pixels() + size_t{y} * out_width;
          const bool is_some = is_inside && from < to;
          function(row, is_some ? from : 0, is_some ? to : 0, is_some ? offset + from * stride + shift : 0);
        }
      }
    }
  }
}

}  // namespace

template <typename T>
void ImageToColumns(const Window& window, const T* image, T* columns) {
  ForEachRow(window, [&](size_t row, int64_t from, int64_t to, size_t start) {
    T* const out = columns + row;
    const T* const in = image + start;
    for (int64_t x = 0; x < from; ++x) out[x] = 0;
    if (window.stride == 1) {
      for (int64_t x = from; x < to; ++x) out[x] = in[x - from];
    } else {
      for (int64_t x = from; x < to; ++x) out[x] = in[(x - from) * window.stride];
    }
    for (int64_t x = to; x < window.out.width; ++x) out[x] = 0;
  });
}

template <typename T>
void ColumnsToImage(const Window& window, const T* columns, T* image) {
  const size_t size = window.in.size();
  for (size_t i = 0; i < size; ++i) image[i] = 0;
  ForEachRow(window, [&](size_t row, int64_t from, int64_t to, size_t start) {
    const T* const in = columns + row;
    T* const out = image + start;
    if (window.stride == 1) {
      for (int64_t x = from; x < to; ++x) out[x - from] += in[x];
    } else {
      for (int64_t x = from; x < to; ++x) out[(x - from) * window.stride] += in[x];
    }
  });
}

template <typename T>
void MaxPoolForward(const Window& window, const T* in, T* out, uint32_t* places) {
  const size_t width = window.in.width;
  for (uint32_t channel = 0; channel < window.out.channels; ++channel) {
    for (uint32_t y = 0; y < window.out.height; ++y) {
      for (uint32_t x = 0; x < window.out.width; ++x) {
        const size_t corner =
            (size_t{channel} * window.in.height + size_t{y} * window.stride) * width + size_t{x} * window.stride;
        size_t place = corner;
        for (uint32_t ky = 0; ky < window.kernel; ++ky) {
          for (uint32_t kx = 0; kx < window.kernel; ++kx) {
            const size_t other = corner + ky * width + kx;
            if (in[other] > in[place] || in[other] != in[other]) place = other;  // NaN wins, and stays.
          }
        }
        *out++ = in[place];
        *places++ = static_cast<uint32_t>(place);
      }
    }
  }
}

template <typename T>
void MaxPoolBackward(const Window& window, const T* out_gradient, const uint32_t* places, T* in_gradient) {
  const size_t in = window.in.size(), out = window.out.size();
  for (size_t i = 0; i < in; ++i) in_gradient[i] = 0;
  for (size_t i = 0; i < out; ++i) in_gradient[places[i]] += out_gradient[i];
}

template <typename T>
void Relu(std::span<T> values) {
  for (T& value : values) value = value < 0 ? 0 : value;  // NaN stays.
}

template <typename T>
void ReluBackward(std::span<const T> out, std::span<T> gradient) {
  for (size_t i = 0; i < out.size(); ++i) gradient[i] = out[i] == 0 ? 0 : gradient[i];
}

void DropoutMask(double rate, uint64_t seed, uint32_t position, uint32_t step, uint32_t layer,
                 std::span<uint32_t> words, std::span<uint8_t> kept) {
  const uint32_t below = KeepBelow(rate);
  PhiloxRow(seed, 0, (kept.size() + 3) / 4, position, step, Word3(Purpose::kDropout, layer), words.data());
  for (size_t i = 0; i < kept.size(); ++i) kept[i] = words[i] < below;
}

template <typename T>
void Dropout(double rate, std::span<const uint8_t> kept, const T* in, T* out) {
  const T factor = static_cast<T>(1 / (1 - rate));
  for (size_t i = 0; i < kept.size(); ++i) out[i] = kept[i] ? in[i] * factor : 0;
}

template <typename T>
void Transpose(size_t rows, size_t columns, const T* from, T* to, bool add) {
  constexpr size_t kBlock = 16;  // A cache line either way.
  for (size_t row = 0; row < rows; row += kBlock) {
    const size_t row_end = row + kBlock < rows ? row + kBlock : rows;
    for (size_t column = 0; column < columns; column += kBlock) {
      const size_t column_end = column + kBlock < columns ? column + kBlock : columns;
      for (size_t r = row; r < row_end; ++r) {
        for (size_t c = column; c < column_end; ++c) {
          T& target = to[c * rows + r];
          target = add ? target + from[r * columns + c] : from[r * columns + c];
        }
      }
    }
  }
}

double Exp(double x) {
  if (x < -745) return 0;  // Below the least double.
  constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;  // fdlibm's split.
  constexpr double kInverseLn2 = 1.44269504088896338700e+00;
  const double halves = std::floor(x * kInverseLn2 + 0.5);
  const double rest = (x - halves * kLn2High) - halves * kLn2Low;
  double sum = 1;
  for (int n = 14; n >= 1; --n) sum = 1 + rest * sum / n;
  // In two steps, as 2^halves alone may be too small.
  const int power = static_cast<int>(halves), half = power / 2;
  const auto two_to = [](int exponent) { return std::bit_cast<double>(static_cast<uint64_t>(1023 + exponent) << 52); };
  return sum * two_to(half) * two_to(power - half);
}

double Log(double x) {
  constexpr double kLn2 = 6.93147180559945309417e-01;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0xfffffffffffffull) | uint64_t{1023} << 52);
  if (mantissa > 1.41421356237309504880) {
    mantissa /= 2;
    ++exponent;
  }
  // The series of the inverse hyperbolic tangent: |s| < 0.172.
  const double s = (mantissa - 1) / (mantissa + 1), square = s * s;
  double sum = 0;
  for (int n = 23; n >= 1; n -= 2) sum = sum * square + 1.0 / n;
  return exponent * kLn2 + 2 * s * sum;
}

template <typename T>
Status Loss(uint32_t samples, uint32_t classes, const uint16_t* labels, bool with_gradient, T* logits,
            ShardTally& tally) {
  tally = {};
  for (uint32_t sample = 0; sample < samples; ++sample, logits += classes) {
    const uint32_t label = labels[sample];
    if (label >= classes) {
      return Status::Error("The label of sample " + std::to_string(sample) + " is " + std::to_string(label) +
                           "; allowed: 0 to " + std::to_string(classes - 1) + ".");
    }
    uint32_t best = 0;
    for (uint32_t i = 0; i < classes; ++i) {
      if (!std::isfinite(logits[i])) {
        return Status::Error("Logit " + std::to_string(i) + " of sample " + std::to_string(sample) +
                             " is not a finite number: training has diverged, or the parameters are damaged.");
      }
      if (logits[i] > logits[best]) best = i;
    }
    const double most = logits[best];
    double sum = 0;
    for (uint32_t i = 0; i < classes; ++i) sum += Exp(logits[i] - most);
    tally.loss_sum += Log(sum) - (logits[label] - most);
    tally.hits += best == label;
    if (!with_gradient) continue;
    for (uint32_t i = 0; i < classes; ++i) {
      logits[i] = static_cast<T>(Exp(logits[i] - most) / sum - (i == label ? 1.0 : 0.0));
    }
  }
  return {};
}

#define POTLUCK_INSTANTIATE(T)                                                 \
  template void ImageToColumns(const Window&, const T*, T*);                   \
  template void ColumnsToImage(const Window&, const T*, T*);                   \
  template void MaxPoolForward(const Window&, const T*, T*, uint32_t*);        \
  template void MaxPoolBackward(const Window&, const T*, const uint32_t*, T*); \
  template void Relu(std::span<T>);                                            \
  template void ReluBackward(std::span<const T>, std::span<T>);                \
  template void Dropout(double, std::span<const uint8_t>, const T*, T*);       \
  template void Transpose(size_t, size_t, const T*, T*, bool);                 \
  template Status Loss(uint32_t, uint32_t, const uint16_t*, bool, T*, ShardTally&);
POTLUCK_INSTANTIATE(float)
POTLUCK_INSTANTIATE(double)
#undef POTLUCK_INSTANTIATE

}  // namespace potluck::cnn::reference

// What is done value by value, in the vectors of vector_lanes.h; see vector_kernels.h.
#pragma once

#include "kernels/cnn/onednn/vector_lanes.h"

namespace potluck::cnn {
namespace {

inline void ReluBackward(size_t count, const float* output, float* gradient) {
  for (size_t i = 0; i < count; i += kLanes)
    Store(gradient + i, OnlyWherePositive(Load(output + i), Load(gradient + i)));
}

inline void ApplyMask(size_t count, const uint8_t* keep, float scale, const float* from, float* to) {
  for (size_t i = 0; i < count; i += kLanes) {
    Store(to + i, OnlyWhereEqual(LoadBytes(keep + i), SetI(1), Mul(Load(from + i), Set(scale))));
  }
}

// Philox (random.h), a counter a lane in its first word.
POTLUCK_INLINE void PhiloxLanes(uint64_t key, VecI counter, uint32_t c1, uint32_t c2, uint32_t c3, VecI words[4]) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  const VecI m0 = SetI(static_cast<int32_t>(0xD2511F53u)), m1 = SetI(static_cast<int32_t>(0xCD9E8D57u));
  VecI w0 = counter, w1 = SetI(static_cast<int32_t>(c1)), w2 = SetI(static_cast<int32_t>(c2)),
       w3 = SetI(static_cast<int32_t>(c3));
  for (int round = 0; round < 10; ++round) {
    VecI high0, low0, high1, low1;
    Product(w0, m0, high0, low0);
    Product(w2, m1, high1, low1);
    w0 = XorI(XorI(high1, w1), SetI(static_cast<int32_t>(k0)));
    w2 = XorI(XorI(high0, w3), SetI(static_cast<int32_t>(k1)));
    w1 = low1;
    w3 = low0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = w0;
  words[1] = w1;
  words[2] = w2;
  words[3] = w3;
}

// Element e = channel * pixels + pixel takes word e % 4 of counter e / 4. Where pixels is a multiple of 4, a lane a
// channel gives four pixels at a time; elsewhere a lane's word is picked from four.
inline void DropoutMask(uint32_t channels, uint32_t pixels, uint64_t seed, uint32_t position, uint32_t step,
                        uint32_t word3, uint32_t keep_below, uint8_t* keep) {
  alignas(64) int32_t lane_number[kLanes];
  for (uint32_t i = 0; i < kLanes; ++i) lane_number[i] = static_cast<int32_t>(i);
  const VecI lane = LoadI(lane_number), limit = SetI(static_cast<int32_t>(keep_below));
  for (uint32_t first = 0; first < channels; first += kLanes) {
    uint8_t* const to = keep + size_t{first} * pixels;
    const VecI channel = AddI(SetI(static_cast<int32_t>(first)), lane);
    const VecI real = OneWhereBelow(channel, SetI(static_cast<int32_t>(channels)));
    if (pixels % 4 == 0) {
      const VecI base = MulI(channel, SetI(static_cast<int32_t>(pixels / 4)));
      for (uint32_t p = 0; p < pixels; p += 4) {
        VecI words[4];
        PhiloxLanes(seed, AddI(base, SetI(static_cast<int32_t>(p / 4))), position, step, word3, words);
        for (uint32_t i = 0; i < 4; ++i) {
          StoreBytes(to + size_t{p + i} * kLanes, AndI(OneWhereBelow(words[i], limit), real));
        }
      }
      continue;
    }
    for (uint32_t p = 0; p < pixels; ++p) {
      const VecI element = AddI(MulI(channel, SetI(static_cast<int32_t>(pixels))), SetI(static_cast<int32_t>(p)));
      VecI words[4];
      PhiloxLanes(seed, Quarter(element), position, step, word3, words);
      const VecI place = AndI(element, SetI(3));
      VecI word = words[0];
      for (int32_t i = 1; i < 4; ++i) word = SelectEqual(place, SetI(i), words[i], word);
      StoreBytes(to + size_t{p} * kLanes, AndI(OneWhereBelow(word, limit), real));
    }
  }
}

inline void MaxPool(uint32_t blocks, uint32_t height, uint32_t width, uint32_t window, uint32_t stride,
                    const float* input, float* output, int32_t* route) {
  const uint32_t out_height = (height - window) / stride + 1, out_width = (width - window) / stride + 1;
  for (uint32_t block = 0; block < blocks; ++block) {
    const float* const plane = input + size_t{block} * height * width * kLanes;
    for (uint32_t y = 0; y < out_height; ++y) {
      for (uint32_t x = 0; x < out_width; ++x) {
        const float* const corner = plane + (size_t{y} * stride * width + size_t{x} * stride) * kLanes;
        Vec best = Load(corner);
        VecI from = SetI(0);
        for (uint32_t i = 0; i < window; ++i) {
          for (uint32_t j = i == 0 ? 1 : 0; j < window; ++j) {
            const Vec value = Load(corner + (size_t{i} * width + j) * kLanes);
            from = SelectGreater(value, best, SetI(static_cast<int32_t>(i * window + j)), from);
            best = Max(best, value);
          }
        }
        Store(output, best);
        StoreI(route, from);
        output += kLanes;
        route += kLanes;
      }
    }
  }
}

inline void MaxPoolBackward(uint32_t blocks, uint32_t height, uint32_t width, uint32_t window, uint32_t stride,
                            const float* gradient, const int32_t* route, float* dinput) {
  const uint32_t out_height = (height - window) / stride + 1, out_width = (width - window) / stride + 1;
  for (size_t i = 0; i < size_t{blocks} * height * width * kLanes; i += kLanes) Store(dinput + i, Zero());
  for (uint32_t block = 0; block < blocks; ++block) {
    float* const plane = dinput + size_t{block} * height * width * kLanes;
    for (uint32_t y = 0; y < out_height; ++y) {
      for (uint32_t x = 0; x < out_width; ++x) {
        float* const corner = plane + (size_t{y} * stride * width + size_t{x} * stride) * kLanes;
        const Vec g = Load(gradient);
        const VecI from = LoadI(route);
        for (uint32_t i = 0; i < window; ++i) {
          for (uint32_t j = 0; j < window; ++j) {
            float* const at = corner + (size_t{i} * width + j) * kLanes;
            Store(at, Add(Load(at), OnlyWhereEqual(from, SetI(static_cast<int32_t>(i * window + j)), g)));
          }
        }
        gradient += kLanes;
        route += kLanes;
      }
    }
  }
}

}  // namespace
}  // namespace potluck::cnn

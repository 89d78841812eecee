#include "kernels/cnn/data/order.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace potluck::cnn {

std::vector<uint32_t> EpochOrder(uint64_t seed, uint32_t epoch, uint32_t samples) {
  // Key and index in one number, so that plain numbers are sorted.
  std::vector<uint64_t> keyed(samples);
  for (uint32_t index = 0; index < samples;) {
    const Philox4 random = Philox(seed, index / 4, epoch, 0, Word3(Purpose::kShuffle));
    const uint32_t count = std::min(samples - index, 4u);
    for (uint32_t i = 0; i < count; ++i, ++index) keyed[index] = uint64_t{random.word[i]} << 32 | index;
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<uint32_t> order(samples);
  for (uint32_t place = 0; place < samples; ++place) order[place] = static_cast<uint32_t>(keyed[place]);
  return order;
}

void ShiftImage(const Shape& shape, const uint8_t* from, Shift by, uint8_t* to) {
  const auto height = static_cast<int64_t>(shape.height), width = static_cast<int64_t>(shape.width);
  std::memset(to, 0, shape.size());
  const int64_t copied = width - std::abs(int64_t{by.dx});
  if (copied <= 0) return;
  for (uint32_t channel = 0; channel < shape.channels; ++channel, from += height * width, to += height * width) {
    for (int64_t y = std::max<int64_t>(0, by.dy); y < std::min(height, height + by.dy); ++y) {
      std::memcpy(to + y * width + std::max<int64_t>(0, by.dx),
                  from + (y - by.dy) * width + std::max<int64_t>(0, -int64_t{by.dx}), static_cast<size_t>(copied));
    }
  }
}

}  // namespace potluck::cnn

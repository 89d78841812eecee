// The order in which a run goes through its samples, and how images are moved: by counter-based random numbers
// (kernels/cnn/random.h), so that both follow from the seed and a position in the run, on any machine.
//
// Positions count samples over the whole run: position p is at place p % samples of epoch p / samples, epochs counted
// from 0. Pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cnn/model.h"
#include "kernels/cnn/random.h"

namespace potluck::cnn {

// The samples of an epoch in the order of training: sorted by (key, index), where the key of sample `index` is word
// index % 4 of Philox(seed, index / 4, epoch, 0, Word3(kShuffle)). At most 2^32 - 1 samples.
std::vector<uint32_t> EpochOrder(uint64_t seed, uint32_t epoch, uint32_t samples);

struct Shift {
  int32_t dx = 0, dy = 0;  // To the right and down.
};

// How far the image at `position` (modulo 2^32) is moved: dx from word 0 and dy from word 1 of Philox(seed, 0,
// position, 0, Word3(kShift)), each as the upper half of word * (2 * shift + 1), less `shift`: -shift to shift.
POTLUCK_HOST_DEVICE Shift ShiftOf(uint64_t seed, uint32_t position, uint32_t shift) {
  const Philox4 random = Philox(seed, 0, position, 0, Word3(Purpose::kShift));
  const uint64_t range = 2 * uint64_t{shift} + 1;
  Shift moved;
  moved.dx = static_cast<int32_t>(random.word[0] * range >> 32) - static_cast<int32_t>(shift);
  moved.dy = static_cast<int32_t>(random.word[1] * range >> 32) - static_cast<int32_t>(shift);
  return moved;
}

// Copies an image moved by `by`; what comes in from outside is 0. `to` does not overlap `from`.
void ShiftImage(const Shape& shape, const uint8_t* from, Shift by, uint8_t* to);

}  // namespace potluck::cnn

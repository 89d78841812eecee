// Draws a set of handwritten-looking digits, for trying out without any download: strokes of a few glyphs a digit, each
// bent, slanted, scaled, moved, drawn with a pen of its own and strewn with noise. Not MNIST, and easier.
//
// Every number comes by counter from (seed, set, sample) (random.h, Purpose::kSynthesis), and only exact operations are
// used: equal options give equal pixels on every machine. Pure functions, thread-safe.
#pragma once

#include <cstdint>

#include "kernels/cnn/data/data_set.h"

namespace potluck::cnn {

struct SynthesisOptions {
  uint32_t train = 12000;  // Samples of either set.
  uint32_t test = 2000;
  uint64_t seed = 1;
};

// 28 x 28, one channel, 10 classes of about equal size.
DataPair DrawDigits(const SynthesisOptions& options);

}  // namespace potluck::cnn

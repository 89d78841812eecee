// Labelled images as training uses them: 8-bit pixels, one label an image. Plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cnn/model.h"

namespace potluck::cnn {

struct DataSet {
  std::string name;  // For people: "mnist", or the name of the folder.
  Shape shape;
  uint32_t classes = 0;          // Labels are below this.
  std::vector<uint8_t> pixels;   // [samples][channels][height][width]
  std::vector<uint16_t> labels;  // [samples]

  uint64_t samples() const { return labels.size(); }
  const uint8_t* image(uint64_t sample) const { return pixels.data() + sample * shape.size(); }
  friend bool operator==(const DataSet&, const DataSet&) = default;
};

// Labels as a file holds them: each has a place, for sentences.
struct LabelArray {
  std::vector<uint16_t> labels;
  uint64_t begin = 0;  // Offset of the first in the file.
  uint64_t width = 1;  // Bytes a label.
};

// What is trained with, and what tells how well: images of one shape, labels of the same classes.
struct DataPair {
  DataSet train, test;
  std::string format;              // "idx", "cifar-10", "npy", "csv"
  std::vector<std::string> files;  // That were read.
};

}  // namespace potluck::cnn

// IDX, the format of MNIST (yann.lecun.com/exdb/mnist): two zero bytes, the type of the elements, the number of
// dimensions, the dimensions as big-endian 32-bit numbers, the elements. Here of unsigned bytes (type 8).
//
// Pure functions, thread-safe. `path` is for sentences, which name file, offset, what was found and what was expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cnn/data/data_set.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

struct IdxArray {
  std::vector<uint64_t> dims;
  size_t begin = 0;  // Of the elements in the file.
};

// The header of an IDX file of `least` to `most` dimensions, with exactly the elements that it announces behind it.
Result<IdxArray> ParseIdx(const std::string& path, std::string_view bytes, uint32_t least, uint32_t most);

// Images ([n][height][width], or [n][channels][height][width]) into `data`'s shape and pixels; their number.
Result<uint64_t> ReadIdxImages(const std::string& path, std::string_view bytes, DataSet& data);
// Labels ([n]).
Result<LabelArray> ReadIdxLabels(const std::string& path, std::string_view bytes);

// As MNIST's files: three dimensions where there is one channel, else four.
std::string WriteIdxImages(const DataSet& data);
// Labels must be below 256.
std::string WriteIdxLabels(const DataSet& data);

}  // namespace potluck::cnn

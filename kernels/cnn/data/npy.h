// .npy, NumPy's format of one array (numpy.org/doc/stable/reference/generated/numpy.lib.format.html), as far as images
// and labels use it: whole numbers, in C's order.
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

// Images of unsigned bytes: [n][height][width], [n][channels][height][width] or, if the last dimension is 1, 3 or 4 and
// the second is not, [n][height][width][channels], which is turned. Into `data`'s shape and pixels; their number.
Result<uint64_t> ReadNpyImages(const std::string& path, std::string_view bytes, DataSet& data);
// Labels: [n] or [n][1], whole numbers of 8 to 64 bits, 0 to 65,534.
Result<LabelArray> ReadNpyLabels(const std::string& path, std::string_view bytes);

// Format 1.0; images as [n][height][width] where there is one channel, else [n][channels][height][width].
std::string WriteNpyImages(const DataSet& data);
// As unsigned bytes, or 16-bit numbers if a label needs them.
std::string WriteNpyLabels(const DataSet& data);

}  // namespace potluck::cnn

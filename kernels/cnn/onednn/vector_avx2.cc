#include "kernels/cnn/onednn/vector_table.h"

namespace potluck::cnn {

extern const VectorKernels kAvx2Kernels;
const VectorKernels kAvx2Kernels = Table("avx2");

}  // namespace potluck::cnn

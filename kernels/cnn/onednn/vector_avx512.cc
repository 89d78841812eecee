#include "kernels/cnn/onednn/vector_table.h"

namespace potluck::cnn {

extern const VectorKernels kAvx512Kernels;
const VectorKernels kAvx512Kernels = Table("avx512");

}  // namespace potluck::cnn

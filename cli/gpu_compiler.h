// A compiler that makes GPU machine code (cubins) of kernel files on the machine at hand: the toolkit's nvcc, or NVRTC
// as Python packages bring it (nvidia-cuda-nvrtc, PyTorch), opened at run time.
//
// Not thread-safe. Errors are sentences that say what to install.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace potluck {

class GpuCompiler {
 public:
  virtual ~GpuCompiler() = default;
  // "nvcc 12.8", "NVRTC 12.8"
  virtual std::string name() const = 0;
  // 12080 is 12.8.
  virtual int cuda_version() const = 0;
  // A folder with cuda.h.
  virtual const std::string& cuda_include() const = 0;
  // Which architectures it knows, ascending: 75 is sm_75.
  virtual const std::vector<int>& architectures() const = 0;
  // Writes the code of `source` for sm_`architecture` to `output`. Includes are found from `root`.
  virtual absl::Status Compile(const std::string& source, const std::string& root, int architecture,
                               const std::string& output) = 0;
};

// Where to look.
struct GpuCompilerPlaces {
  std::vector<std::string> nvcc;     // Programs, there or not.
  std::vector<std::string> python;   // Folders of Python packages.
  std::vector<std::string> include;  // Folders with cuda.h, there or not, besides those of the packages and of nvcc.
};

// nvcc of $CUDA_HOME if that is set, else of PATH or /usr/local/cuda; NVRTC of $POTLUCK_NVRTC_ROOT if that is set, else
// of `checkout`/build/python, of python3's packages and of /usr/local/cuda.
GpuCompilerPlaces UsualPlaces(const std::string& checkout);

// `wanted` is "auto", "nvcc" or "nvrtc". Code of a newer major CUDA version than the driver's (`driver_version`; 0: not
// known) would not load, so auto takes the first that is not newer, nvcc before NVRTC; where the driver is not known,
// the older one. NotFound says what to install.
absl::StatusOr<std::unique_ptr<GpuCompiler>> FindGpuCompiler(const GpuCompilerPlaces& places, const std::string& wanted,
                                                             int driver_version);

}  // namespace potluck

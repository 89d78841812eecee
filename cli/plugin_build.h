// Builds the GPU plug-in (libpotluck_cuda.so) on the machine that is to use it, from the kernels' sources: a C++
// compiler and a compiler of GPU code (gpu_compiler.h) are enough, no CMake. For GPUs that the plug-in of the release
// does not fit.
//
// Blocks, for a minute or so. Errors are sentences that say what is missing.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace potluck {

struct PluginBuildOptions {
  std::string architectures;      // "75,80"; empty: those of the GPUs found here.
  std::string compiler = "auto";  // "nvcc", "nvrtc"
  std::function<void(const std::string& sentence)> say;
};

struct BuiltPlugin {
  std::string path;
  std::string compiler;  // "NVRTC 12.8"
  std::vector<int> architectures;
  double seconds = 0;
  uint64_t size = 0;  // Bytes.

  // For people, one line.
  std::string Text() const;
};

// Beside the program where that can be written, else in BuiltPluginDirectory (worker/cache_directory.h), where workers
// look too. What was there before is replaced at once or not at all.
absl::StatusOr<BuiltPlugin> BuildGpuPlugin(const PluginBuildOptions& options);

// "75,80" as {75, 80}.
absl::StatusOr<std::vector<int>> ParseArchitectures(const std::string& list);

// For each that is wanted the newest of the known whose code it runs: the same major one, no newer; without repeats.
// FailedPrecondition names one that nothing fits.
absl::StatusOr<std::vector<int>> FittingArchitectures(const std::vector<int>& wanted, const std::vector<int>& known,
                                                      const std::string& compiler);

// The folder that holds the kernels' sources as kernels/, beside the program or above it (a checkout). NotFound.
absl::StatusOr<std::string> FindKernelSources(const std::string& program_folder);

}  // namespace potluck

// The contract between the program and its CPU plug-in (libpotluck_onednn.so), which computes networks with oneDNN and
// vector code of its own.
//
// It is C++ on both sides: program and plug-in come from one build, and kAbiVersion is raised by any change of this
// file, of backend.h or of model.h. The plug-in exports one symbol, potluck_onednn_plugin(), which returns a table; of
// it only `abi_version` may be read before it was compared. Once loaded, the plug-in stays until the process ends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/workload/status.h"

namespace potluck::cnn {

inline constexpr uint32_t kOnednnAbiVersion = 1;
inline constexpr char kOnednnPluginSymbol[] = "potluck_onednn_plugin";

struct OnednnPlugin {
  uint32_t abi_version;
  // As CpuBackendClass; empty where the processor cannot run any of the plug-in's code.
  std::string (*device_class)();
  // `vectors`: which vector code, "avx512" or "avx2"; empty: the best. Fails with a sentence where the processor lacks
  // what the precision or the vectors need.
  Result<std::unique_ptr<Backend>> (*make_backend)(const Model& model, Precision precision, const std::string& vectors);
};

using OnednnPluginEntry = const OnednnPlugin* (*)();

// Loads the plug-in, once a path and process; thread-safe. Every way in which that can fail, a missing file, a missing
// library, another version, is one sentence.
Result<const OnednnPlugin*> LoadOnednnPlugin(const std::string& path);

// Where it lies unless somebody says otherwise: libpotluck_onednn.so in the running program's folder.
std::string OnednnPluginBesideProgram();

}  // namespace potluck::cnn

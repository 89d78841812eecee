// The bytes of files that people have, compressed or not, and where in them something is wrong. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/workload/status.h"

namespace potluck::cnn {

// The whole file, without compression: what begins as a gzip file, or is named so, is decompressed. Fails with a
// sentence that names the file and, in compressed data, the offset of the damage.
Result<std::string> ReadDataFile(const std::string& path);
// The same of bytes that are in memory; `path` is for sentences.
Result<std::string> Decompress(const std::string& path, std::string_view bytes);

// "PATH, offset N: WHAT": how a reader tells what is wrong.
Status WrongAt(const std::string& path, uint64_t offset, const std::string& what);
// "PATH: it has SIZE bytes, but WHY makes EXPECTED": short, or with something behind its end.
Status CheckSize(const std::string& path, uint64_t size, uint64_t expected, const std::string& why);

}  // namespace potluck::cnn

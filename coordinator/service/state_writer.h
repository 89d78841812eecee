// Writes a planner's state, which comes in parts and may be large, as one blob, without putting the parts together.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/service/blob_keeper.h"
#include "kernels/workload/shared_bytes.h"

namespace potluck {

// The blob is complete and durable on return, and stays while what is returned does. Errors are BlobKeeper::StartPut's
// and BlobStore::PutPiece's.
absl::StatusOr<std::unique_ptr<BlobKeeper::Put>> WriteState(BlobKeeper& blobs, const std::vector<SharedBytes>& parts);

}  // namespace potluck

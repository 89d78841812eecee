// Writes the certificate of a job from what its coordinator tells: `nqueens --certificate` and `jobs certificate`.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/output_file.h"
#include "proto/jobs.pb.h"

namespace potluck {

// Ok for an N-Queens job that is done; else why no certificate can be written.
absl::Status CheckCertifiable(const v1::JobStatus& status);

// Reads the job's slices, adds them up again, compares the sum with the job's result, and finishes `file`, which
// nothing was written to yet. Returns how many slices it names. Blocks; holds one message of slices at a time.
absl::StatusOr<uint64_t> WriteCertificate(Client& client, uint64_t job, OutputFile& file);

}  // namespace potluck

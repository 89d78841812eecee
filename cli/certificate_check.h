// Checks a certificate: that it is whole, that its slices cover the job and add up to what it says and to what is
// published, and that slices drawn by chance, recomputed here, have the counts it gives.
//
// Every error is a sentence that names what is wrong first; its code says nothing more. Holds in memory the slices that
// are to be recomputed, some hundred bytes each, and no others.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/certificate.h"
#include "cli/certificate_reader.h"
#include "kernels/workload/runner.h"

namespace potluck {

struct CertificateCheckOptions {
  // The share of the slices to recompute, 0 to 1: each is drawn by a hash of `seed` and its place. Above 0 at least
  // one.
  double sample = 0.01;
  uint64_t seed = 0;
  // No further slice is begun after this.
  absl::Duration longest = absl::InfiniteDuration();
  // The clock that `longest` is measured by.
  std::function<absl::Time()> now;
  // Told before each slice that is recomputed.
  std::function<void(uint64_t done, uint64_t drawn)> progress = [](uint64_t, uint64_t) {};
};

struct CertificateFindings {
  CertificateHeader header;
  CertificateTotals totals;
  uint64_t workers = 0;           // Names among the slices.
  uint64_t verified_slices = 0;   // By a second worker, as the certificate says.
  uint64_t recomputed = 0;        // Slices.
  uint64_t drawn = 0;             // As many as that, unless the time ran out.
  std::optional<bool> published;  // True: the total is the published one; nullopt: none is.
};

// Makes the runner that recomputes; called once, if there is anything to recompute.
using RunnerMaker = std::function<absl::StatusOr<std::unique_ptr<Runner>>()>;

// The certificate holds, or the first thing that is wrong with it.
absl::StatusOr<CertificateFindings> CheckCertificate(CertificateReader& reader, const CertificateCheckOptions& options,
                                                     const RunnerMaker& make_runner);

}  // namespace potluck

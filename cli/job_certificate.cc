#include "cli/job_certificate.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "cli/certificate.h"
#include "cli/certificate_ledger.h"
#include "cli/job_output.h"

namespace potluck {
namespace {

// One certificate on its way into a file.
class Writing {
 public:
  explicit Writing(OutputFile& file) : file_(file) {}

  absl::Status Take(const v1::SlicesReply& reply) {
    if (reply.has_job()) return Begin(reply.job(), reply.coordinator_version());
    for (const v1::StoredSlice& slice : reply.slices()) {
      if (absl::Status added = Add(slice); !added.ok()) return added;
    }
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (!ledger_) return absl::InternalError("the coordinator told nothing about the job");
    if (absl::Status cover = ledger_->CheckCover(); !cover.ok()) return Wrong(cover);
    const absl::StatusOr<nqueens::Counts> sum = ledger_->Sum();
    if (!sum.ok()) return Wrong(sum.status());
    if (Encode(*sum) != summary_) return Wrong(absl::DataLossError("its slices do not add up to its result"));
    const std::string totals = ToLine(CertificateTotals{ledger_->slices(), *sum, HexDigest(digest_.Digest())});
    if (absl::Status written = file_.Write(totals); !written.ok()) return written;
    return file_.Finish();
  }

  uint64_t slices() const { return ledger_->slices(); }

 private:
  absl::Status Begin(const v1::JobStatus& job, const std::string& version) {
    job_ = job.job();
    if (absl::Status status = CheckCertifiable(job); !status.ok()) return status;
    const Result<nqueens::Spec> spec = nqueens::DecodeSpec(job.spec());
    if (!spec.ok()) return Wrong(absl::InvalidArgumentError(spec.status().message()));
    absl::StatusOr<std::unique_ptr<CertificateLedger>> ledger = CertificateLedger::Open(*spec, job.size());
    if (!ledger.ok()) return Wrong(ledger.status());
    ledger_ = *std::move(ledger);
    summary_ = job.summary();
    return Write(ToLine(CertificateHeader{ledger_->spec(), ledger_->index_space(), version,
                                          absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone())}));
  }

  absl::Status Add(const v1::StoredSlice& stored) {
    if (!ledger_) return absl::InternalError("the coordinator told slices before it told the job");
    const Result<nqueens::Counts> counts = nqueens::DecodeCounts(stored.payload());
    if (!counts.ok()) return Wrong(absl::InvalidArgumentError(counts.status().message()));
    const CertificateSlice slice{{stored.begin(), stored.end()},
                                 *counts,
                                 stored.worker(),
                                 stored.worker_version(),
                                 stored.worker_devices(),
                                 stored.verified_by()};
    if (absl::Status added = ledger_->Add(slice); !added.ok()) return Wrong(added);
    return Write(ToLine(slice));
  }

  absl::Status Write(const std::string& line) {
    digest_.Add(line);
    return file_.Write(line);
  }

  absl::Status Wrong(const absl::Status& status) const {
    return absl::DataLossError(absl::StrCat("no certificate of job ", job_, " can be written: ", status.message()));
  }

  OutputFile& file_;
  uint64_t job_ = 0;
  std::string summary_;
  std::unique_ptr<CertificateLedger> ledger_;
  Sha256Stream digest_;
};

}  // namespace

absl::Status CheckCertifiable(const v1::JobStatus& status) {
  if (status.workload() != "nqueens") {
    return absl::FailedPreconditionError(absl::StrCat("job ", status.job(), " is of workload \"", status.workload(),
                                                      "\"; certificates are written of nqueens jobs"));
  }
  if (status.state() == v1::JobStatus::DONE) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("job ", status.job(), " is ", StateName(status.state()),
                                                    "; a certificate can be written of a job that is done"));
}

absl::StatusOr<uint64_t> WriteCertificate(Client& client, uint64_t job, OutputFile& file) {
  Writing writing(file);
  const absl::Status read = client.Slices(job, [&](const v1::SlicesReply& reply) { return writing.Take(reply); });
  if (!read.ok()) return read;
  if (absl::Status finished = writing.Finish(); !finished.ok()) return finished;
  return writing.slices();
}

}  // namespace potluck

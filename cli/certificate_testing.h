// For tests: certificates made here, and made wrong.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "cli/certificate.h"
#include "cli/certificate_ledger.h"
#include "kernels/workload/registry.h"
#include "kernels/workload/runner.h"

namespace potluck {

inline std::unique_ptr<Runner> TestRunner() {
  return std::move(MakeCpuRunner("nqueens", {.threads = 1, .dispatch = "scalar"}).value());
}

// A certificate as values: to be changed, then written.
struct TestCertificate {
  CertificateHeader header;
  std::vector<CertificateSlice> slices;
  CertificateTotals totals;

  // Of a board of n, in slices of about so many subproblems, by two workers in turn.
  static TestCertificate Of(uint32_t n, uint64_t slice_size) {
    TestCertificate certificate;
    const auto ledger = CertificateLedger::Open(nqueens::Spec{.n = n}, 0).value();
    certificate.header = {ledger->spec(), ledger->index_space(), "0.1.0", "2026-03-01T12:00:00Z"};
    const std::unique_ptr<Runner> runner = TestRunner();
    EXPECT_TRUE(runner->Open(ledger->round_payload()).ok());
    for (uint64_t begin = 0; begin < ledger->index_space(); begin += slice_size) {
      CertificateSlice slice;
      slice.interval = {begin, std::min(begin + slice_size, ledger->index_space())};
      RunControl control(slice.interval);
      const Status ran =
          runner->Run(slice.interval, control, RunOptions{}, [&](Interval, std::string_view payload, double) {
            EXPECT_TRUE(slice.counts.Add(nqueens::DecodeCounts(payload).value()));
          });
      EXPECT_TRUE(ran.ok()) << ran.message();
      slice.worker = certificate.slices.size() % 2 == 0 ? "ada" : "bob";
      slice.version = "0.1.0";
      slice.devices = "cpu/scalar/x86-64";
      EXPECT_TRUE(ledger->Add(slice).ok());
      certificate.slices.push_back(slice);
    }
    certificate.totals.slices = ledger->slices();
    certificate.totals.counts = ledger->Sum().value();
    return certificate;
  }

  // All lines, the digest made to fit: what a careful forger writes.
  std::vector<std::string> Lines() const {
    std::vector<std::string> lines = {ToLine(header)};
    for (const CertificateSlice& slice : slices) lines.push_back(ToLine(slice));
    CertificateTotals sealed = totals;
    sealed.sha256 = HexDigest(Sha256(absl::StrJoin(lines, "")));
    lines.push_back(ToLine(sealed));
    return lines;
  }
  std::string Text() const { return absl::StrJoin(Lines(), ""); }
};

}  // namespace potluck

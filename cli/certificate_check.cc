#include "cli/certificate_check.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/certificate_ledger.h"
#include "cli/output.h"
#include "kernels/math/mix64.h"
#include "kernels/nqueens/known.h"

namespace potluck {
namespace {

// A slice to be recomputed.
struct Drawn {
  Interval interval;
  nqueens::Counts counts;
  uint64_t line = 0;
  uint64_t lot = 0;  // Lower ones are recomputed first.
  uint32_t worker = 0;
};

constexpr size_t kMostWorkers = 100'000;  // Their names are held in memory.

// The names of the workers, each once.
class Names {
 public:
  uint32_t Number(const std::string& name) {
    const auto [it, is_new] = numbers_.try_emplace(name, static_cast<uint32_t>(names_.size()));
    if (is_new) names_.push_back(name);
    return it->second;
  }
  const std::string& Name(uint32_t number) const { return names_[number]; }
  size_t size() const { return names_.size(); }

 private:
  std::unordered_map<std::string, uint32_t> numbers_;
  std::vector<std::string> names_;
};

// Draws slices while they pass by.
class Sample {
 public:
  Sample(double share, uint64_t seed) : share_(share), seed_(seed) {}

  void Offer(const CertificateSlice& slice, uint64_t line, uint32_t worker) {
    if (share_ <= 0) return;
    const Drawn drawn{slice.interval, slice.counts, line, Mix64(slice.interval.begin, slice.interval.end, seed_),
                      worker};
    if (share_ >= 1 || static_cast<double>(drawn.lot) < share_ * 0x1p64) drawn_.push_back(drawn);
    if (!lowest_ || drawn.lot < lowest_->lot) lowest_ = drawn;
  }

  // With all of them to be recomputed, in the order of the file, else so that those that come first are drawn fairly.
  std::deque<Drawn> Take(bool in_order) {
    if (drawn_.empty() && lowest_) drawn_.push_back(*lowest_);
    if (!in_order) {
      std::sort(drawn_.begin(), drawn_.end(), [](const Drawn& a, const Drawn& b) { return a.lot < b.lot; });
    }
    return std::move(drawn_);
  }

 private:
  const double share_;
  const uint64_t seed_;
  std::deque<Drawn> drawn_;      // Grows without copying: it may be all of a long certificate.
  std::optional<Drawn> lowest_;  // Taken if the share of a short certificate came to none.
};

absl::Status Differs(const char* what, const std::string& said, const std::string& found, const char* found_how) {
  return absl::InvalidArgumentError(absl::StrCat("the totals say ", said, " ", what, ", but ", found_how, " ", found));
}

class Check {
 public:
  Check(CertificateReader& reader, const CertificateCheckOptions& options)
      : reader_(reader), options_(options), sample_(options.sample, options.seed) {}

  absl::StatusOr<CertificateFindings> Run(const RunnerMaker& make_runner) {
    if (absl::Status read = ReadAll(); !read.ok()) return read;
    if (absl::Status sums = CompareSums(); !sums.ok()) return sums;
    if (absl::Status right = Recompute(make_runner); !right.ok()) return right;
    if (absl::Status known = CompareWithPublished(); !known.ok()) return known;
    findings_.workers = names_.size();
    return findings_;
  }

 private:
  absl::Status ReadAll() {
    absl::StatusOr<CertificateHeader> header = reader_.ReadHeader();
    if (!header.ok()) return header.status();
    absl::StatusOr<std::unique_ptr<CertificateLedger>> ledger =
        CertificateLedger::Open(header->spec, header->index_space);
    if (!ledger.ok()) return reader_.AtLine(ledger.status().message());
    findings_.header = *std::move(header);
    ledger_ = *std::move(ledger);
    while (true) {
      absl::StatusOr<CertificateReader::Line> line = reader_.ReadLine();
      if (!line.ok()) return line.status();
      if (const auto* totals = std::get_if<CertificateTotals>(&*line)) {
        findings_.totals = *totals;
        if (absl::Status cover = ledger_->CheckCover(); !cover.ok()) return reader_.AtLine(cover.message());
        return reader_.CheckEnd(*totals);
      }
      const auto& slice = std::get<CertificateSlice>(*line);
      if (absl::Status added = ledger_->Add(slice); !added.ok()) {
        return reader_.AtLine(absl::StrCat("worker ", Printable(slice.worker), ": ", added.message()));
      }
      if (!slice.verified_by.empty()) ++findings_.verified_slices;
      if (names_.size() > kMostWorkers) {
        return reader_.AtLine(absl::StrCat("there are more than ", kMostWorkers, " workers; no more are allowed"));
      }
      sample_.Offer(slice, reader_.line(), names_.Number(slice.worker));
    }
  }

  absl::Status CompareSums() const {
    const CertificateTotals& totals = findings_.totals;
    if (totals.slices != ledger_->slices()) {
      return Differs("slices", absl::StrCat(totals.slices), absl::StrCat(ledger_->slices()), "there are");
    }
    const absl::StatusOr<nqueens::Counts> sum = ledger_->Sum();
    if (!sum.ok()) return sum.status();
    const auto compare = [](const char* what, Count128 said, Count128 found) {
      return said == found ? absl::OkStatus()
                           : Differs(what, said.ToString(), found.ToString(), "the slices add up to");
    };
    absl::Status status = compare("solutions", totals.counts.solutions, sum->solutions);
    status.Update(compare("nodes", totals.counts.nodes, sum->nodes));
    status.Update(compare("visited nodes", totals.counts.visited, sum->visited));
    status.Update(compare("as the checksum", totals.counts.checksum, sum->checksum));
    return status;
  }

  absl::Status Recompute(const RunnerMaker& make_runner) {
    const bool all = options_.longest == absl::InfiniteDuration();
    const std::deque<Drawn> drawn = sample_.Take(all);
    findings_.drawn = drawn.size();
    if (drawn.empty()) return absl::OkStatus();
    absl::StatusOr<std::unique_ptr<Runner>> runner = make_runner();
    if (!runner.ok()) return runner.status();
    if (Status opened = (*runner)->Open(ledger_->round_payload()); !opened.ok()) {
      return absl::InternalError(opened.message());
    }
    const absl::Time start = all ? absl::Time() : options_.now();
    for (const Drawn& slice : drawn) {
      if (findings_.recomputed > 0 && !all && options_.now() - start >= options_.longest) break;
      options_.progress(findings_.recomputed, drawn.size());
      if (absl::Status right = RecomputeOne(**runner, slice); !right.ok()) return right;
      ++findings_.recomputed;
    }
    return absl::OkStatus();
  }

  absl::Status RecomputeOne(Runner& runner, const Drawn& slice) const {
    nqueens::Counts sum;
    bool readable = true;
    uint64_t position = slice.interval.begin;
    RunControl control(slice.interval);
    const Status ran = runner.Run(slice.interval, control, RunOptions{},
                                  [&](Interval part, std::string_view payload, double /*busy_seconds*/) {
                                    const Result<nqueens::Counts> counts = nqueens::DecodeCounts(payload);
                                    readable = readable && counts.ok() && sum.Add(*counts);
                                    position = part.end;
                                  });
    if (!ran.ok()) return absl::InternalError(ran.message());
    if (!readable || position != slice.interval.end) {
      return absl::InternalError(
          absl::StrCat("slice ", ToString(slice.interval), " cannot be recomputed here: the kernel gave it up"));
    }
    return Compare(slice, sum);
  }

  absl::Status Compare(const Drawn& slice, const nqueens::Counts& right) const {
    const auto wrong = [&](const char* what, const std::string& said, const std::string& found) {
      return absl::InvalidArgumentError(
          absl::StrCat("slice ", ToString(slice.interval), " of worker ", Printable(names_.Name(slice.worker)),
                       " (line ", slice.line, ") is wrong: it has ", said, " ", what, ", this machine finds ", found));
    };
    const nqueens::Counts& counts = slice.counts;
    if (counts.solutions != right.solutions) {
      return wrong("solutions", counts.solutions.ToString(), right.solutions.ToString());
    }
    if (counts.nodes != right.nodes) return wrong("nodes", counts.nodes.ToString(), right.nodes.ToString());
    if (counts.visited != right.visited) {
      return wrong("visited nodes", counts.visited.ToString(), right.visited.ToString());
    }
    if (counts.checksum != right.checksum) {
      return wrong("as its checksum", absl::StrCat(absl::Hex(counts.checksum, absl::kZeroPad16)),
                   absl::StrCat(absl::Hex(right.checksum, absl::kZeroPad16)));
    }
    return absl::OkStatus();
  }

  absl::Status CompareWithPublished() {
    const int n = static_cast<int>(findings_.header.spec.n);
    const nqueens::Counts& counts = findings_.totals.counts;
    const std::optional<Count128> solutions = nqueens::KnownSolutions(n);
    if (solutions) {
      findings_.published = counts.solutions == *solutions;
      if (!*findings_.published) {
        return absl::InvalidArgumentError(absl::StrCat("the total of ", n, " queens is ", counts.solutions.ToString(),
                                                       ", but the published one is ", solutions->ToString(),
                                                       RemainingAdvice()));
      }
    }
    const std::optional<Count128> nodes = nqueens::KnownNodes(n);
    const bool counts_nodes = findings_.header.spec.algorithm == nqueens::kBacktracking;
    if (counts_nodes && nodes && counts.nodes != *nodes) {
      return absl::InvalidArgumentError(absl::StrCat("the nodes of ", n, " queens are ", counts.nodes.ToString(),
                                                     ", but ", nodes->ToString(), " are known", RemainingAdvice()));
    }
    return absl::OkStatus();
  }

  std::string RemainingAdvice() const {
    if (findings_.recomputed == ledger_->slices()) return "";
    return absl::StrCat("; ", findings_.recomputed, " of ", ledger_->slices(),
                        " slices were recomputed and are right: --sample 1 looks at all of them");
  }

  CertificateReader& reader_;
  const CertificateCheckOptions& options_;
  std::unique_ptr<CertificateLedger> ledger_;
  Sample sample_;
  Names names_;
  CertificateFindings findings_;
};

}  // namespace

absl::StatusOr<CertificateFindings> CheckCertificate(CertificateReader& reader, const CertificateCheckOptions& options,
                                                     const RunnerMaker& make_runner) {
  return Check(reader, options).Run(make_runner);
}

}  // namespace potluck

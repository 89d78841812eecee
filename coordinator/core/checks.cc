#include "coordinator/core/checks.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "kernels/math/mix64.h"

namespace potluck {

Finding Judge(const std::vector<CheckRun>& runs) {
  if (runs.size() < 2) return Finding::kNeedsAnotherRun;
  if (runs.size() == 2) return runs[0].result == runs[1].result ? Finding::kAgreed : Finding::kNeedsAnotherRun;
  if (runs[2].result == runs[0].result) return Finding::kSecondWrong;
  return runs[2].result == runs[1].result ? Finding::kFirstWrong : Finding::kAllDiffer;
}

CheckTerms TermsOf(const Check& check) {
  CheckTerms terms;
  for (const CheckRun& run : check.runs) {
    terms.not_by.push_back(run.worker);
    terms.other_than.push_back(run.way);
  }
  terms.same_class_only = !check.is_exact;
  return terms;
}

std::string DigestOfResult(const Planner& planner, std::span<const Part> parts) {
  const Result<std::string> result = planner.Combine(parts);
  return Sha256(result.ok() ? *result : absl::StrCat("not a result: ", result.status().message()));
}

bool IsDrawn(double verify, const std::string& secret, uint32_t round, Interval interval) {
  if (verify <= 0) return false;
  if (verify >= 1) return true;
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
  uint64_t hash = Mix64(round + kGolden);
  for (const char byte : secret) hash = Mix64((hash ^ static_cast<unsigned char>(byte)) + kGolden);
  hash = Mix64((hash ^ interval.begin) + kGolden);
  hash = Mix64((hash ^ interval.end) + kGolden);
  return std::ldexp(static_cast<double>(hash >> 11), -53) < verify;
}

}  // namespace potluck

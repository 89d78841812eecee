#include "cli/contributors.h"

#include <algorithm>

namespace potluck {

std::vector<Contributor> Contributors(const v1::JobStatus& status) {
  std::vector<Contributor> contributors;
  double total = 0;
  for (const v1::Contribution& contribution : status.contributions()) {
    contributors.push_back({.worker = contribution.worker(),
                            .slices = contribution.slices(),
                            .cost = contribution.cost(),
                            .busy_seconds = contribution.busy_seconds(),
                            .bytes_sent = contribution.bytes_sent(),
                            .bytes_received = contribution.bytes_received(),
                            .devices = contribution.devices()});
    total += contribution.cost();
  }
  for (Contributor& contributor : contributors) contributor.share = total > 0 ? contributor.cost / total : 0;
  std::stable_sort(contributors.begin(), contributors.end(),
                   [](const Contributor& a, const Contributor& b) { return a.cost > b.cost; });
  return contributors;
}

}  // namespace potluck

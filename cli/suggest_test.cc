#include "cli/suggest.h"

#include <gtest/gtest.h>

namespace potluck {
namespace {

TEST(SuggestTest, DistanceCountsEditsAndSwaps) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("", "jobs"), 4);
  EXPECT_EQ(EditDistance("jobs", "jobs"), 0);
  EXPECT_EQ(EditDistance("job", "jobs"), 1);
  EXPECT_EQ(EditDistance("jbos", "jobs"), 1);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
}

TEST(SuggestTest, NearestIsTheLeastDistant) {
  EXPECT_EQ(Nearest("nquens", {"serve", "join", "nqueens"}), "nqueens");
  EXPECT_EQ(Nearest("--thread", {"--threads", "--json"}), "--threads");
  EXPECT_EQ(Nearest("x", {}), "");
}

}  // namespace
}  // namespace potluck

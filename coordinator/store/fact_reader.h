// Reads what fact_writer.h wrote. One call sees the rows of one moment, whatever is written meanwhile.
#pragma once

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/store/database.h"
#include "coordinator/store/store.h"

namespace potluck {

absl::StatusOr<StoreContents> ReadContents(Database& database);

// DataLoss when a row is not what was written.
absl::Status ReadSlices(Database& database, RoundKey key, const std::function<void(const SliceCommitted&)>& visit);

// As Store::ReadPage; DataLoss as above.
absl::StatusOr<std::vector<StoredSlice>> ReadSlicePage(Database& database, const SlicePage& page);

// As Store::ForEachVerification.
absl::Status ReadVerifications(Database& database, RoundKey key,
                               const std::function<void(const SliceVerified&)>& visit);

}  // namespace potluck

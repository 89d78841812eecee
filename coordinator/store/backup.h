// Consistent copies of a state directory's database, while a coordinator may be using it. Errors are sentences.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace potluck {

// Copies the database file to a new file, whole or not at all, readable by its owner only. AlreadyExists if something
// of that name is there.
absl::Status BackUpDatabase(const std::string& database, const std::string& file);

// The same for the database of a state directory; NotFound if there is none in it.
absl::Status BackUpStateDirectory(const std::string& directory, const std::string& file);

}  // namespace potluck

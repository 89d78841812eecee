// The plain loops as a backend (see kernels/cnn/backend.h), for tests that want a certain code path; others call
// MakeReferenceBackend. All code paths give the same bits, on every machine.
#pragma once

#include <memory>

#include "kernels/cnn/backend.h"
#include "kernels/cpu/dispatch.h"

namespace potluck::cnn::reference {

std::unique_ptr<Backend> MakeBackend(const Model& model, Dispatch dispatch);

}  // namespace potluck::cnn::reference

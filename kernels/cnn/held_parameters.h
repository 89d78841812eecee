// The parameters that a runner holds, by digest: fetched whole, or reached by an encoded update from those before.
// Not thread-safe.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/cnn/backend.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/quantize.h"
#include "kernels/workload/runner.h"

namespace potluck::cnn {

class HeldParameters {
 public:
  // Makes the parameters of this digest the ones that are held, and ready for `backend`, which must outlive them.
  // `update` is the digest of what leads there from those that the round before had, encoded by `compression`; empty:
  // there is none. Fails if they cannot be had; then none are held.
  Status Take(const Backend& backend, const Model& model, BlobSource& blobs, const std::string& digest,
              const std::string& update, Compression compression);
  void Forget();

  std::span<const float> parameters() const { return parameters_; }  // In the order of model.h.
  std::span<const float> native() const { return native_; }
  const PreparedParameters& prepared() const { return *prepared_; }

 private:
  bool Follow(BlobSource& blobs, const std::string& digest, const std::string& update, Compression compression);
  Status Fetch(const Model& model, BlobSource& blobs, const std::string& digest);

  std::string digest_;  // Empty: none.
  std::vector<float> parameters_, native_;
  std::unique_ptr<PreparedParameters> prepared_;
};

}  // namespace potluck::cnn

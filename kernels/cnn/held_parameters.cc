#include "kernels/cnn/held_parameters.h"

#include <cstdio>
#include <memory>
#include <utility>

#include "kernels/cnn/weights.h"

namespace potluck::cnn {
namespace {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

// A whole file of exactly `size` bytes.
Status ReadInto(const std::string& path, const std::string& what, void* to, size_t size) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  if (!file) return Status::Error("The file with " + what + ", " + path + ", cannot be opened.");
  char more;
  if (std::fread(to, 1, size, file.get()) != size || std::fread(&more, 1, 1, file.get()) != 0) {
    return Status::Error("The file with " + what + ", " + path + ", does not have " + std::to_string(size) + " bytes.");
  }
  return {};
}

std::string_view BytesOf(const std::vector<float>& floats) {
  return {reinterpret_cast<const char*>(floats.data()), 4 * floats.size()};
}

}  // namespace

void HeldParameters::Forget() {
  digest_.clear();
  prepared_.reset();
}

Status HeldParameters::Take(const Backend& backend, const Model& model, BlobSource& blobs, const std::string& digest,
                            const std::string& update, Compression compression) {
  if (digest_ == digest && prepared_) return {};
  prepared_.reset();
  if (update.empty() || digest_.empty() || !Follow(blobs, digest, update, compression)) {
    digest_.clear();
    if (Status status = Fetch(model, blobs, digest); !status.ok()) return status;
  }
  digest_.clear();
  native_.resize(backend.native_size());
  backend.ToNative(parameters_, native_);
  Result<std::unique_ptr<PreparedParameters>> prepared = backend.Prepare(native_);
  if (!prepared.ok()) return prepared.status();
  prepared_ = *std::move(prepared);
  digest_ = digest;
  return {};
}

// Whether the update led to the wanted parameters. It does not if a round was missed; then they are fetched whole.
bool HeldParameters::Follow(BlobSource& blobs, const std::string& digest, const std::string& update,
                            Compression compression) {
  const Result<std::string> path = blobs.Fetch(update);
  if (!path.ok()) return false;
  std::string codes(EncodedBytes(compression, parameters_.size()), '\0');
  if (!ReadInto(*path, "an update of the parameters", codes.data(), codes.size()).ok()) return false;
  return ApplyUpdate(compression, codes, parameters_).ok() && blobs.DigestOf(BytesOf(parameters_)) == digest;
}

Status HeldParameters::Fetch(const Model& model, BlobSource& blobs, const std::string& digest) {
  const Result<std::string> path = blobs.Fetch(digest);
  if (!path.ok()) return path.status();
  parameters_.resize(model.parameter_count);
  return ReadInto(*path, "the parameters", parameters_.data(), 4 * parameters_.size());
}

}  // namespace potluck::cnn

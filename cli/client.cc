#include "cli/client.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "cli/output.h"
#include "coordinator/store/blob_store.h"

namespace potluck {
namespace {

constexpr absl::Duration kRoundPause = absl::Milliseconds(500);
constexpr int kMostTries = 5;

bool NobodyThere(const absl::Status& status) { return absl::IsUnavailable(status); }

}  // namespace

absl::StatusOr<JoinString> LoadCoordinator(const std::string& flag) {
  std::string argument = flag;
  if (argument.empty()) {
    if (const char* variable = std::getenv("POTLUCK_COORDINATOR"); variable != nullptr) argument = variable;
  }
  if (argument.empty()) {
    return absl::InvalidArgumentError(
        "--coordinator is missing; allowed is a join string, the name of a file that holds one, or - for standard "
        "input (the environment's POTLUCK_COORDINATOR serves as well)");
  }
  return LoadJoinString(argument);
}

Client::Client(JoinString join, Interrupt* interrupt) : join_(std::move(join)), interrupt_(interrupt) {}

absl::Status Client::OpenConnection() {
  absl::StatusOr<Connection> connection = Connect(join_, {.address = address_});
  if (!connection.ok()) return connection.status();
  connection_ = *std::move(connection);
  stub_ = v1::Jobs::NewStub(connection_->channel);
  return absl::OkStatus();
}

absl::Status Client::TryOnce(const Attempt& attempt, absl::Duration deadline) {
  if (!connection_) {
    if (absl::Status status = OpenConnection(); !status.ok()) return status;
  }
  grpc::ClientContext context;
  Authorize(context, join_.token);
  if (deadline != absl::InfiniteDuration()) context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  grpc::Status result;
  {
    const Interrupt::Scope scope(interrupt_, [&context] { context.TryCancel(); });
    result = attempt(*stub_, context);
  }
  if (result.ok()) return absl::OkStatus();
  if (interrupt_ != nullptr) {
    if (absl::Status reason = interrupt_->reason(); !reason.ok()) return reason;
  }
  absl::Status status = Explain(*connection_, result);
  if (absl::IsDeadlineExceeded(status)) {
    status = absl::UnavailableError(
        absl::StrCat("the coordinator at ", connection_->address, " did not answer within ", TimeText(deadline)));
  }
  // A coordinator that stops breaks its calls off.
  if (absl::IsCancelled(status)) {
    status = absl::UnavailableError(absl::StrCat("the coordinator at ", connection_->address, " broke off the call"));
  }
  if (NobodyThere(status)) {
    stub_.reset();
    connection_.reset();
    address_ = (address_ + 1) % std::max<size_t>(1, join_.addresses.size());
  }
  return status;
}

absl::Status Client::Try(const Attempt& attempt, bool retry, absl::Duration deadline) {
  const absl::Time end = absl::Now() + deadline;
  while (true) {
    absl::Status status;
    for (size_t left = join_.addresses.size(); left > 0; --left) {
      // An address that swallows everything leaves time for the others.
      status = TryOnce(attempt, std::max((end - absl::Now()) / static_cast<int64_t>(left), absl::Milliseconds(100)));
      if (!NobodyThere(status)) return status;
    }
    if (!retry || absl::Now() + kRoundPause >= end) return status;
    if (interrupt_ == nullptr) {
      absl::SleepFor(kRoundPause);
    } else if (interrupt_->WaitFor(kRoundPause)) {
      return interrupt_->reason();
    }
  }
}

absl::Status Client::Watch(uint64_t job, const std::function<void(const v1::JobStatus&)>& visit) {
  v1::WatchRequest request;
  request.set_job(job);
  return TryOnce(
      [&](v1::Jobs::StubInterface& stub, grpc::ClientContext& context) {
        const auto reader = stub.Watch(&context, request);
        v1::JobStatus status;
        while (reader->Read(&status)) visit(status);
        return reader->Finish();
      },
      absl::InfiniteDuration());
}

absl::Status Client::Slices(uint64_t job, const std::function<absl::Status(const v1::SlicesReply&)>& visit) {
  v1::JobRef request;
  request.set_job(job);
  bool begun = false;
  absl::Status visited;
  const auto attempt = [&](v1::Jobs::StubInterface& stub, grpc::ClientContext& context) {
    const auto reader = stub.Slices(&context, request);
    v1::SlicesReply reply;
    while (visited.ok() && reader->Read(&reply)) {
      begun = true;
      visited = visit(reply);
    }
    if (!visited.ok()) context.TryCancel();
    return reader->Finish();
  };
  absl::Status status;
  for (size_t left = join_.addresses.size(); left > 0; --left) {
    status = TryOnce(attempt, absl::InfiniteDuration());
    if (!visited.ok()) return visited;
    if (begun || !NobodyThere(status)) break;
  }
  if (absl::IsUnimplemented(status)) {
    return absl::UnimplementedError("the coordinator is of an older version, which does not tell a job's slices");
  }
  return status;
}

absl::Status Client::Transfer(const Attempt& attempt, const std::function<uint64_t()>& progress) {
  uint64_t before = progress();
  for (int tries = 1;; ++tries) {
    const absl::Status status = TryOnce(attempt, absl::InfiniteDuration());
    if (!NobodyThere(status)) return status;
    if (progress() != before) tries = 0;
    before = progress();
    if (tries >= kMostTries) return status;
    if (interrupt_ == nullptr) {
      absl::SleepFor(kRoundPause);
    } else if (interrupt_->WaitFor(kRoundPause)) {
      return interrupt_->reason();
    }
  }
}

absl::StatusOr<std::string> Client::PutBlob(absl::string_view bytes) {
  const Manifest manifest = DescribeBlob(bytes);
  std::string digests;
  for (const std::string& piece : manifest.pieces) digests += piece;
  std::string digest;
  uint64_t pieces_sent = 0;
  const auto attempt = [&](v1::Jobs::StubInterface& stub, grpc::ClientContext& context) {
    v1::FindMissingRequest find;
    find.set_size(manifest.size);
    find.set_manifest(digests);
    v1::FindMissingReply missing;
    grpc::ClientContext find_context;
    Authorize(find_context, join_.token);
    find_context.set_deadline(absl::ToChronoTime(absl::Now() + kCallDeadline));
    if (grpc::Status found = stub.FindMissing(&find_context, find, &missing); !found.ok()) return found;
    v1::PutBlobReply reply;
    const auto writer = stub.PutBlob(&context, &reply);
    v1::PutBlobRequest request;
    request.set_size(manifest.size);
    request.set_manifest(digests);
    bool going = writer->Write(request);
    for (const uint64_t index : missing.indices()) {
      if (!going || index >= manifest.pieces.size()) break;
      v1::PutBlobRequest piece;
      piece.set_index(index);
      const absl::string_view data = bytes.substr(index * kPieceBytes, PieceSize(manifest, index));
      piece.set_data(data.data(), data.size());
      going = writer->Write(piece);
      pieces_sent += going ? 1 : 0;
    }
    writer->WritesDone();
    grpc::Status status = writer->Finish();
    digest = reply.digest();
    return status;
  };
  if (absl::Status status = Transfer(attempt, [&] { return pieces_sent; }); !status.ok()) return status;
  return digest;
}

absl::StatusOr<std::string> Client::GetBlob(uint64_t job, const std::string& digest) {
  std::string bytes;
  absl::Status damaged;
  const auto attempt = [&](v1::Jobs::StubInterface& stub, grpc::ClientContext& context) {
    v1::GetJobBlobRequest request;
    request.set_job(job);
    request.set_digest(digest);
    request.set_first_piece(bytes.size() / kPieceBytes);
    const auto reader = stub.GetBlob(&context, request);
    v1::BlobPiece piece;
    if (reader->Read(&piece)) {
      const absl::StatusOr<Manifest> manifest =
          DecodeManifest(absl::StrCat(EncodeManifest(Manifest{piece.size(), {}}), piece.manifest()));
      if (!manifest.ok() || BlobDigest(*manifest) != digest) {
        damaged = absl::DataLossError("the coordinator sent another blob than was asked for");
      }
      while (damaged.ok() && reader->Read(&piece)) {
        const uint64_t index = bytes.size() / kPieceBytes;
        if (piece.index() != index || index >= manifest->pieces.size() ||
            Sha256(piece.data()) != manifest->pieces[index]) {
          damaged = absl::DataLossError(absl::StrCat("piece ", index, " of a blob arrived damaged"));
          break;
        }
        bytes += piece.data();
      }
    }
    if (!damaged.ok()) context.TryCancel();
    return reader->Finish();
  };
  const absl::Status status = Transfer(attempt, [&] { return bytes.size(); });
  if (!damaged.ok()) return damaged;
  if (absl::IsUnimplemented(status)) {
    return absl::UnimplementedError("the coordinator is of an older version, which does not hand out blobs");
  }
  if (!status.ok()) return status;
  return bytes;
}

}  // namespace potluck

#include "worker/transfers.h"

#include <unistd.h>

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/sha256.h"

namespace potluck {
namespace {

// Of a result: so small that the slowest link gets one through before the coordinator gives a stream up that stands
// still.
constexpr uint64_t kMessageBytes = 128 << 10;

// One is always free for what a run waits for: only the others prefetch.
constexpr size_t kFetchers = 3;
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(10);
// What comes damaged so often will not come whole.
constexpr int kMostDamages = 3;

// The coordinator answered, and will answer the same again.
bool IsFinal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsNotFound(status) || absl::IsInvalidArgument(status) ||
         absl::IsFailedPrecondition(status) || absl::IsUnimplemented(status) || absl::IsOutOfRange(status);
}

// How a call ended, so that it cannot be mistaken for a failure of this machine's disk: what is neither final nor
// damage passes.
absl::Status EndOf(const Line& line, const grpc::Status& status) {
  const absl::Status end = Explain(line.connection, status);
  if (end.ok() || IsFinal(end) || absl::IsDataLoss(end)) return end;
  return absl::UnavailableError(end.message());
}

}  // namespace

Transfers::Transfers(TransferOptions options, TransferEvents& events) : options_(std::move(options)), events_(events) {}

Transfers::~Transfers() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(&mutex_);
    is_ending_ = true;
    for (auto& [digest, want] : wanted_) {
      if (want.call != nullptr) want.call->TryCancel();
    }
    if (result_call_ != nullptr) result_call_->TryCancel();
    changed_.SignalAll();
    threads.swap(fetchers_);
    if (sender_.joinable()) threads.push_back(std::move(sender_));
  }
  for (std::thread& thread : threads) thread.join();
}

// ---- The session

void Transfers::Connect(std::shared_ptr<const Line> line, SessionId session) {
  MutexLock lock(&mutex_);
  way_ = {std::move(line), session, way_.number + 1};
  changed_.SignalAll();
}

void Transfers::Disconnect() {
  std::shared_ptr<const Line> old;  // Freed without the lock.
  MutexLock lock(&mutex_);
  if (way_.line == nullptr) return;
  old.swap(way_.line);
  ++way_.number;
  for (auto& [digest, want] : wanted_) {
    if (want.call != nullptr) want.call->TryCancel();
  }
  if (result_call_ != nullptr) result_call_->TryCancel();
  changed_.SignalAll();
}

std::optional<Transfers::Way> Transfers::WaitForWay(const std::function<bool()>& is_wanted) {
  MutexLock lock(&mutex_);
  while (!is_ending_ && is_wanted() && way_.line == nullptr) changed_.Wait(&mutex_);
  if (is_ending_ || !is_wanted()) return std::nullopt;
  return way_;
}

void Transfers::Pause(BackOff& back_off, uint64_t way) {
  thread_local std::mt19937_64 random(std::random_device{}());
  const absl::Time until = AwakeNow() + back_off.Next(random);
  MutexLock lock(&mutex_);
  while (!is_ending_ && way_.number == way) {
    const absl::Duration left = until - AwakeNow();
    if (left <= absl::ZeroDuration() || !changed_.WaitFor(&mutex_, left)) break;
  }
}

// ---- Blobs: what is wanted

void Transfers::Fetch(LeaseId lease, const std::string& digest, bool is_bulk) {
  MutexLock lock(&mutex_);
  if (is_ending_) return;
  Want& want = wanted_[digest];
  want.leases.insert(lease);
  want.is_bulk = is_bulk;
  StartFetchers();
  changed_.SignalAll();
}

void Transfers::ForgetFetches(LeaseId lease) {
  MutexLock lock(&mutex_);
  for (auto it = wanted_.begin(); it != wanted_.end();) {
    Want& want = it->second;
    const bool is_last = want.leases.erase(lease) > 0 && want.leases.empty();
    if (is_last && want.is_bulk && !want.in_progress) {
      it = wanted_.erase(it);
      continue;
    }
    if (is_last && want.is_bulk && want.call != nullptr) want.call->TryCancel();
    // Data will be wanted again: they go on as what is wanted soon.
    if (is_last && !want.is_bulk && !want.in_progress) soon_.push_front(it->first);
    ++it;
  }
  changed_.SignalAll();
}

void Transfers::Prefetch(const std::vector<std::string>& digests) {
  MutexLock lock(&mutex_);
  if (is_ending_ || digests.empty()) return;
  for (const std::string& digest : digests) {
    if (wanted_.try_emplace(digest).second) soon_.push_back(digest);
  }
  StartFetchers();
  changed_.SignalAll();
}

void Transfers::LeaseBegins() {
  MutexLock lock(&mutex_);
  if (may_prefetch_) return;
  may_prefetch_ = true;
  changed_.SignalAll();
}

void Transfers::KeepOnly(const std::set<std::string>& bulk, const std::set<std::string>& blobs) {
  MutexLock lock(&mutex_);
  for (auto it = bulk_files_.begin(); it != bulk_files_.end();) {
    if (bulk.contains(it->first)) {
      ++it;
      continue;
    }
    unlink(it->second.c_str());
    it = bulk_files_.erase(it);
  }
  std::erase_if(wanted_, [&blobs](const auto& entry) {
    const Want& want = entry.second;
    return want.leases.empty() && !want.in_progress && !blobs.contains(entry.first);
  });
}

bool Transfers::HasUrgent() const {
  return std::any_of(wanted_.begin(), wanted_.end(), [](const auto& entry) { return !entry.second.leases.empty(); });
}

void Transfers::StartFetchers() {
  for (size_t i = fetchers_.size(); i < kFetchers; ++i) fetchers_.emplace_back([this, i] { FetchAll(i); });
}

std::optional<std::string> Transfers::NextWanted(size_t thread) {
  MutexLock lock(&mutex_);
  while (!is_ending_) {
    bool has_urgent = false;
    for (auto& [digest, want] : wanted_) {
      if (want.leases.empty()) continue;
      has_urgent = true;
      if (want.in_progress) continue;
      want.in_progress = true;
      return digest;
    }
    const bool may_prefetch = thread > 0 && !has_urgent && may_prefetch_ && way_.line != nullptr;
    while (may_prefetch && !soon_.empty()) {
      const std::string digest = std::move(soon_.front());
      soon_.pop_front();
      const auto it = wanted_.find(digest);
      if (it == wanted_.end() || it->second.in_progress) continue;
      it->second.in_progress = true;
      return digest;
    }
    changed_.Wait(&mutex_);
  }
  return std::nullopt;
}

// ---- Blobs: fetching

void Transfers::FetchAll(size_t thread) {
  while (const std::optional<std::string> digest = NextWanted(thread)) {
    bool is_bulk = false;
    {
      MutexLock lock(&mutex_);
      is_bulk = wanted_[*digest].is_bulk;
    }
    Fetched(*digest, FetchOne(*digest, is_bulk));
  }
}

void Transfers::Fetched(const std::string& digest, const absl::StatusOr<std::string>& path) {
  std::set<LeaseId> leases;
  {
    MutexLock lock(&mutex_);
    const auto it = wanted_.find(digest);
    it->second.in_progress = false;
    // Forgotten, but now wanted by another lease: anew.
    if (absl::IsCancelled(path.status()) && !it->second.leases.empty()) return changed_.SignalAll();
    leases.swap(it->second.leases);
    if (leases.empty() && !it->second.is_bulk &&
        (absl::IsPermissionDenied(path.status()) || absl::IsNotFound(path.status()))) {
      // Between two leases: it goes on with the next one.
      may_prefetch_ = false;
      soon_.push_front(digest);
    } else {
      wanted_.erase(it);
    }
    changed_.SignalAll();
    if (is_ending_) return;
  }
  for (const LeaseId lease : leases) events_.OnFetched(lease, digest, path);
}

absl::StatusOr<BlobCache*> Transfers::Cache() {
  MutexLock lock(&mutex_);
  if (cache_ == nullptr) {
    absl::StatusOr<std::unique_ptr<BlobCache>> cache =
        BlobCache::Open(options_.cache, options_.cache_bytes, absl::Now());
    if (!cache.ok()) return cache.status();
    cache_ = *std::move(cache);
  }
  return cache_.get();
}

absl::StatusOr<std::string> Transfers::FindHere(const std::string& digest, bool is_bulk) {
  if (is_bulk) {
    MutexLock lock(&mutex_);
    const auto it = bulk_files_.find(digest);
    if (it != bulk_files_.end()) return it->second;
    return absl::NotFoundError("");
  }
  const absl::StatusOr<BlobCache*> cache = Cache();
  if (!cache.ok()) return cache.status();
  std::optional<std::string> path = (*cache)->Find(digest, absl::Now());
  if (!path) return absl::NotFoundError("");
  return *std::move(path);
}

absl::StatusOr<std::string> Transfers::FetchOne(const std::string& digest, bool is_bulk) {
  if (is_bulk && options_.scratch.empty()) {
    return absl::FailedPreconditionError("There is no scratch folder for a round's data.");
  }
  absl::StatusOr<std::string> here = FindHere(digest, is_bulk);
  if (here.ok() || !absl::IsNotFound(here.status())) return here;
  if (is_bulk && !options_.shared_scratch.empty()) {
    absl::StatusOr<std::string> linked = LinkShared(digest);
    if (linked.ok()) return linked;
  }
  absl::StatusOr<std::unique_ptr<PartialBlob>> blob =
      is_bulk ? PartialBlob::Open(digest, absl::StrCat(options_.scratch, "/bulk-", HexDigest(digest)), false)
              : (*Cache())->Start(digest);
  if (!blob.ok()) return blob.status();
  BackOff back_off(kFirstPause, kLongestPause);
  int damages = 0;
  bool has_made_room = false;
  while (true) {
    const std::optional<Way> way = WaitForWay([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return IsWanted(digest); });
    if (!way) return absl::CancelledError("It is not wanted any more.");
    const absl::Status status = Receive(digest, *way, **blob);
    if (status.ok()) return KeepFetched(digest, is_bulk, **blob);
    if (absl::IsDataLoss(status) && ++damages >= kMostDamages) return status;
    if (absl::IsResourceExhausted(status) || absl::IsInternal(status)) {
      // The disk's: is there something that can go?
      if (has_made_room || is_bulk || !(*Cache())->MakeRoom((*blob)->size(), absl::Now())) return status;
      has_made_room = true;
      continue;
    }
    if (IsFinal(status)) return status;
    Pause(back_off, way->number);
  }
}

absl::StatusOr<std::string> Transfers::LinkShared(const std::string& digest) {
  const std::optional<Way> way = WaitForWay([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return IsWanted(digest); });
  if (!way) return absl::CancelledError("It is not wanted any more.");
  const absl::Time begun = AwakeNow();
  grpc::ClientContext context;
  Authorize(context, way->line->token);
  v1::GetBlobRequest request;
  request.set_session(static_cast<uint64_t>(way->session));
  request.set_digest(digest);
  request.set_may_share(true);
  {
    MutexLock lock(&mutex_);
    if (is_ending_ || way_.number != way->number || !IsWanted(digest)) {
      return absl::CancelledError("The connection was lost, or it is not wanted any more.");
    }
    wanted_[digest].call = &context;
  }
  const std::unique_ptr<grpc::ClientReader<v1::BlobPiece>> reader = way->line->stub->GetBlob(&context, request);
  v1::BlobPiece piece;
  std::string path;
  if (reader->Read(&piece) && !piece.file().empty() && !absl::StrContains(piece.file(), '/')) {
    path = absl::StrCat(options_.shared_scratch, "/", piece.file());
    if (link(absl::StrCat(options_.shared, "/", piece.file()).c_str(), path.c_str()) != 0) path.clear();
  }
  context.TryCancel();
  reader->Finish();
  MutexLock lock(&mutex_);
  wanted_[digest].call = nullptr;
  if (path.empty()) return absl::FailedPreconditionError("It is not shared.");
  link_use_.bytes_received += piece.size();
  link_use_.seconds_receiving += absl::ToDoubleSeconds(AwakeNow() - begun);
  bulk_files_[digest] = path;
  return path;
}

bool Transfers::IsWanted(const std::string& digest) const {
  const auto it = wanted_.find(digest);
  return it != wanted_.end() && (!it->second.leases.empty() || !it->second.is_bulk);
}

bool Transfers::MayGoOn(const std::string& digest, const Way& way) {
  MutexLock lock(&mutex_);
  const Want& want = wanted_.at(digest);
  while (!is_ending_ && way_.number == way.number && want.leases.empty() && !want.is_bulk && HasUrgent()) {
    changed_.Wait(&mutex_);
  }
  return !is_ending_ && way_.number == way.number && IsWanted(digest);
}

absl::Status Transfers::Receive(const std::string& digest, const Way& way, PartialBlob& blob) {
  grpc::ClientContext context;
  Authorize(context, way.line->token);
  {
    MutexLock lock(&mutex_);
    if (way_.number != way.number) return absl::CancelledError("The connection was lost.");
    wanted_[digest].call = &context;
  }
  const absl::Time begun = AwakeNow();
  v1::GetBlobRequest request;
  request.set_session(static_cast<uint64_t>(way.session));
  request.set_digest(digest);
  request.set_first_piece(blob.next_piece());
  const std::unique_ptr<grpc::ClientReader<v1::BlobPiece>> reader = way.line->stub->GetBlob(&context, request);
  v1::BlobPiece piece;
  absl::Status outcome;
  bool is_described = false;
  uint64_t received = 0;
  bool is_going = true;
  while (outcome.ok() && MayGoOn(digest, way)) {
    is_going = reader->Read(&piece);
    if (!is_going) break;
    if (!is_described) {
      is_described = true;
      outcome = blob.Describe(piece.size(), piece.manifest());
      // What was thought to be here is damaged: from there on, by another call.
      if (outcome.ok() && blob.next_piece() < request.first_piece()) outcome = absl::AbortedError("from the start");
    } else {
      outcome = blob.Add(piece.index(), piece.data());
      received += piece.data().size();
    }
  }
  if (is_going) context.TryCancel();
  const grpc::Status status = reader->Finish();
  MutexLock lock(&mutex_);
  wanted_[digest].call = nullptr;
  if (wanted_[digest].is_bulk) {
    link_use_.bytes_received += received;
    link_use_.seconds_receiving += absl::ToDoubleSeconds(AwakeNow() - begun);
  }
  if (!outcome.ok()) return outcome;
  if (blob.IsComplete()) return absl::OkStatus();
  const absl::Status failure = EndOf(*way.line, status);
  return failure.ok() ? absl::UnavailableError("the blob ended early") : failure;
}

absl::StatusOr<std::string> Transfers::KeepFetched(const std::string& digest, bool is_bulk, PartialBlob& blob) {
  if (!is_bulk) return (*Cache())->Keep(blob, digest, absl::Now());
  absl::StatusOr<std::string> path = blob.Finish();
  if (!path.ok()) return path;
  MutexLock lock(&mutex_);
  bulk_files_[digest] = *path;
  return path;
}

// ---- Results

void Transfers::HandOver(LeaseBook::HandOver result) {
  MutexLock lock(&mutex_);
  if (is_ending_) return;
  result_ = std::move(result);
  if (!sender_.joinable()) sender_ = std::thread([this] { HandOverAll(); });
  changed_.SignalAll();
}

void Transfers::ForgetResults(LeaseId lease) {
  MutexLock lock(&mutex_);
  if (!result_ || result_->lease != lease) return;
  result_.reset();
  if (result_call_ != nullptr) result_call_->TryCancel();
  changed_.SignalAll();
}

void Transfers::HandOverAll() {
  while (true) {
    LeaseBook::HandOver result;
    {
      MutexLock lock(&mutex_);
      while (!is_ending_ && !result_) changed_.Wait(&mutex_);
      if (is_ending_) return;
      result = *result_;
    }
    const auto is_wanted = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return result_ && result_->result == result.result; };
    BackOff back_off(kFirstPause, kLongestPause);
    int damages = 0;
    bool by_name = !options_.shared.empty() && absl::StartsWith(result.result->path(), options_.shared + "/");
    while (const std::optional<Way> way = WaitForWay(is_wanted)) {
      const absl::StatusOr<std::string> digest = Send(result, *way, by_name);
      if (by_name && absl::IsInvalidArgument(digest.status())) {  // The coordinator cannot read it there.
        by_name = false;
        continue;
      }
      const bool is_over = digest.ok() || IsFinal(digest.status()) || absl::IsInternal(digest.status()) ||
                           (absl::IsDataLoss(digest.status()) && ++damages >= kMostDamages);
      if (!is_over) {
        Pause(back_off, way->number);
        continue;
      }
      {
        MutexLock lock(&mutex_);
        if (is_ending_ || !is_wanted()) break;
        result_.reset();
      }
      events_.OnHandedOver(result.lease, result.interval, digest);
    }
  }
}

absl::StatusOr<std::string> Transfers::Send(const LeaseBook::HandOver& result, const Way& way, bool by_name) {
  grpc::ClientContext context;
  Authorize(context, way.line->token);
  {
    MutexLock lock(&mutex_);
    if (is_ending_ || way_.number != way.number || !result_) return absl::CancelledError("The connection was lost.");
    result_call_ = &context;
  }
  const absl::Time begun = AwakeNow();
  v1::PutResultReply reply;
  const std::unique_ptr<grpc::ClientWriter<v1::PutResultRequest>> writer = way.line->stub->PutResult(&context, &reply);
  v1::PutResultRequest request;
  request.set_session(static_cast<uint64_t>(way.session));
  request.mutable_lease()->set_epoch(result.lease.epoch);
  request.mutable_lease()->set_counter(result.lease.counter);
  request.mutable_round()->set_job(static_cast<uint64_t>(result.round.job));
  request.mutable_round()->set_number(result.round.round);
  request.set_size(result.result->size());
  if (by_name) request.set_file(result.result->path().substr(options_.shared.size() + 1));
  bool is_going = writer->Write(request);
  request.Clear();
  Sha256Stream digest;
  absl::Status read;
  for (uint64_t at = 0; is_going && !by_name && at < result.result->size(); at += kMessageBytes) {
    const auto size = static_cast<size_t>(std::min(kMessageBytes, result.result->size() - at));
    read = result.result->Read(at, size, *request.mutable_data());
    if (!read.ok()) break;
    digest.Add(request.data());
    is_going = writer->Write(request);
  }
  if (!read.ok()) context.TryCancel();
  if (is_going && read.ok()) writer->WritesDone();
  const grpc::Status status = writer->Finish();
  MutexLock lock(&mutex_);
  result_call_ = nullptr;
  if (!read.ok()) return read;
  if (!status.ok()) return EndOf(*way.line, status);
  link_use_.bytes_sent += result.result->size();
  link_use_.seconds_sending += absl::ToDoubleSeconds(AwakeNow() - begun);
  // The coordinator has read the very file.
  if (by_name || reply.digest() == digest.Digest()) return reply.digest();
  return absl::DataLossError(
      absl::StrCat("The result of ", ToString(result.interval), " did not reach the coordinator as it was sent."));
}

LinkUse Transfers::link_use() const {
  MutexLock lock(&mutex_);
  return link_use_;
}

}  // namespace potluck

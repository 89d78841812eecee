// Memory for results that workers hand over (Workers.PutResult): so much and no more, however many workers there are.
// Who finds no room waits, in the order of asking; their streams are not read meanwhile, so that gRPC's flow control
// holds them back.
//
// Thread-safe. One thread lets in those that waited, with no lock held, and gives up streams that do not move although
// others wait for their room.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace potluck {

class ResultRoom {
 public:
  // A stream. Outlives its being let in, or its withdrawal, and then its call of Leave.
  class Stream {
   public:
    virtual ~Stream() = default;
    // There is room, until `room` is let go of: which may be long after the stream has ended. Called once, by Ask or by
    // another thread.
    virtual void LetIn(std::shared_ptr<void> room) = 0;
    // It was let in and has not moved for too long. Called at most once, with the lock held: it must not call back.
    virtual void GiveUp() = 0;
  };

  // `bytes`: of all results in memory; but a single larger one is let in when there is no other.
  // `patience`: how long a stream may stand still while others wait.
  explicit ResultRoom(uint64_t bytes, absl::Duration patience = absl::Seconds(20));
  ~ResultRoom();
  ResultRoom(const ResultRoom&) = delete;
  ResultRoom& operator=(const ResultRoom&) = delete;

  void Ask(Stream* stream, uint64_t bytes);
  // True if it was waiting, and will not be let in.
  bool Withdraw(Stream* stream);
  // It was let in, and something came.
  void Moved(Stream* stream);
  // It was let in, and is over; nobody must be let in for that reason alone.
  void Leave(Stream* stream);

  uint64_t used_bytes() const;
  size_t waiting() const;

 private:
  // Outlives the room, as long as somebody holds some of it.
  struct State {
    struct Waiting {
      Stream* stream = nullptr;
      uint64_t bytes = 0;
    };
    explicit State(uint64_t limit) : limit_bytes(limit) {}
    bool HasRoomFor(uint64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
    // The room itself; the first that waits, if there is room for it.
    static std::shared_ptr<void> Take(const std::shared_ptr<State>& state, Stream* stream, uint64_t bytes)
        ABSL_EXCLUSIVE_LOCKS_REQUIRED(state->mutex);
    void GiveUpWhatStandsStill(absl::Duration patience) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

    const uint64_t limit_bytes;
    Mutex mutex;
    uint64_t used_bytes ABSL_GUARDED_BY(mutex) = 0;
    std::deque<Waiting> waiting ABSL_GUARDED_BY(mutex);
    std::map<Stream*, absl::Time> moving ABSL_GUARDED_BY(mutex);  // Let in, and when they moved last.
    bool stopped ABSL_GUARDED_BY(mutex) = false;
    CondVar changed;
  };

  static void LetInWhoeverWaits(const std::shared_ptr<State>& state, absl::Duration patience);

  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace potluck

#include "coordinator/service/result_room.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"

namespace potluck {

ResultRoom::ResultRoom(uint64_t bytes, absl::Duration patience)
    : state_(std::make_shared<State>(bytes)),
      thread_([state = state_, patience] { LetInWhoeverWaits(state, patience); }) {}

ResultRoom::~ResultRoom() {
  {
    MutexLock lock(&state_->mutex);
    state_->stopped = true;
    state_->changed.SignalAll();
  }
  thread_.join();
}

bool ResultRoom::State::HasRoomFor(uint64_t bytes) const {
  return used_bytes == 0 || (used_bytes <= limit_bytes && bytes <= limit_bytes - used_bytes);
}

std::shared_ptr<void> ResultRoom::State::Take(const std::shared_ptr<State>& state, Stream* stream, uint64_t bytes) {
  state->used_bytes += bytes;
  state->moving[stream] = MonotonicNow();
  return std::shared_ptr<void>(nullptr, [state, bytes](void*) {
    MutexLock lock(&state->mutex);
    state->used_bytes -= bytes;
    if (!state->waiting.empty()) state->changed.SignalAll();
  });
}

void ResultRoom::Ask(Stream* stream, uint64_t bytes) {
  std::shared_ptr<void> room;
  {
    MutexLock lock(&state_->mutex);
    if (!state_->waiting.empty() || !state_->HasRoomFor(bytes)) {
      state_->waiting.push_back({stream, bytes});
      state_->changed.SignalAll();  // From now on streams must move.
      return;
    }
    room = State::Take(state_, stream, bytes);
  }
  stream->LetIn(std::move(room));
}

bool ResultRoom::Withdraw(Stream* stream) {
  MutexLock lock(&state_->mutex);
  const size_t withdrawn =
      std::erase_if(state_->waiting, [stream](const State::Waiting& one) { return one.stream == stream; });
  state_->changed.SignalAll();  // The next one may be smaller.
  return withdrawn > 0;
}

void ResultRoom::Moved(Stream* stream) {
  MutexLock lock(&state_->mutex);
  if (const auto it = state_->moving.find(stream); it != state_->moving.end()) it->second = MonotonicNow();
}

void ResultRoom::Leave(Stream* stream) {
  MutexLock lock(&state_->mutex);
  state_->moving.erase(stream);
}

uint64_t ResultRoom::used_bytes() const {
  MutexLock lock(&state_->mutex);
  return state_->used_bytes;
}

size_t ResultRoom::waiting() const {
  MutexLock lock(&state_->mutex);
  return state_->waiting.size();
}

void ResultRoom::State::GiveUpWhatStandsStill(absl::Duration patience) {
  const absl::Time now = MonotonicNow();
  for (auto it = moving.begin(); it != moving.end();) {
    if (now - it->second < patience) {
      ++it;
      continue;
    }
    it->first->GiveUp();
    it = moving.erase(it);
  }
}

void ResultRoom::LetInWhoeverWaits(const std::shared_ptr<State>& state, absl::Duration patience) {
  for (;;) {
    Stream* stream = nullptr;
    std::shared_ptr<void> room;
    {
      MutexLock lock(&state->mutex);
      while (!state->stopped) {
        if (!state->waiting.empty() && state->HasRoomFor(state->waiting.front().bytes)) break;
        if (state->waiting.empty()) {
          state->changed.Wait(&state->mutex);
        } else {
          state->GiveUpWhatStandsStill(patience);
          state->changed.WaitFor(&state->mutex, patience / 4);
        }
      }
      if (state->stopped) return;
      stream = state->waiting.front().stream;
      room = State::Take(state, stream, state->waiting.front().bytes);
      state->waiting.pop_front();
    }
    stream->LetIn(std::move(room));
  }
}

}  // namespace potluck

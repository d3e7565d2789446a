// warps.h - what the lanes of a warp do together: shuffles, votes and __syncwarp.
#pragma once

#include <cstring>
#include <type_traits>

#include "tests/emulation/cuda/fibers.h"

namespace cuda_emulator {

// Does the collective that `waiting` is in, once every live lane of its mask has arrived.
CUDA_EMULATOR_RUNTIME inline bool complete(Fiber* waiting) {
  const int warp = waiting->thread / 32;
  const unsigned participants = waiting->mask & state.alive_lanes[warp];
  if (participants & ~state.waiting_lanes[warp]) return false;
  Fiber* lanes[32] = {};
  for (int i = 0; i < 32; ++i) {
    if (!(participants >> i & 1)) continue;
    Fiber* lane = lanes[i] = &state.fibers[warp * 32 + i];
    if (lane->mask != waiting->mask || !(lane->site == waiting->site)) {
      fail("warp collective mismatch: lane %d in %s mask %08x at %s:%d, lane %d in %s mask %08x at %s:%d",
           waiting->thread % 32, waiting->site.operation, waiting->mask, waiting->site.file, waiting->site.line, i,
           lane->site.operation, lane->mask, lane->site.file, lane->site.line);
    }
  }
  state.waiting_lanes[warp] &= ~participants;
  waiting->collective(lanes, participants);
  for (Fiber* lane : lanes) {
    if (lane && lane != state.current) make_ready(lane);
    if (lane && lane == state.current) lane->state = ThreadState::ready;
  }
  return true;
}
CUDA_EMULATOR_RUNTIME inline void join_collective(const char* operation, unsigned mask, Collective collective,
                                                  const char* file, int line, const void* address) {
  Fiber* self = state.current;
  if (!(mask >> (self->thread % 32) & 1))
    fail("%s at %s:%d: calling lane is not in its mask %08x", operation, file, line, mask);
  self->state = ThreadState::in_collective;
  self->mask = mask;
  self->collective = collective;
  self->site = {file, operation, line, address};
  state.waiting_lanes[self->thread / 32] |= 1u << (self->thread % 32);
  if (!complete(self)) yield();
}

enum class Shuffle { index, up, down, exclusive_or };

template <Shuffle kind>
CUDA_EMULATOR_RUNTIME void exchange(Fiber** lanes, unsigned participants) {
  for (int i = 0; i < 32; ++i) {
    if (!(participants >> i & 1)) continue;
    Fiber* lane = lanes[i];
    const int argument = lane->argument, width = lane->width, base = i & ~(width - 1), last = base + width - 1;
    int source = i;
    if (kind == Shuffle::index) source = base + (argument & (width - 1));
    if (kind == Shuffle::up && i - argument >= base) source = i - argument;
    if (kind == Shuffle::down && i + argument <= last) source = i + argument;
    if (kind == Shuffle::exclusive_or && (i ^ argument) <= last) source = i ^ argument;
    if (participants >> source & 1) {
      std::memcpy(lane->received, lanes[source]->sent, 8);
    } else {
      std::memset(lane->received, 0xFF, 8);  // a lane that takes no part has no value to give
    }
  }
}
template <Shuffle kind, class T>
CUDA_EMULATOR_RUNTIME T shuffle(const char* operation, unsigned mask, T value, int argument, int width,
                                const char* file, int line) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  Fiber* self = state.current;
  std::memcpy(self->sent, &value, sizeof value);
  self->argument = argument;
  self->width = width;
  join_collective(operation, mask, exchange<kind>, file, line, CUDA_EMULATOR_ADDRESS);
  std::memcpy(&value, self->received, sizeof value);
  return value;
}

struct Votes {
  unsigned yes = 0, participants = 0;
};
CUDA_EMULATOR_RUNTIME inline void count_votes(Fiber** lanes, unsigned participants) {
  Votes votes{0, participants};
  for (int i = 0; i < 32; ++i) {
    if (participants >> i & 1) votes.yes |= static_cast<unsigned>(lanes[i]->argument != 0) << i;
  }
  for (int i = 0; i < 32; ++i) {
    if (participants >> i & 1) std::memcpy(lanes[i]->received, &votes, sizeof votes);
  }
}
CUDA_EMULATOR_RUNTIME inline Votes vote(const char* operation, unsigned mask, int predicate, const char* file,
                                        int line) {
  state.current->argument = predicate;
  join_collective(operation, mask, count_votes, file, line, CUDA_EMULATOR_ADDRESS);
  Votes votes;
  std::memcpy(&votes, state.current->received, sizeof votes);
  return votes;
}

CUDA_EMULATOR_RUNTIME inline void sync_warp(unsigned mask, const char* file, int line) {
  Fiber* self = state.current;
  void* event = &state.warp_event[state.set][self->thread / 32][self->n_warp_syncs++ % 2];
  __tsan_release(event);
  join_collective("__syncwarp", mask, count_votes, file, line, CUDA_EMULATOR_ADDRESS);
  __tsan_acquire(event);
}

}  // namespace cuda_emulator

// A pool of threads that share the parts of a job, such as a matrix's tiles.
//
// Parts are handed out in ascending order by an atomic counter. A job does not wait for a helper that has not come: only a thread that
// runs takes a part. Which thread computes a part changes nothing in it.

#ifndef THREAD_POOL_H
#define THREAD_POOL_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

#include "simd.h"

#define SPIN_NS 2000000   // a thread spins so long for another, longer than a part takes; then cores count as busy
#define SLEEP_NS 1000000  // then the first thread sleeps in such steps
#define MOST_STALLS 3     // in a call; from then on one thread works alone

// Computes part `index` of a task. `worker` is 0 for the first thread and 1 … for its helpers.
typedef void (*part_function)(const void *task, int index, int worker);

typedef struct {
  _Atomic uint64_t job;  // its number << 32 | parts that nobody has taken; the next three change only while there are none
  _Atomic(part_function) function;
  const void *_Atomic task;
  _Atomic int32_t parts;
  _Atomic int32_t helped;  // parts that helpers have finished since the pool was opened
  _Atomic int32_t open;    // 1 while jobs may come
  _Atomic int32_t stalls;  // how often a thread spun for SPIN_NS in vain
  int32_t workers;         // threads that the pool was opened for, the first one included
} thread_pool;

// Monotonic time.
INLINE int64_t nanoseconds(void) {
#ifdef _WIN32
  LARGE_INTEGER count, frequency;
  QueryPerformanceCounter(&count);
  QueryPerformanceFrequency(&frequency);
  return (int64_t)((double)count.QuadPart * 1e9 / (double)frequency.QuadPart);
#else
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
#endif
}

INLINE void sleep_shortly(void) {
#ifdef _WIN32
  Sleep(1);
#else
  nanosleep(&(struct timespec){0, SLEEP_NS}, NULL);
#endif
}

// A spin loop, all zero at its start.
typedef struct {
  int pauses;
  int64_t since;
} spin;

// Pauses once. Returns 1 when the loop has lasted longer than SPIN_NS. The clock is read seldom: it costs as much as many pauses.
INLINE int spun_out(spin *s) {
  enum { SELDOM = 16 };
  pause_();
  if (++s->pauses % SELDOM) return 0;
  const int64_t now = nanoseconds();
  if (s->pauses == SELDOM) s->since = now;
  return now - s->since > SPIN_NS;
}

// Takes the next part of the current job and returns its index; −1 where no part is left.
INLINE int take_part(thread_pool *pool) {
  uint64_t seen = atomic_load_explicit(&pool->job, memory_order_acquire);
  while ((uint32_t)seen)
    if (atomic_compare_exchange_weak_explicit(&pool->job, &seen, seen - 1, memory_order_acq_rel, memory_order_acquire))
      return atomic_load_explicit(&pool->parts, memory_order_relaxed) - (int)(uint32_t)seen;
  return -1;
}

// Waits until helpers have finished `parts` since the pool was opened. A helper that holds a part may have lost its core, perhaps to this
// very loop, so after a spin the wait leaves the core.
static void await_helpers(thread_pool *pool, int parts) {
  spin s = {0};
  while (atomic_load_explicit(&pool->helped, memory_order_acquire) < parts)
    if (spun_out(&s)) {
      atomic_fetch_add(&pool->stalls, 1);
      while (atomic_load_explicit(&pool->helped, memory_order_acquire) < parts) sleep_shortly();
    }
}

// Computes all parts of a task, together with the helpers that have come. `pool` may be null. Returns when all are done.
static void parallel_for(thread_pool *pool, part_function function, const void *task, int parts) {
  if (!pool || parts == 1) {
    for (int i = 0; i < parts; i++) function(task, i, 0);
    return;
  }
  const int helped = atomic_load_explicit(&pool->helped, memory_order_relaxed);  // helpers hold no part now
  const uint64_t number = (atomic_load_explicit(&pool->job, memory_order_relaxed) >> 32) + 1;
  atomic_store_explicit(&pool->function, function, memory_order_relaxed);
  atomic_store_explicit(&pool->task, task, memory_order_relaxed);
  atomic_store_explicit(&pool->parts, parts, memory_order_relaxed);
  atomic_store_explicit(&pool->job, number << 32 | (uint32_t)parts, memory_order_release);
  int own = 0;
  for (int index; (index = take_part(pool)) >= 0; own++) function(task, index, 0);
  await_helpers(pool, helped + parts - own);
}

// Helper thread `worker` ≥ 1: computes parts of whatever job there is, until the pool closes or a thread seems to have lost its core.
static void run_helper(thread_pool *pool, int worker) {
  spin s = {0};
  while (atomic_load_explicit(&pool->open, memory_order_acquire)) {
    const int index = take_part(pool);
    if (index < 0) {
      if (!spun_out(&s)) continue;
      atomic_fetch_add(&pool->stalls, 1);
      return;
    }
    const part_function function = atomic_load_explicit(&pool->function, memory_order_relaxed);
    function(atomic_load_explicit(&pool->task, memory_order_relaxed), index, worker);
    atomic_fetch_add_explicit(&pool->helped, 1, memory_order_release);
    s.pauses = 0;
  }
}

#endif

// Work that a second thread may share: parts of a job that do not wait for one another, such as a matrix's tiles.
//
// The first thread takes parts from the front, the helper from the back, until they meet; so each goes through memory in one
// direction. Nobody waits for a helper that has not come: a part is either taken by someone who is at work, or free.

#ifndef TEAM_H
#define TEAM_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "lanes.h"

#define WORKERS 2         // the first thread and its helper
#define PATIENCE 2000000  // nanoseconds, more than a part takes, that one thread waits for the other before cores count as busy
#define TOO_BUSY 3        // stalls in a span of layers after which one thread goes on alone

// Does part `index` of a task. `worker` is 0 for the first thread and 1 for the helper.
typedef void (*part_work)(const void *task, int index, int worker);

typedef struct {
  _Atomic uint64_t job;      // its number << 32 | parts that nobody has taken; what follows changes only where none are left
  _Atomic(part_work) work;
  const void *_Atomic task;
  _Atomic int32_t parts;
  _Atomic int32_t helped;    // parts of this job that the helper has done
  _Atomic int32_t open;      // whether jobs may come
  _Atomic int32_t stalls;    // how often one of the two ran out of patience
} team;

INLINE int64_t nanoseconds(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}

// A wait in small pauses, which begins with none.
typedef struct {
  int pauses;
  int64_t since;
} waiting;

// Pauses; whether that has been so for longer than PATIENCE. The clock costs as much as many pauses.
INLINE int waited(waiting *w) {
  enum { SELDOM = 16 };
  relax();
  if (++w->pauses % SELDOM) return 0;
  const int64_t now = nanoseconds();
  if (w->pauses == SELDOM) w->since = now;
  return now - w->since > PATIENCE;
}

// Takes a part of a job; its number is returned through `job`. Zero: there is none.
INLINE int take(team *t, uint64_t *job) {
  uint64_t seen = atomic_load_explicit(&t->job, memory_order_acquire);
  while ((uint32_t)seen)
    if (atomic_compare_exchange_weak_explicit(&t->job, &seen, seen - 1, memory_order_acq_rel, memory_order_acquire)) {
      *job = seen >> 32;
      return 1;
    }
  return 0;
}

// All parts of a task, with a helper where one has come; back when all are done.
static void share(team *t, part_work work, const void *task, int parts) {
  if (!t || parts == 1) {
    for (int i = 0; i < parts; i++) work(task, i, 0);
    return;
  }
  uint64_t number = (atomic_load_explicit(&t->job, memory_order_relaxed) >> 32) + 1;
  atomic_store_explicit(&t->work, work, memory_order_relaxed);
  atomic_store_explicit(&t->task, task, memory_order_relaxed);
  atomic_store_explicit(&t->parts, parts, memory_order_relaxed);
  atomic_store_explicit(&t->helped, 0, memory_order_relaxed);
  atomic_store_explicit(&t->job, number << 32 | (uint32_t)parts, memory_order_release);
  int own = 0, stalled = 0;
  while (take(t, &number)) work(task, own++, 0);
  for (waiting w = {0}; own + atomic_load_explicit(&t->helped, memory_order_acquire) < parts;)
    if (waited(&w) && !stalled) {
      stalled = 1;
      atomic_fetch_add(&t->stalls, 1);
    }
}

// The helper's whole life: parts of whatever job there is, until the team closes or the first thread, too, has to wait for a core.
static void help(team *t) {
  uint64_t job, last = 0;
  waiting w = {0};
  int own = 0;
  while (atomic_load_explicit(&t->open, memory_order_acquire)) {
    if (!take(t, &job)) {
      if (!waited(&w)) continue;
      atomic_fetch_add(&t->stalls, 1);
      return;
    }
    if (job != last) own = 0;
    last = job;
    const part_work work = atomic_load_explicit(&t->work, memory_order_relaxed);
    const void *task = atomic_load_explicit(&t->task, memory_order_relaxed);
    work(task, atomic_load_explicit(&t->parts, memory_order_relaxed) - 1 - own++, 1);
    atomic_fetch_add_explicit(&t->helped, 1, memory_order_release);
    w.pauses = 0;
  }
}

#endif

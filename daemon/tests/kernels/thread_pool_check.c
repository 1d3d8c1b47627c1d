// The thread pool at work: each part of each job is computed once, a job's writes are visible to the next one, and a first thread that
// waits for its helper leaves its core.

#include <pthread.h>
#include <stdio.h>

#include "thread_pool.h"

enum { HELPERS = 3, JOBS = 3000, PARTS = 40, LIMIT = 10000000, HELD_MS = 300, MOST_CPU_MS = 60 };

static thread_pool pool;
static int counts[PARTS], wrong;
static _Atomic int helped, holding;

static void count(const void *task, int index, int worker) {
  counts[index] += *(const int *)task;
  if (worker) atomic_fetch_add(&helped, 1);
}

static void *helper(void *worker) {
  while (atomic_load(&pool.open)) run_helper(&pool, *(const int *)worker);  // it returns after a long wait
  return NULL;
}

static void run_job(int job) {
  const int parts = 1 + job % PARTS;
  parallel_for(&pool, count, &job, parts);
  for (int i = 0; i < PARTS; i++) {
    wrong += counts[i] != (i < parts ? job : 0);
    counts[i] = 0;
  }
}

static int check_jobs(void) {
  int idle = 0;
  for (int run = 0; run < 4; run++) {
    pthread_t threads[HELPERS];
    int workers[HELPERS];
    atomic_store(&helped, 0);
    atomic_store(&pool.open, 1);
    for (int i = 0; i < HELPERS; i++) {
      workers[i] = i + 1;
      pthread_create(&threads[i], NULL, helper, &workers[i]);
    }
    for (int job = 1; job <= JOBS || (!atomic_load(&helped) && job < LIMIT); job++) run_job(job);
    idle += !atomic_load(&helped);
    atomic_store(&pool.open, 0);
    if (run % 2) atomic_store(&pool.open, 1);  // helpers that have not noticed stay for the next span
    for (int job = 1; job <= JOBS; job++) run_job(job);
    atomic_store(&pool.open, 0);
    for (int i = 0; i < HELPERS; i++) pthread_join(threads[i], NULL);
  }
  if (wrong) printf("%d parts were not computed once\n", wrong);
  if (idle) printf("the helper did nothing in %d runs\n", idle);
  return wrong || idle;
}

// The helper sleeps while it holds a part, as if it had lost its core; the first thread has the other part.
static void hold(const void *task, int index, int worker) {
  if (worker) {
    atomic_store(&holding, 1);
    nanosleep(&(struct timespec){0, HELD_MS * 1000000}, NULL);
  } else {
    while (!atomic_load(&holding)) sleep_shortly();
  }
  counts[index] += *(const int *)task;
}

static int milliseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int)(now.tv_sec % 1000000 * 1000 + now.tv_nsec / 1000000);
}

static int check_wait(void) {
  pthread_t thread;
  const int once = 1, worker = 1;
  atomic_store(&pool.open, 1);
  atomic_store(&pool.stalls, 0);
  pthread_create(&thread, NULL, helper, (void *)&worker);
  const int cpu = milliseconds(CLOCK_THREAD_CPUTIME_ID), wall = milliseconds(CLOCK_MONOTONIC);
  parallel_for(&pool, hold, &once, 2);
  const int cpu_ms = milliseconds(CLOCK_THREAD_CPUTIME_ID) - cpu, wall_ms = milliseconds(CLOCK_MONOTONIC) - wall;
  atomic_store(&pool.open, 0);
  pthread_join(thread, NULL);
  const int failed = counts[0] != 1 || counts[1] != 1 || !atomic_load(&pool.stalls) || wall_ms < HELD_MS - 1 || cpu_ms > MOST_CPU_MS;
  printf("waited for %d ms, with %d ms of CPU time, %d stalls\n", wall_ms, cpu_ms, (int)atomic_load(&pool.stalls));
  return failed;
}

int main(void) { return check_jobs() | check_wait() << 1; }

// A team at work under the thread sanitizer: every part of every job is done once, and a job's writes are seen by the next one.

#include <pthread.h>
#include <stdio.h>

#include "team.h"

enum { JOBS = 3000, PARTS = 40, LIMIT = 10000000 };

static int counts[PARTS], wrong;
static _Atomic int helped;
static team crew;

static void count(const void *task, int index, int worker) {
  counts[index] += *(const int *)task;
  if (worker) atomic_fetch_add(&helped, 1);
}

static void *helper(void *nothing) {
  while (atomic_load(&crew.open)) help(&crew);  // it leaves where it waits for long, and comes back
  return nothing;
}

static void one(int job) {
  const int parts = 1 + job % PARTS;
  share(&crew, count, &job, parts);
  for (int i = 0; i < PARTS; i++) {
    wrong += counts[i] != (i < parts ? job : 0);
    counts[i] = 0;
  }
}

int main(void) {
  int idle = 0;
  for (int run = 0; run < 4; run++) {
    pthread_t thread;
    atomic_store(&helped, 0);
    atomic_store(&crew.open, 1);
    pthread_create(&thread, NULL, helper, NULL);
    for (int job = 1; job <= JOBS || (!atomic_load(&helped) && job < LIMIT); job++) one(job);
    idle += !atomic_load(&helped);
    atomic_store(&crew.open, 0);
    if (run % 2) atomic_store(&crew.open, 1);  // a helper that has not seen it stays for the next span
    for (int job = 1; job <= JOBS; job++) one(job);
    atomic_store(&crew.open, 0);
    pthread_join(thread, NULL);
  }
  if (wrong) printf("%d parts were not done once\n", wrong);
  if (idle) printf("the helper did nothing in %d runs\n", idle);
  return wrong || idle;
}

// A team at work under the thread sanitizer: every part of every job is done once, and a job's writes are seen by the next one.

#include <pthread.h>
#include <stdio.h>

#include "team.h"

enum { JOBS = 3000, PARTS = 40 };

static int counts[PARTS];
static team crew;

static void count(const void *task, int index, int worker) {
  (void)worker;
  counts[index] += *(const int *)task;
}

static void *helper(void *nothing) {
  help(&crew);
  return nothing;
}

int main(void) {
  int wrong = 0;
  for (int run = 0; run < 4; run++) {  // a helper leaves, and another one comes in the middle of a job or late
    pthread_t thread;
    atomic_store(&crew.open, 1);
    pthread_create(&thread, NULL, helper, NULL);
    for (int job = 1; job <= JOBS; job++) {
      const int parts = 1 + job % PARTS;
      share(&crew, count, &job, parts);
      for (int i = 0; i < PARTS; i++, counts[i - 1] = 0) wrong += counts[i] != (i < parts ? job : 0);
    }
    atomic_store(&crew.open, 0);
    pthread_join(thread, NULL);
  }
  if (wrong) printf("%d parts were not done once\n", wrong);
  return wrong != 0;
}

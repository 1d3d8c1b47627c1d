// gemm.h as a library of its own: rows are quantised and multiplied, by one thread or by several.

#include <pthread.h>

#include "gemm.h"

enum { MOST_HELPERS = 8 };

typedef struct {
  thread_pool *pool;
  int worker;
} helper;

static void *help(void *of) {
  const helper *h = of;
  while (atomic_load(&h->pool->open)) run_helper(h->pool, h->worker);  // it returns after a long wait
  return NULL;
}

void check_quantise(const float *x, int inputs, int rows, const quantised_rows *to) {
  for (int r = 0; r < rows; r++) quantise_row(x + (size_t)r * inputs, inputs, r, to);
}

void check_gemm(const matrix *m, const matrix *following, const quantised_rows *x, int rows, float *out, int stride, int workers) {
  thread_pool pool = {.open = 1, .workers = workers};
  pthread_t threads[MOST_HELPERS];
  helper helpers[MOST_HELPERS];
  for (int i = 1; i < workers; i++) {
    helpers[i - 1] = (helper){&pool, i};
    pthread_create(&threads[i - 1], NULL, help, &helpers[i - 1]);
  }
  gemm(workers > 1 ? &pool : NULL, m, following, x, rows, out, stride);
  atomic_store(&pool.open, 0);
  for (int i = 1; i < workers; i++) pthread_join(threads[i - 1], NULL);
}

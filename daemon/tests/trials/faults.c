// Preloaded into a process, to make the system fail as a file says that the trial writes: slow fsync, a clock that jumps,
// allocations that fail. Linux with glibc.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

typedef struct {
  int64_t fsync_ms;        // how long each fsync takes
  int64_t clock_seconds;   // how far the wall clock is off
  int64_t fail_from_bytes; // of allocations of so many bytes, one in `fail_one_in` fails; 0: none
  int64_t fail_one_in;
} controls;

static const volatile controls none, *now = &none;

__attribute__((constructor)) static void open_controls(void) {
  const char *path = getenv("GREEN_CODE_FAULTS");
  const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = (void *)syscall(SYS_mmap, NULL, sizeof(controls), PROT_READ, MAP_SHARED, file, (off_t)0);
  if (mapped != MAP_FAILED) now = mapped;
  close(file);
}

static void wait_for_disk(void) {
  const int64_t ms = now->fsync_ms;
  if (ms > 0) nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

int fsync(int file) {
  wait_for_disk();
  return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
  wait_for_disk();
  return (int)syscall(SYS_fdatasync, file);
}

int clock_gettime(clockid_t clock, struct timespec *to) {
  const int result = (int)syscall(SYS_clock_gettime, clock, to);
  if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) to->tv_sec += now->clock_seconds;
  return result;
}

time_t time(time_t *to) {
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  if (to) *to = at.tv_sec;
  return at.tv_sec;
}

int gettimeofday(struct timeval *to, void *zone) {
  (void)zone;
  struct timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  *to = (struct timeval){at.tv_sec, at.tv_nsec / 1000};
  return 0;
}

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static _Atomic uint32_t calls;

static int fails(size_t bytes) {
  const int64_t from = now->fail_from_bytes, one_in = now->fail_one_in;
  if (from <= 0 || one_in <= 0 || bytes < (size_t)from || ++calls % one_in) return 0;
  errno = ENOMEM;
  return 1;
}

void *malloc(size_t bytes) { return fails(bytes) ? NULL : __libc_malloc(bytes); }
void *calloc(size_t count, size_t bytes) { return fails(count * bytes) ? NULL : __libc_calloc(count, bytes); }
void *realloc(void *old, size_t bytes) { return fails(bytes) ? NULL : __libc_realloc(old, bytes); }
void *aligned_alloc(size_t to, size_t bytes) { return fails(bytes) ? NULL : __libc_memalign(to, bytes); }

int posix_memalign(void **at, size_t to, size_t bytes) {
  void *found = fails(bytes) ? NULL : __libc_memalign(to, bytes);
  if (!found) return ENOMEM;
  *at = found;
  return 0;
}

// Pages and mapped files. The C library's own calls do not come here.
void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset) {
  return fails(bytes) ? MAP_FAILED : (void *)syscall(SYS_mmap, at, bytes, protection, flags, file, offset);
}

void *mmap64(void *at, size_t bytes, int protection, int flags, int file, off64_t offset) {
  return mmap(at, bytes, protection, flags, file, offset);
}

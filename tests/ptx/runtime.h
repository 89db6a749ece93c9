/* What translated kernels need while they run: threads that take turns, memory that is checked, arithmetic
 * of PTX that C has no operator for. Included by the C of every module (see emit.py). */

#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;
typedef __int128 s128;
typedef unsigned __int128 u128;

/* Addresses of shared and local memory among the generic ones: where a processor has no memory. */
#define SHARED_WINDOW 0x1000000000000000ull
#define LOCAL_WINDOW 0x2000000000000000ull
#define WINDOW_MASK 0xF000000000000000ull
/* Where shared memory begins: a card keeps the first KiB for itself, so address 0 is nobody's. */
#define SHARED_START 1024
#define BARRIERS 16
#define LANES 32

enum Fault {
  OUT_OF_BOUNDS = 1, MISALIGNED, SHARED_BOUNDS, LOCAL_BOUNDS, PARAMETER_BOUNDS, DEADLOCK, DIVERGENT, NOT_IN_MASK,
  EXITED, ENDLESS, TRAP, CALLED, NO_MEMORY, BARRIER_NUMBER, OTHER_MASK
};

typedef struct {
  s32 code, line, other_line;
  u32 size, block[3], thread[3];
  u64 address;
} Failure;

typedef struct {
  u64 start, end;
} Range;

typedef struct Launch {
  u32 grid[3], block[3];
  const u8 *parameters;
  u64 parameter_bytes;
  u64 shared_bytes;
  const Range *ranges;
  s64 n_ranges;
  s32 backwards;
  u64 fuel;
  Failure failure;
  u64 *counters;
} Launch;

enum Wait {
  RUNNING, DONE, BARRIER, BARRIER_REDUCE, WARP_SYNC, SHUFFLE, VOTE, MATCH, REDUCE, MMA_TF32, MMA_F64_4, MMA_F64_884,
  MMA_F64_8, MMA_F64_16
};

typedef struct {
  u64 to, from;
  u32 size, read;
} Copy;

typedef struct Thread {
  u32 tid[3], rank, lane, warp;
  s32 state, wait, line, variant;
  u32 mask, number, expected;
  u64 in[16], out[4];
  u8 *local;
  /* Asynchronous copies: those of closed groups, then those of the open one; `groups` counts the closed. */
  Copy *copies;
  u32 *ends;
  u32 n_copies, room_copies, groups, room_groups;
} Thread;

typedef struct Site {
  u64 start, span;
} Site;

typedef struct Block {
  Launch *launch;
  u32 ctaid[3], n_threads;
  u8 *shared;
  const u32 *symbols;
  u32 static_bytes;
  Thread *current;
  jmp_buf back;
  u32 arrived[BARRIERS];
  u64 ranges_seen;
} Block;

typedef struct {
  void (*run)(Block *, Thread *, void *);
  u64 saved_bytes, local_bytes;
  const u32 *symbols;
  u32 static_bytes;
  Site *sites;
  u64 n_sites;
} Kernel;

/* ---- faults ---- */

static __attribute__((noreturn, noinline, cold)) void fault(Block *b, int code, int line, u64 address, u32 size) {
  Failure *f = &b->launch->failure;
  f->code = code;
  f->line = line;
  f->address = address;
  f->size = size;
  memcpy(f->block, b->ctaid, sizeof f->block);
  if (b->current) memcpy(f->thread, b->current->tid, sizeof f->thread);
  longjmp(b->back, 1);
}

/* ---- memory ---- */

typedef struct {
  u8 *start;
  u64 size;
} Placed;
/* Variables in global and constant memory, of the module. */
static Placed placed[];
static const int n_placed;

static __attribute__((noinline)) void *find_global(Block *b, Site *site, u64 address, u32 size, int line) {
  const Range *ranges = b->launch->ranges;
  s64 low = 0, high = b->launch->n_ranges;
  while (low < high) {
    s64 middle = (low + high) / 2;
    if (ranges[middle].end > address) high = middle;
    else low = middle + 1;
  }
  if (low < b->launch->n_ranges && ranges[low].start <= address && size <= ranges[low].end - address) {
    site->start = ranges[low].start;
    site->span = ranges[low].end - ranges[low].start - size;
    return (void *)address;
  }
  for (int i = 0; i < n_placed; i++) {
    u64 start = (u64)placed[i].start;
    if (start <= address && address - start + size <= placed[i].size) return (void *)address;
  }
  fault(b, OUT_OF_BOUNDS, line, address, size);
}

static inline void *global_at(Block *b, Site *site, u64 address, u32 size, int line) {
  if (__builtin_expect(address & (size - 1), 0)) fault(b, MISALIGNED, line, address, size);
  if (__builtin_expect(address - site->start <= site->span, 1)) return (void *)address;
  return find_global(b, site, address, size, line);
}

static inline void *shared_at(Block *b, Site *site, u64 address, u32 size, int line) {
  if (__builtin_expect(address & (size - 1), 0)) fault(b, MISALIGNED, line, address, size);
  if (__builtin_expect(address - SHARED_START + size > b->launch->shared_bytes || address < SHARED_START, 0))
    fault(b, SHARED_BOUNDS, line, address, size);
  return b->shared + (address - SHARED_START);
}

static inline void *local_at(Block *b, Thread *t, u64 local_bytes, u64 address, u32 size, int line) {
  if (__builtin_expect(address & (size - 1), 0)) fault(b, MISALIGNED, line, address, size);
  if (__builtin_expect(address + size > local_bytes || address + size < size, 0))
    fault(b, LOCAL_BOUNDS, line, address, size);
  return t->local + address;
}

static inline void *generic_at(Block *b, Thread *t, Site *site, u64 local_bytes, u64 address, u32 size, int line) {
  u64 window = address & WINDOW_MASK;
  if (window == SHARED_WINDOW) return shared_at(b, site, address - SHARED_WINDOW, size, line);
  if (window == LOCAL_WINDOW) return local_at(b, t, local_bytes, address - LOCAL_WINDOW, size, line);
  return global_at(b, site, address, size, line);
}

static inline const void *parameter_at(Block *b, u64 address, u32 size, int line) {
  u64 start = (u64)b->launch->parameters;
  if (address < start || address - start + size > b->launch->parameter_bytes)
    fault(b, PARAMETER_BOUNDS, line, address, size);
  return (const void *)address;
}

/* ---- asynchronous copies: at the wait and not before; nothing may be read from the target until then ---- */

static void copy_later(Block *b, Thread *t, Site *site, u64 to, u64 from, u32 size, u32 read, int line) {
  if (t->n_copies == t->room_copies) {
    t->room_copies = 2 * t->room_copies + 16;
    t->copies = realloc(t->copies, t->room_copies * sizeof(Copy));
    if (!t->copies) fault(b, NO_MEMORY, line, 0, 0);
  }
  if (read > size) read = size;
  memset(shared_at(b, site, to, size, line), 0xFF, size);
  if (from & (size - 1)) fault(b, MISALIGNED, line, from, size);
  if (read) {
    Site any = {0, 0};
    find_global(b, &any, from, read, line);
  }
  t->copies[t->n_copies++] = (Copy){to, from, size, read};
}

static void close_group(Block *b, Thread *t) {
  if (t->groups == t->room_groups) {
    t->room_groups = 2 * t->room_groups + 8;
    t->ends = realloc(t->ends, t->room_groups * sizeof(u32));
    if (!t->ends) fault(b, NO_MEMORY, 0, 0, 0);
  }
  t->ends[t->groups++] = t->n_copies;
}

static void arrive(Block *b, Thread *t, u32 n_copies) {
  for (u32 i = 0; i < n_copies; i++) {
    u8 *to = b->shared + (t->copies[i].to - SHARED_START);
    memcpy(to, (void *)t->copies[i].from, t->copies[i].read);
    memset(to + t->copies[i].read, 0, t->copies[i].size - t->copies[i].read);
  }
  memmove(t->copies, t->copies + n_copies, (t->n_copies - n_copies) * sizeof(Copy));
  t->n_copies -= n_copies;
}

static void wait_groups(Block *b, Thread *t, u32 left) {
  if (t->groups <= left) return;
  u32 closed = t->groups - left, n_copies = t->ends[closed - 1];
  arrive(b, t, n_copies);
  for (u32 i = closed; i < t->groups; i++) t->ends[i - closed] = t->ends[i] - n_copies;
  t->groups = left;
}

static void wait_all(Block *b, Thread *t) {
  arrive(b, t, t->n_copies);
  t->groups = 0;
}

#include "arithmetic.h"
#include "collectives.h"
#ifdef COUNTING
#include "counting.h"
#endif

/* ---- blocks ---- */

static void run_block(Block *b, const Kernel *k, Thread *threads, u8 *saved) {
  int n = b->n_threads, left = n, backwards = b->launch->backwards;
  while (left) {
    int progress = 0;
    for (int i = 0; i < n; i++) {
      int rank = backwards ? n - 1 - i : i;
      Thread *t = &threads[rank];
#ifdef COUNTING
      if (i && t->warp != threads[backwards ? rank + 1 : rank - 1].warp) add_up(b);
#endif
      if (t->wait != RUNNING) continue;
      b->current = t;
      k->run(b, t, saved + rank * k->saved_bytes);
      if (t->wait == DONE) left--;
      progress = 1;
    }
#ifdef COUNTING
    add_up(b);
#endif
    for (int first = 0; first < n; first += LANES)
      progress |= resolve_warp(b, threads + first, n - first < LANES ? n - first : LANES);
    progress |= resolve_barriers(b, threads, n);
    if (!progress && left) stuck(b, threads, n);
  }
  b->current = 0;
}

static int run_launch(Launch *launch, const Kernel *k) {
  u32 n = launch->block[0] * launch->block[1] * launch->block[2];
  u64 blocks = (u64)launch->grid[0] * launch->grid[1] * launch->grid[2];
  volatile int result = 0;
  Block *b = calloc(1, sizeof(Block));
  Thread *threads = calloc(n, sizeof(Thread));
  u8 *saved = malloc(n * k->saved_bytes + 8), *local = aligned_alloc(64, (n * k->local_bytes + 127) / 64 * 64);
  memset(saved, 0xFF, n * k->saved_bytes);
  u8 *shared = aligned_alloc(256, (launch->shared_bytes + 511) / 256 * 256);
  for (u64 i = 0; i < k->n_sites; i++) k->sites[i] = (Site){~0ull, 0};
  b->launch = launch;
  b->shared = shared;
  b->symbols = k->symbols;
  b->static_bytes = k->static_bytes;
  b->n_threads = n;
#ifdef COUNTING
  begin_tally();
#endif
  if (setjmp(b->back)) {
    result = 1;
  } else {
    for (u64 i = 0; i < blocks; i++) {
      u64 number = launch->backwards ? blocks - 1 - i : i;
      b->ctaid[0] = number % launch->grid[0];
      b->ctaid[1] = number / launch->grid[0] % launch->grid[1];
      b->ctaid[2] = number / launch->grid[0] / launch->grid[1];
      memset(shared, 0xFF, launch->shared_bytes);
      memset(local, 0xFF, n * k->local_bytes);
      memset(b->arrived, 0, sizeof b->arrived);
      for (u32 j = 0; j < n; j++) {
        Thread *t = &threads[j];
        t->tid[0] = j % launch->block[0];
        t->tid[1] = j / launch->block[0] % launch->block[1];
        t->tid[2] = j / launch->block[0] / launch->block[1];
        t->rank = j;
        t->lane = j % LANES;
        t->warp = j / LANES;
        t->state = 0;
        t->wait = RUNNING;
        t->n_copies = t->groups = 0;
        t->local = local + j * k->local_bytes;
      }
#ifdef COUNTING
      begin_block();
#endif
      run_block(b, k, threads, saved);
    }
  }
#ifdef COUNTING
  end_tally();
#endif
  for (u32 j = 0; j < n; j++) {
    free(threads[j].copies);
    free(threads[j].ends);
  }
  free(shared);
  free(local);
  free(saved);
  free(threads);
  free(b);
  return result;
}

/* What warps do, counted while threads run: see counting.py. The threads of a warp run one after the other until
 * they wait or exit; then what they did is added up, and forgotten. */

#pragma GCC push_options
#pragma GCC optimize("O2")

typedef struct {
  u32 segment, size, kind, space;
} Access;
static const Access accesses[];
enum { LOADS, STORES, ATOMICS };
enum { GLOBAL, SHARED, GENERIC };
/* Numbers of a segment and of an access that a launch gives back. */
enum { OF_SEGMENT = 2, OF_ACCESS = 7 };
#define SECTOR 32
#define BANKS 32

/* Addresses of the k-th execution, by lanes. */
typedef struct {
  u64 *addresses;
  u32 *masks, room, used;
} Seen;

typedef struct {
  u32 (*counts)[LANES], *touched, n_touched;
  u8 *is_touched;
  Seen *seen;
  u32 *touched_accesses, n_touched_accesses;
  /* Sectors that the block has read: an open table, with the block that made an entry. */
  u64 *sectors, n_sectors, room;
  u32 *stamps, stamp;
} Tally;
static Tally tally;

static void *room_for(u64 number, u64 size) {
  void *found = calloc(number + 1, size);
  if (!found) abort();
  return found;
}

static inline void count(const Thread *t, u32 segment) {
  if (!tally.is_touched[segment]) {
    tally.is_touched[segment] = 1;
    tally.touched[tally.n_touched++] = segment;
  }
  tally.counts[segment][t->lane]++;
}

static __attribute__((noinline)) void widen(Seen *s, u32 k) {
  u32 room = 2 * k + 4;
  s->addresses = realloc(s->addresses, sizeof(u64) * LANES * room);
  s->masks = realloc(s->masks, sizeof(u32) * room);
  if (!s->addresses || !s->masks) abort();
  memset(s->masks + s->room, 0, sizeof(u32) * (room - s->room));
  s->room = room;
}

static inline u64 seen(const Thread *t, u32 number, u64 address) {
  Seen *s = &tally.seen[number];
  u32 k = tally.counts[accesses[number].segment][t->lane] - 1;
  if (k >= s->room) widen(s, k);
  if (!s->used) tally.touched_accesses[tally.n_touched_accesses++] = number;
  if (k >= s->used) s->used = k + 1;
  s->addresses[(u64)k * LANES + t->lane] = address;
  s->masks[k] |= 1u << t->lane;
  return address;
}

static u64 place_of(u64 sector) {
  u64 at = sector * 0x9E3779B97F4A7C15ull >> 20 & (tally.room - 1);
  while (tally.stamps[at] == tally.stamp && tally.sectors[at] != sector) at = (at + 1) & (tally.room - 1);
  return at;
}

/* Whether the block has not read a sector before. */
static int is_first(u64 sector) {
  if (2 * (tally.n_sectors + 1) > tally.room) {
    u64 *old = tally.sectors, room = tally.room;
    u32 *stamps = tally.stamps;
    tally.room = room ? 2 * room : 1 << 12;
    tally.sectors = room_for(tally.room, sizeof(u64));
    tally.stamps = room_for(tally.room, sizeof(u32));
    for (u64 i = 0; i < room; i++)
      if (stamps[i] == tally.stamp) {
        u64 at = place_of(old[i]);
        tally.sectors[at] = old[i];
        tally.stamps[at] = tally.stamp;
      }
    free(old);
    free(stamps);
  }
  u64 at = place_of(sector);
  if (tally.stamps[at] == tally.stamp) return 0;
  tally.sectors[at] = sector;
  tally.stamps[at] = tally.stamp;
  tally.n_sectors++;
  return 1;
}

/* Banks of 4 bytes; lanes go together 32 at a time, with 8 bytes each 16, with 16 bytes 8. A word is there for
 * all lanes that ask for it, but for atomic operations, which take turns. */
static void add_shared(const Access *a, const u64 *addresses, u32 mask, u64 *to) {
  u32 words = a->size < 4 ? 1 : a->size / 4, together = LANES / words;
  for (u32 first = 0; first < LANES; first += together) {
    u64 asked[BANKS][LANES], most = 0;
    u32 n[BANKS] = {0};
    for (u32 lane = first; lane < first + together; lane++) {
      if (!(mask >> lane & 1)) continue;
      for (u32 i = 0; i < words; i++) {
        u64 word = addresses[lane] / 4 + i;
        u32 bank = word % BANKS, j = 0;
        while (j < n[bank] && (a->kind == ATOMICS || asked[bank][j] != word)) j++;
        if (j == n[bank]) asked[bank][n[bank]++] = word;
        most = MAX(most, n[bank]);
      }
    }
    to[5] += most;
    to[6] += most > 0;
  }
}

static void add_global(const Access *a, const u64 *addresses, u32 mask, u64 *to) {
  u64 found[2 * LANES];
  u32 n = 0;
  for (u32 lane = 0; lane < LANES; lane++) {
    if (!(mask >> lane & 1)) continue;
    for (u64 sector = addresses[lane] / SECTOR; sector <= (addresses[lane] + a->size - 1) / SECTOR; sector++) {
      u32 j = n;
      while (j && found[j - 1] != sector) j--;
      if (!j) found[n++] = sector;
    }
  }
  to[2] += n;
  to[3] += (n + 3) / 4;
  if (a->kind == LOADS)
    for (u32 i = 0; i < n; i++) to[4] += is_first(found[i]);
}

/* What the threads of one warp have done since the last time. */
static void add_up(Block *b) {
  u64 *to = b->launch->counters;
  for (u32 i = 0; i < tally.n_touched; i++) {
    u32 segment = tally.touched[i], most = 0, sum = 0;
    for (u32 lane = 0; lane < LANES; lane++) {
      u32 n = tally.counts[segment][lane];
      most = MAX(most, n);
      sum += n;
    }
    to[OF_SEGMENT * segment] += most;
    to[OF_SEGMENT * segment + 1] += sum;
    memset(tally.counts[segment], 0, sizeof tally.counts[segment]);
    tally.is_touched[segment] = 0;
  }
  tally.n_touched = 0;
  to += OF_SEGMENT * N_SEGMENTS;
  for (u32 i = 0; i < tally.n_touched_accesses; i++) {
    u32 number = tally.touched_accesses[i];
    const Access *a = &accesses[number];
    Seen *s = &tally.seen[number];
    for (u32 k = 0; k < s->used; k++) {
      u64 *addresses = s->addresses + (u64)k * LANES, any;
      u32 mask = s->masks[k];
      if (!mask) continue;
      any = addresses[__builtin_ctz(mask)];
      to[OF_ACCESS * number]++;
      to[OF_ACCESS * number + 1] += __builtin_popcount(mask);
      /* A warp whose threads mean several spaces is taken to mean that of the first. */
      if (a->space == SHARED || (a->space == GENERIC && (any & WINDOW_MASK) == SHARED_WINDOW))
        add_shared(a, addresses, mask, to + OF_ACCESS * number);
      else if ((any & WINDOW_MASK) != LOCAL_WINDOW)
        add_global(a, addresses, mask, to + OF_ACCESS * number);
      s->masks[k] = 0;
    }
    s->used = 0;
  }
  tally.n_touched_accesses = 0;
}

static void begin_block(void) {
  tally.stamp++;
  tally.n_sectors = 0;
}

static void begin_tally(void) {
  tally = (Tally){0};
  tally.counts = room_for(N_SEGMENTS, sizeof *tally.counts);
  tally.touched = room_for(N_SEGMENTS, sizeof(u32));
  tally.is_touched = room_for(N_SEGMENTS, 1);
  tally.seen = room_for(N_ACCESSES, sizeof(Seen));
  tally.touched_accesses = room_for(N_ACCESSES, sizeof(u32));
}

static void end_tally(void) {
  for (u32 i = 0; i < N_ACCESSES; i++) {
    free(tally.seen[i].addresses);
    free(tally.seen[i].masks);
  }
  free(tally.counts);
  free(tally.touched);
  free(tally.is_touched);
  free(tally.seen);
  free(tally.touched_accesses);
  free(tally.sectors);
  free(tally.stamps);
}

#pragma GCC pop_options

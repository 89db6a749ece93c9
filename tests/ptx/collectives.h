/* What several threads do together: barriers, exchange within a warp, products of small matrices. */

static __attribute__((noreturn)) void fault_of(Block *b, Thread *t, int code, int other_line) {
  b->current = t;
  b->launch->failure.other_line = other_line;
  fault(b, code, t->line, 0, 0);
}

static inline int in_warp(int wait) { return wait >= WARP_SYNC; }

static __attribute__((noreturn)) void stuck(Block *b, Thread *threads, int n) {
  Thread *first = 0;
  for (int i = 0; i < n; i++) {
    Thread *t = &threads[i];
    if (t->wait == DONE) continue;
    if (!first) first = t;
    else if (t->line != first->line) fault_of(b, first, DEADLOCK, t->line);
  }
  fault_of(b, first, DEADLOCK, 0);
}

static void shuffle(Thread *w, u32 active) {
  u64 values[LANES];
  for (int i = 0; i < LANES; i++) values[i] = active >> i & 1 ? w[i].in[0] : 0xFFFFFFFFu;
  for (int i = 0; i < LANES; i++) {
    if (!(active >> i & 1)) continue;
    int c = w[i].in[2], bound = c & 31, segment = c >> 8 & 31, by = w[i].in[1] & 31, from, valid;
    int last = (i & segment) | (bound & ~segment), first = i & segment;
    switch (w[i].variant) {
      case 'u': from = i - by; valid = from >= last; break;
      case 'd': from = i + by; valid = from <= last; break;
      case 'b': from = i ^ by; valid = from <= last; break;
      default: from = first | (by & ~segment); valid = from <= last;
    }
    if (!valid) from = i;
    w[i].out[0] = values[from];
    w[i].out[1] = valid;
  }
}

static void vote(Thread *w, u32 active) {
  u32 ballot = 0;
  for (int i = 0; i < LANES; i++)
    if (active >> i & 1 && w[i].in[0]) ballot |= 1u << i;
  for (int i = 0; i < LANES; i++)
    if (active >> i & 1) switch (w[i].variant) {
        case 'l': w[i].out[0] = ballot == active; break;
        case 'y': w[i].out[0] = ballot != 0; break;
        case 'u': w[i].out[0] = ballot == active || ballot == 0; break;
        default: w[i].out[0] = ballot;
      }
}

static void match(Thread *w, u32 active) {
  for (int i = 0; i < LANES; i++) {
    if (!(active >> i & 1)) continue;
    u32 same = 0;
    for (int j = 0; j < LANES; j++)
      if (active >> j & 1 && w[j].in[0] == w[i].in[0]) same |= 1u << j;
    w[i].out[0] = w[i].variant == 'l' ? (same == active ? active : 0) : same;
    w[i].out[1] = same == active;
  }
}

static void reduce(Thread *w, u32 active) {
  int any = __builtin_ctz(active), variant = w[any].variant;
  u32 result = w[any].in[0];
  for (int i = any + 1; i < LANES; i++) {
    if (!(active >> i & 1)) continue;
    u32 x = w[i].in[0];
    switch (variant) {
      case '+': result += x; break;
      case '&': result &= x; break;
      case '|': result |= x; break;
      case '^': result ^= x; break;
      case 'm': result = MIN((s32)result, (s32)x); break;
      case 'M': result = MAX((s32)result, (s32)x); break;
      case 'n': result = MIN(result, x); break;
      case 'N': result = MAX(result, x); break;
    }
  }
  for (int i = 0; i < LANES; i++)
    if (active >> i & 1) w[i].out[0] = result;
}

/* D = A B + C. Lane 4 g + t holds: A (row g or g + 8, columns t, t + 4, …), B (rows t, t + 4, …, column g),
 * C and D (row g or g + 8, columns 2 t and 2 t + 1). */
static void multiply_f64(Thread *w, int rows, int depth) {
  f64 a[16][16], b[16][8], c[16][8];
  int tall = rows / 8, steps = depth / 4, n_a = tall * steps;
  for (int i = 0; i < LANES; i++) {
    int g = i >> 2, t = i & 3;
    for (int v = 0; v < steps; v++) {
      for (int h = 0; h < tall; h++) a[g + 8 * h][t + 4 * v] = ud(w[i].in[tall * v + h]);
      b[t + 4 * v][g] = ud(w[i].in[n_a + v]);
    }
    for (int h = 0; h < tall; h++)
      for (int e = 0; e < 2; e++) c[g + 8 * h][2 * t + e] = ud(w[i].in[n_a + steps + 2 * h + e]);
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < 8; j++)
      for (int k = 0; k < depth; k++) c[i][j] = fma(a[i][k], b[k][j], c[i][j]);
  for (int i = 0; i < LANES; i++)
    for (int h = 0; h < tall; h++)
      for (int e = 0; e < 2; e++) w[i].out[2 * h + e] = du(c[(i >> 2) + 8 * h][2 * (i & 3) + e]);
}

/* Of a factor only the upper 19 bits are seen. */
static inline f64 tf32(u64 bits) { return uf((u32)bits & ~0x1FFFu); }

static void multiply_tf32(Thread *w, int depth) {
  f64 a[16][8], b[8][8];
  f32 c[16][8];
  int steps = depth / 4;
  for (int i = 0; i < LANES; i++) {
    int g = i >> 2, t = i & 3;
    for (int v = 0; v < steps; v++) {
      for (int h = 0; h < 2; h++) a[g + 8 * h][t + 4 * v] = tf32(w[i].in[2 * v + h]);
      b[t + 4 * v][g] = tf32(w[i].in[2 * steps + v]);
    }
    for (int h = 0; h < 2; h++)
      for (int e = 0; e < 2; e++) c[g + 8 * h][2 * t + e] = uf((u32)w[i].in[3 * steps + 2 * h + e]);
  }
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 8; j++) {
      f64 sum = c[i][j];
      for (int k = 0; k < depth; k++) sum += a[i][k] * b[k][j];
      c[i][j] = (f32)sum;
    }
  for (int i = 0; i < LANES; i++)
    for (int h = 0; h < 2; h++)
      for (int e = 0; e < 2; e++) w[i].out[2 * h + e] = fu(c[(i >> 2) + 8 * h][2 * (i & 3) + e]);
}

static void together(Block *b, Thread *w, Thread *first, u32 active) {
  if (first->wait >= MMA_TF32 && active != 0xFFFFFFFFu) fault_of(b, first, EXITED, 0);
  switch (first->wait) {
    case SHUFFLE: shuffle(w, active); break;
    case VOTE: vote(w, active); break;
    case MATCH: match(w, active); break;
    case REDUCE: reduce(w, active); break;
    case MMA_TF32: multiply_tf32(w, first->variant); break;
    case MMA_F64_884: multiply_f64(w, 8, 4); break;
    case MMA_F64_4: multiply_f64(w, 16, 4); break;
    case MMA_F64_8: multiply_f64(w, 16, 8); break;
    case MMA_F64_16: multiply_f64(w, 16, 16); break;
  }
  for (int i = 0; i < LANES; i++)
    if (active >> i & 1) w[i].wait = RUNNING;
}

/* Whether two threads wait for the same: at the same instruction, which is where they go on. */
static inline int is_partner(const Thread *t, const Thread *other) {
  return other->wait == t->wait && (t->wait == WARP_SYNC || other->state == t->state);
}

/* Let threads of a warp go on whose partners are all there; threads that have exited are not waited for. */
static int resolve_warp(Block *b, Thread *w, int n) {
  int progress = 0;
  u32 alive = 0;
  for (int i = 0; i < n; i++)
    if (w[i].wait != DONE) alive |= 1u << i;
  for (int i = 0; i < n; i++) {
    if (!in_warp(w[i].wait)) continue;
    if (!(w[i].mask >> i & 1)) fault_of(b, &w[i], NOT_IN_MASK, 0);
    for (int j = 0; j < n; j++)
      if (w[i].mask >> j & 1 && is_partner(&w[i], &w[j]) && w[j].mask != w[i].mask)
        fault_of(b, &w[i], OTHER_MASK, w[j].line);
  }
  for (int i = 0; i < n; i++) {
    Thread *t = &w[i];
    if (!in_warp(t->wait)) continue;
    u32 active = t->mask & alive;
    int ready = 1;
    for (int j = 0; j < n; j++)
      if (active >> j & 1 && !is_partner(t, &w[j])) ready = 0;
    if (!ready) continue;
    together(b, w, t, active);
    progress = 1;
  }
  return progress;
}

static int resolve_barriers(Block *b, Thread *threads, int n) {
  int progress = 0;
  for (u32 number = 0; number < BARRIERS; number++) {
    u32 waiting = 0, alive = 0, expected = 0, set = 0;
    Thread *first = 0;
    for (int i = 0; i < n; i++) {
      Thread *t = &threads[i];
      alive += t->wait != DONE;
      if ((t->wait != BARRIER && t->wait != BARRIER_REDUCE) || t->number != number) continue;
      if (!first) first = t;
      if (t->expected != first->expected || t->wait != first->wait) fault_of(b, first, DIVERGENT, t->line);
      for (Thread *other = threads + i / LANES * LANES; other < t; other++)
        if (other->wait == t->wait && other->number == number && other->state != t->state)
          fault_of(b, other, DIVERGENT, t->line);
      waiting++;
      set += t->in[0] != 0;
    }
    if (!first) continue;
    expected = first->expected ? first->expected : alive;
    if (waiting + b->arrived[number] < expected) continue;
    b->arrived[number] = 0;
    for (int i = 0; i < n; i++) {
      Thread *t = &threads[i];
      if ((t->wait != BARRIER && t->wait != BARRIER_REDUCE) || t->number != number) continue;
      t->out[0] = t->variant == '&' ? set == waiting : t->variant == '|' ? set != 0 : set;
      t->wait = RUNNING;
    }
    progress = 1;
  }
  return progress;
}

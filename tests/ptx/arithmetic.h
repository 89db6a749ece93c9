/* Arithmetic of PTX that C has no operator for, or another meaning. */

static inline f32 uf(u32 x) { f32 y; memcpy(&y, &x, 4); return y; }
static inline u32 fu(f32 x) { u32 y; memcpy(&y, &x, 4); return y; }
static inline f64 ud(u64 x) { f64 y; memcpy(&y, &x, 8); return y; }
static inline u64 du(f64 x) { u64 y; memcpy(&y, &x, 8); return y; }

/* Subnormal numbers flushed to zero, the sign kept. */
static inline f32 ftz(f32 x) { return (fu(x) & 0x7F800000u) ? x : uf(fu(x) & 0x80000000u); }
static inline f32 saturate_f32(f32 x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline f64 saturate_f64(f64 x) { return x > 0.0 ? (x < 1.0 ? x : 1.0) : 0.0; }

/* A value under another rounding mode; `volatile` keeps the compiler from doing it beforehand. */
#define ROUNDED1(mode, to, from, a, expression) \
  ({ volatile from x = (a); int old_ = fegetround(); fesetround(mode); volatile to z_ = (expression); \
     fesetround(old_); z_; })
#define ROUNDED2(mode, type, a, b, expression) \
  ({ volatile type x = (a), y = (b); int old_ = fegetround(); fesetround(mode); volatile type z_ = (expression); \
     fesetround(old_); z_; })
#define ROUNDED3(mode, type, a, b, c, expression) \
  ({ volatile type x = (a), y = (b), z = (c); int old_ = fegetround(); fesetround(mode); \
     volatile type z_ = (expression); fesetround(old_); z_; })

#define MINMAX(type, bits, canonical) \
  static inline type min_##type(type a, type b) { \
    if (a != a) return b != b ? canonical : b; \
    if (b != b) return a; \
    return a < b || (a == b && signbit(a)) ? a : b; \
  } \
  static inline type max_##type(type a, type b) { \
    if (a != a) return b != b ? canonical : b; \
    if (b != b) return a; \
    return a > b || (a == b && !signbit(a)) ? a : b; \
  }
MINMAX(f32, u32, uf(0x7FFFFFFFu))
MINMAX(f64, u64, ud(0x7FF8000000000000ull))
#define MIN(a, b) ({ __auto_type a_ = (a); __auto_type b_ = (b); a_ < b_ ? a_ : b_; })
#define MAX(a, b) ({ __auto_type a_ = (a); __auto_type b_ = (b); a_ > b_ ? a_ : b_; })

/* Division of integers where C has no answer; a card gives all ones for a divisor of zero. */
#define DIVISION(type, lowest) \
  static inline type div_##type(type a, type b) { \
    if (b == 0) return (type)~(type)0; \
    if (lowest != 0 && a == (type)lowest && b == (type)-1) return a; \
    return a / b; \
  } \
  static inline type rem_##type(type a, type b) { \
    if (b == 0) return a; \
    if (lowest != 0 && a == (type)lowest && b == (type)-1) return 0; \
    return a % b; \
  }
DIVISION(u16, 0)
DIVISION(u32, 0)
DIVISION(u64, 0)
DIVISION(s16, INT16_MIN)
DIVISION(s32, INT32_MIN)
DIVISION(s64, INT64_MIN)

/* Shifts by the width or more. */
#define SHIFTS(type, signed_type, width) \
  static inline type shl_##type(type a, u32 n) { return n < width ? (type)(a << n) : 0; } \
  static inline type shr_##type(type a, u32 n) { return n < width ? (type)(a >> n) : 0; } \
  static inline signed_type shr_##signed_type(signed_type a, u32 n) { return a >> (n < width ? n : width - 1); }
SHIFTS(u16, s16, 16)
SHIFTS(u32, s32, 32)
SHIFTS(u64, s64, 64)

static inline u64 extract(u64 a, u32 position, u32 length, int width, int is_signed) {
  position &= 255;
  length &= 255;
  int top = position + length - 1 < (u32)width - 1 ? position + length - 1 : width - 1;
  u64 sign = is_signed && length ? (a >> top) & 1 : 0, result = 0;
  for (int i = 0; i < width; i++) {
    u64 bit = i < (int)length && (int)position + i < width ? (a >> (position + i)) & 1 : sign;
    result |= bit << i;
  }
  return result;
}

static inline u64 insert(u64 a, u64 b, u32 position, u32 length, int width) {
  position &= 255;
  length &= 255;
  for (u32 i = 0; i < length && position + i < (u32)width; i++) {
    u64 bit = 1ull << (position + i);
    b = (b & ~bit) | (((a >> i) & 1) ? bit : 0);
  }
  return b;
}

static inline u32 reversed32(u32 a) {
  u32 result = 0;
  for (int i = 0; i < 32; i++) result |= ((a >> i) & 1u) << (31 - i);
  return result;
}
static inline u64 reversed64(u64 a) { return ((u64)reversed32((u32)a) << 32) | reversed32(a >> 32); }

static inline u32 permute(u32 a, u32 b, u32 selector) {
  u64 bytes = ((u64)b << 32) | a;
  u32 result = 0;
  for (int i = 0; i < 4; i++) {
    u32 s = (selector >> (4 * i)) & 15;
    u8 byte = bytes >> (8 * (s & 7));
    if (s & 8) byte = byte & 0x80 ? 0xFF : 0;
    result |= (u32)byte << (8 * i);
  }
  return result;
}

static inline u32 logic3(u32 a, u32 b, u32 c, u32 table) {
  u32 result = 0;
  for (int i = 0; i < 8; i++)
    if (table >> i & 1) result |= (i & 4 ? a : ~a) & (i & 2 ? b : ~b) & (i & 1 ? c : ~c);
  return result;
}

/* Floating point to integer: the nearest that there is; NaN as the documentation of `cvt` says. */
static inline s64 to_s64(f64 x, int wide) {
  if (x != x) return wide ? INT64_MIN : 0;
  return x >= 9223372036854775808.0 ? INT64_MAX : x < -9223372036854775808.0 ? INT64_MIN : (s64)x;
}
static inline u64 to_u64(f64 x, int wide) {
  if (x != x) return wide ? 1ull << 63 : 0;
  return x >= 18446744073709551616.0 ? UINT64_MAX : x <= 0.0 ? 0 : (u64)x;
}
static inline s64 to_signed(f64 x, int bits, int wide) {
  s64 low = -(1ll << (bits - 1)), high = (1ll << (bits - 1)) - 1;
  if (x != x) return wide ? low : 0;
  return x >= (f64)high ? high : x <= (f64)low ? low : (s64)x;
}
static inline u64 to_unsigned(f64 x, int bits, int wide) {
  u64 high = (1ull << bits) - 1;
  if (x != x) return wide ? 1ull << (bits - 1) : 0;
  return x >= (f64)high ? high : x <= 0.0 ? 0 : (u64)x;
}

/* TF32: 10 bits of fraction; halves away from zero, to even, or all cut off. */
static inline u32 to_tf32(f32 x, char mode) {
  u32 bits = fu(x);
  if (x != x) return 0x7FFFE000u;
  if (mode == 'a') bits += 0x1000u;
  if (mode == 'e') bits += 0xFFFu + ((bits >> 13) & 1);
  return bits & ~0x1FFFu;
}

/* The gross approximations of double precision take and give the upper 32 bits. */
#define UPPER 0xFFFFFFFF00000000ull
static inline f64 upper(f64 x) { return ud(du(x) & UPPER); }
static inline f64 flushed(f64 x) { return (du(x) & 0x7FF0000000000000ull) ? x : ud(du(x) & (1ull << 63)); }
static inline f64 rcp_gross(f64 x) { return upper(flushed(1.0 / upper(flushed(x)))); }
static inline f64 rsqrt_gross(f64 x) { return upper(1.0 / sqrt(upper(flushed(x)))); }

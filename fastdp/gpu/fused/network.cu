// The whole fitting network of one type of atoms in one function: from M to energies and Q = dE/dM.
//
// A block takes ROWS atoms. What lies between M and Q stays in shared memory; the model's matrices come from the
// L2 cache, each once forwards and once backwards. All products go to tensor cores, in float64, in TF32, or in
// three products of TF32 numbers that bring the accuracy of float32 back.
//
// Around this text, text.py writes what the network looks like (sizes, where what is in shared memory and among the
// weights), a namespace of its own, and the kernel that calls it for one or several types. Symbols: tau (Q channels),
// T (RIGHT of them mixed; tau itself where RIGHT is 0), D their products, z and g the output of a layer and the gradient
// with respect to it.
//
// Shared memory holds features in rows of STRIDE numbers, an atom in each column. STRIDE is 4 (mod 16) numbers of 8
// bytes, or 8 or 24 (mod 32) of 4: the lanes of a warp, atom g = lane / 4 and feature t = lane % 4 of an operand,
// then meet different banks. Weights lie as the lanes take them, see packing.py. For the operands of the tensor
// cores: PTX ISA, "Warp level matrix multiply-accumulate instructions", https://docs.nvidia.com/cuda/parallel-thread-execution.

constexpr int GROUPS = ROWS / 16;
constexpr int WARPS = 4 * GROUPS;
constexpr int THREADS = 32 * WARPS;
constexpr int PARTS = THREADS / ROWS;
// Rows of a packed matrix that a lane takes numbers of at a time, 16 bytes.
constexpr int UNIT = PRODUCTS == 0 ? 8 : 16;

__device__ constexpr int units(int length) { return (length + 15) / 16 * (16 / UNIT); }

constexpr int PADDED_Q = (Q + 3) / 4 * 4;
constexpr int PADDED_RIGHT = RIGHT == 0 ? PADDED_Q : (RIGHT + 3) / 4 * 4;
constexpr int PARKED = 4 * (PADDED_Q + (RIGHT == 0 ? 0 : PADDED_RIGHT)) * ROWS;

__device__ constexpr int least(int a, int b) { return a < b ? a : b; }

// ---- Tensor cores: c (16 x 8) += a (16 x 8) b (8 x 8)

#if PRODUCTS == 0
struct Left { Real x[4]; };
struct Right { Real x[2]; };

__device__ __forceinline__ Left left_of(Real a0, Real a1, Real a2, Real a3) { return {{a0, a1, a2, a3}}; }
__device__ __forceinline__ Right right_of(Real b0, Real b1) { return {{b0, b1}}; }

__device__ __forceinline__ void multiply_add(Real (&c)[4], const Left& a, const Right& b)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+d"(c[0]), "+d"(c[1]), "+d"(c[2]), "+d"(c[3])
                 : "d"(a.x[0]), "d"(a.x[1]), "d"(a.x[2]), "d"(a.x[3]), "d"(b.x[0]), "d"(b.x[1]));
#else
    for (int half = 0; half < 2; ++half)
        for (int step = 0; step < 2; ++step)
            asm volatile("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
                         : "+d"(c[2 * half]), "+d"(c[2 * half + 1])
                         : "d"(a.x[2 * step + half]), "d"(b.x[step]));
#endif
}
#else
// high + low is the number; low is left out where PRODUCTS is 1.
struct Left { unsigned high[4], low[4]; };
struct Right { unsigned high[2], low[2]; };

__device__ __forceinline__ unsigned rounded(Real x)
{
    unsigned result;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(x));
    return result;
}

__device__ __forceinline__ void split(Real x, unsigned& high, unsigned& low)
{
    if (PRODUCTS == 3) {
        // `rounded` would take three or four instructions each, because it looks for infinity. A card sees the first 11
        // bits of low; what it leaves out is 2^-21 of x. If x is no number, low is none.
        high = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
        low = __float_as_uint(x - __uint_as_float(high));
    } else {
        high = rounded(x);
        low = 0u;
    }
}

__device__ __forceinline__ Left left_of(Real a0, Real a1, Real a2, Real a3)
{
    Left a;
    split(a0, a.high[0], a.low[0]);
    split(a1, a.high[1], a.low[1]);
    split(a2, a.high[2], a.low[2]);
    split(a3, a.high[3], a.low[3]);
    return a;
}

__device__ __forceinline__ Right right_of(Real b0, Real b1)
{
    Right b;
    split(b0, b.high[0], b.low[0]);
    split(b1, b.high[1], b.low[1]);
    return b;
}

__device__ __forceinline__ void multiply_add_tf32(Real (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void multiply_add(Real (&c)[4], const Left& a, const Right& b)
{
    if (PRODUCTS == 3) {
        // The product of the two low parts is below the rounding of float32.
        multiply_add_tf32(c, a.low, b.high);
        multiply_add_tf32(c, a.high, b.low);
    }
    multiply_add_tf32(c, a.high, b.high);
}
#endif

// ---- Operands

// Numbers of 16 bytes.
#if PRODUCTS == 0
typedef double2 Word;
#else
typedef float4 Word;
#endif
constexpr int WORD = 16 / sizeof(Real);

struct alignas(16) Piece { Real x[UNIT / 4]; };

// Of a packed matrix: what a lane takes in one unit of the sum.
template <int UNITS>
__device__ __forceinline__ Piece weights_of(const Real* packed, int tile, int unit)
{
    const int lane = threadIdx.x & 31;
    const Real* const place = packed + ((Index)(tile * UNITS + unit) * 32 + lane) * (UNIT / 4);
#if PRODUCTS == 0
    const double2 two = __ldg(reinterpret_cast<const double2*>(place));
    return {{two.x, two.y}};
#else
    const float4 four = __ldg(reinterpret_cast<const float4*>(place));
    return {{four.x, four.y, four.z, four.w}};
#endif
}

// Eight features of 16 atoms from shared memory; LENGTH: features that there are, zeros beyond.
template <int LENGTH>
__device__ __forceinline__ Left features_of(const Real* features, int first, int atom)
{
    const int t = threadIdx.x & 3;
    const Real* const place = features + (first + t) * STRIDE + atom;
    if (LENGTH % 8 == 0 || first + 8 <= LENGTH)
        return left_of(place[0], place[8], place[4 * STRIDE], place[4 * STRIDE + 8]);
    const bool near = first + t < LENGTH, far = first + t + 4 < LENGTH;
    return left_of(near ? place[0] : Real(0), near ? place[8] : Real(0), far ? place[4 * STRIDE] : Real(0),
                   far ? place[4 * STRIDE + 8] : Real(0));
}

// All features of 16 atoms, in registers for several products.
template <int LENGTH>
struct Held {
    static constexpr int EIGHTHS = (LENGTH + 7) / 8;

    Left a[EIGHTHS];

    __device__ __forceinline__ Held(const Real* features, int atom)
    {
#pragma unroll
        for (int k = 0; k < EIGHTHS; ++k) a[k] = features_of<LENGTH>(features, 8 * k, atom);
    }
};

// A product of 16 atoms and 8 columns, with weights that are there.
template <int LENGTH>
__device__ __forceinline__ void add_one(Real (&sums)[4], const Held<LENGTH>& features, const Piece (&b)[units(LENGTH)])
{
#pragma unroll
    for (int unit = 0; unit < units(LENGTH); ++unit)
#pragma unroll
        for (int half = 0; half < UNIT / 8; ++half) {
            const int eighth = UNIT / 8 * unit + half;
            if (eighth < Held<LENGTH>::EIGHTHS)
                multiply_add(sums, features.a[eighth], right_of(b[unit].x[2 * half], b[unit].x[2 * half + 1]));
        }
}

// How WIDTH columns of a product are dealt out to warps: jobs of 8 columns and EACH groups of 16 atoms, one or all.
template <int WIDTH_, int EACH_>
struct Jobs {
    static constexpr int WIDTH = WIDTH_, EACH = EACH_;
    static constexpr int TILES = (WIDTH + 7) / 8;
    // A warp stays with its atoms: what it takes of them serves all its rounds.
    static constexpr int SHARING = EACH == GROUPS ? WARPS : 4;
    static constexpr int ROUNDS = (TILES + SHARING - 1) / SHARING;

    Real sums[ROUNDS][EACH][4];

    __device__ __forceinline__ Jobs()
    {
#pragma unroll
        for (int r = 0; r < ROUNDS; ++r)
#pragma unroll
            for (int m = 0; m < EACH; ++m)
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[r][m][i] = Real(0);
    }

    static __device__ __forceinline__ int group() { return EACH == GROUPS ? 0 : threadIdx.x >> 7; }
    // Other warps begin in each group: those with a tile more are to be on all four schedulers of a multiprocessor.
    static __device__ __forceinline__ int tile(int round)
    {
        const int warp = threadIdx.x >> 5;
        return SHARING * round + (EACH == GROUPS ? warp : (warp - group() * TILES) & 3);
    }
    static __device__ __forceinline__ bool there(int round) { return (round + 1) * SHARING <= TILES || tile(round) < TILES; }

    template <int UNITS>
    __device__ __forceinline__ void fetch(Piece (&b)[ROUNDS], const Real* packed, int unit) const
    {
#pragma unroll
        for (int r = 0; r < ROUNDS; ++r)
            if (there(r)) b[r] = weights_of<UNITS>(packed, tile(r), unit);
    }

    // One unit of the sum: features from `first` on, of LENGTH.
    template <int LENGTH>
    __device__ __forceinline__ void add(const Real* features, int first, const Piece (&b)[ROUNDS])
    {
        const int g = (threadIdx.x & 31) >> 2;
#pragma unroll
        for (int half = 0; half < UNIT / 8; ++half) {
            const int eighth = first + 8 * half;
            if (eighth >= LENGTH) break;
            Left a[EACH];
#pragma unroll
            for (int m = 0; m < EACH; ++m) a[m] = features_of<LENGTH>(features, eighth, 16 * (group() + m) + g);
#pragma unroll
            for (int r = 0; r < ROUNDS; ++r)
                if (there(r)) {
                    const Right right = right_of(b[r].x[2 * half], b[r].x[2 * half + 1]);
#pragma unroll
                    for (int m = 0; m < EACH; ++m) multiply_add(sums[r][m], a[m], right);
                }
        }
    }

    // All of the sum; the next weights are under way while these are used. Unrolled, it would need registers that
    // there are not.
    template <int LENGTH>
    __device__ __forceinline__ void add_all(const Real* features, const Real* packed)
    {
        constexpr int UNITS = units(LENGTH);
        Piece b[ROUNDS], next[ROUNDS];
        fetch<UNITS>(next, packed, 0);
#pragma unroll 1
        for (int unit = 0; unit < UNITS; ++unit) {
#pragma unroll
            for (int r = 0; r < ROUNDS; ++r) b[r] = next[r];
            if (unit + 1 < UNITS) fetch<UNITS>(next, packed, unit + 1);
            add<LENGTH>(features, UNIT * unit, b);
        }
    }

    // Calls use(column, atom, sum) for all sums of this lane; columns end at a multiple of 8.
    template <class Use>
    __device__ __forceinline__ void each(Use use) const
    {
        const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
#pragma unroll
        for (int r = 0; r < ROUNDS; ++r)
            if (there(r))
#pragma unroll
                for (int m = 0; m < EACH; ++m)
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        use(8 * tile(r) + t + 4 * (i & 1), 16 * (group() + m) + g + 8 * (i >> 1), sums[r][m][i]);
    }

    __device__ __forceinline__ void store(Real* features) const
    {
        each([=](int column, int atom, Real sum) {
            if (column < WIDTH) features[column * STRIDE + atom] = sum;
        });
    }
};

// Few columns: a warp has 16 atoms. Many: all atoms, so that weights are fetched once for a block.
template <int WIDTH>
using Narrow = Jobs<WIDTH, 1>;
template <int WIDTH>
using Wide = Jobs<WIDTH, GROUPS>;

// ---- Layers

__device__ __forceinline__ Real activation(Real x)
{
#if PRODUCTS == 0
    return tanh(x);
#else
    return tanhf(x);
#endif
}

// z <- [z] + t phi(a + b)
template <int L>
__device__ __forceinline__ void put_output(Real* z, const Real* weights, int column, int atom, Real a)
{
    if (column >= N_OUT[L]) return;
    Real y = activation(a + __ldg(weights + BIAS_AT[L] + column));
    if (HAS_TIMESTEP[L]) y *= __ldg(weights + TIMESTEP_AT[L] + column);
    Real* const place = z + column * STRIDE + atom;
    *place = HAS_SHORTCUT[L] ? *place + y : y;
}

// t phi'(a + b)
template <int L>
__device__ __forceinline__ Real slope_of(const Real* weights, int column, Real a)
{
    const Real y = activation(a + __ldg(weights + BIAS_AT[L] + column));
    const Real slope = Real(1) - y * y;
    return HAS_TIMESTEP[L] ? slope * __ldg(weights + TIMESTEP_AT[L] + column) : slope;
}

// From kept (what comes before the second factor of the matrix, or before the activation) to z.
template <int L>
__device__ __forceinline__ void finish_layer(Real* shared, const Real* weights)
{
    Real* const z = shared + Z_AT * STRIDE;
    const Real* const kept = shared + KEPT_AT[L] * STRIDE;
    if constexpr (RANK[L] > 0) {
        Wide<N_OUT[L]> jobs;
        jobs.template add_all<RANK[L]>(kept, weights + RIGHT_FORWARD_AT[L]);
        jobs.each([=](int column, int atom, Real sum) { put_output<L>(z, weights, column, atom, sum); });
    } else {
        for (int place = threadIdx.x; place < N_OUT[L] * ROWS; place += THREADS)
            put_output<L>(z, weights, place / ROWS, place % ROWS, kept[place / ROWS * STRIDE + place % ROWS]);
    }
    __syncthreads();
}

template <int L>
__device__ __forceinline__ void forward(Real* shared, const Real* weights)
{
    if constexpr (L < LAYERS) {
        Narrow<KEPT[L]> jobs;
        jobs.template add_all<N_OUT[L - 1]>(shared + Z_AT * STRIDE, weights + LEFT_FORWARD_AT[L]);
        jobs.store(shared + KEPT_AT[L] * STRIDE);
        __syncthreads();
        finish_layer<L>(shared, weights);
        forward<L + 1>(shared, weights);
    }
}

// From g in z to the gradient with respect to kept, in its place.
template <int L>
__device__ __forceinline__ void backward_to_kept(Real* shared, const Real* weights)
{
    const Real* const z = shared + Z_AT * STRIDE;
    Real* const kept = shared + KEPT_AT[L] * STRIDE;
    if constexpr (RANK[L] > 0) {
        constexpr int CHUNKS = (N_OUT[L] + CHUNK - 1) / CHUNK;
        constexpr int TILES = (N_OUT[L] + 7) / 8;
        constexpr int INNER = units(RANK[L]), OUTER = CHUNK / UNIT;
        const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
        const int tile_of_chunk = (threadIdx.x >> 5) & 3, group = threadIdx.x >> 7;
        const Held<RANK[L]> held(kept, 16 * group + g);
        Narrow<RANK[L]> jobs;
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            Real* const buffer = shared + (CHUNKS_AT + (chunk & 1) * CHUNK) * STRIDE;
            const int tile = least(4 * chunk + tile_of_chunk, TILES - 1);
            Real a[4] = {Real(0), Real(0), Real(0), Real(0)};
            Piece inner[INNER], outer[OUTER][Narrow<RANK[L]>::ROUNDS];
#pragma unroll
            for (int unit = 0; unit < INNER; ++unit)
                inner[unit] = weights_of<INNER>(weights + RIGHT_FORWARD_AT[L], tile, unit);
#pragma unroll
            for (int unit = 0; unit < OUTER; ++unit)
                jobs.template fetch<OUTER * CHUNKS>(outer[unit], weights + RIGHT_BACKWARD_AT[L], OUTER * chunk + unit);
            add_one<RANK[L]>(a, held, inner);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int within = 8 * tile_of_chunk + t + 4 * (i & 1), column = CHUNK * chunk + within;
                const int atom = 16 * group + g + 8 * (i >> 1);
                buffer[within * STRIDE + atom] =
                    column < N_OUT[L] ? slope_of<L>(weights, column, a[i]) * z[column * STRIDE + atom] : Real(0);
            }
            // The other buffer is free: all warps have used what was in it before they came here.
            __syncthreads();
#pragma unroll
            for (int unit = 0; unit < OUTER; ++unit) jobs.template add<CHUNK>(buffer, UNIT * unit, outer[unit]);
        }
        // Nobody reads kept behind the last barrier.
        jobs.store(kept);
    } else {
        for (int place = threadIdx.x; place < N_OUT[L] * ROWS; place += THREADS) {
            const int column = place / ROWS, at = column * STRIDE + place % ROWS;
            kept[at] = slope_of<L>(weights, column, kept[at]) * z[at];
        }
    }
    __syncthreads();
}

template <int L>
__device__ __forceinline__ void backward(Real* shared, const Real* weights)
{
    backward_to_kept<L>(shared, weights);
    if constexpr (L > 0) {
        Real* const z = shared + Z_AT * STRIDE;
        Wide<N_OUT[L - 1]> jobs;
        jobs.template add_all<KEPT[L]>(shared + KEPT_AT[L] * STRIDE, weights + LEFT_BACKWARD_AT[L]);
        jobs.each([=](int column, int atom, Real sum) {
            if (column >= N_OUT[L - 1]) return;
            Real* const place = z + column * STRIDE + atom;
            *place = HAS_SHORTCUT[L] ? *place + sum : sum;
        });
        __syncthreads();
        backward<L - 1>(shared, weights);
    }
}

// ---- M, tau and T, and their gradients: a warp takes one component of 16 atoms.

// Of 16 columns from `first` on a lane takes four, as many at once as fit into 16 bytes: then lanes of an atom lie side
// by side. Which: see packing.py.
__device__ __forceinline__ int column_of(int first, int i)
{
    const int t = threadIdx.x & 3;
    return PRODUCTS == 0 ? first + 8 * (i >> 1) + 2 * t + (i & 1) : first + 4 * t + i;
}

__device__ __forceinline__ void load_moments(Real (&values)[4], const Real* row, int first)
{
    if constexpr (COLUMNS % WORD == 0) {
#pragma unroll
        for (int i = 0; i < 4; i += WORD) {
            const int column = column_of(first, i);
            Word word = {};
            if (COLUMNS % 16 == 0 || column < COLUMNS) word = *reinterpret_cast<const Word*>(row + column);
#if PRODUCTS == 0
            values[i] = word.x, values[i + 1] = word.y;
#else
            values[0] = word.x, values[1] = word.y, values[2] = word.z, values[3] = word.w;
#endif
        }
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int column = column_of(first, i);
            values[i] = column < COLUMNS ? row[column] : Real(0);
        }
    }
}

__device__ __forceinline__ void store_gradient(Real* row, int first, Real v0, Real v1, Real v2, Real v3)
{
    if constexpr (COLUMNS % WORD == 0) {
#if PRODUCTS == 0
        const Word words[2] = {{v0, v1}, {v2, v3}};
#else
        const Word words[1] = {{v0, v1, v2, v3}};
#endif
#pragma unroll
        for (int i = 0; i < 4; i += WORD) {
            const int column = column_of(first, i);
            // As such an intrinsic, or the compiler makes single numbers of some.
            if (COLUMNS % 16 == 0 || column < COLUMNS) __stwb(reinterpret_cast<Word*>(row + column), words[i / WORD]);
        }
    } else {
        const Real values[4] = {v0, v1, v2, v3};
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (column_of(first, i) < COLUMNS) row[column_of(first, i)] = values[i];
    }
}

__device__ __forceinline__ void make_tau(Real* shared, const Real* moments, const Real* weights, Index block_first, Index n)
{
    constexpr int TILES = (PADDED_Q + 7) / 8, STEPS = (COLUMNS + 15) / 16, UNITS = units(COLUMNS), AHEAD = 3;
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int component = (threadIdx.x >> 5) & 3, group = threadIdx.x >> 7;
    // Rows beyond the last atom repeat it; nothing of them is kept.
    Index upper = block_first + 16 * group + g, lower = upper + 8;
    upper = upper < n ? upper : n - 1;
    lower = lower < n ? lower : n - 1;
    const Real* const row0 = moments + (upper * 4 + component) * COLUMNS;
    const Real* const row1 = moments + (lower * 4 + component) * COLUMNS;
    const Real* const packed = weights + (component == 0 ? RADIAL_FORWARD_AT : ANGULAR_FORWARD_AT);
    Real sums[TILES][4] = {};
    // M comes from memory: a few steps are under way.
    Real m0[AHEAD][4], m1[AHEAD][4];
#pragma unroll
    for (int step = 0; step < AHEAD - 1; ++step)
        if (step < STEPS) {
            load_moments(m0[step], row0, 16 * step);
            load_moments(m1[step], row1, 16 * step);
        }
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        constexpr int LAST = AHEAD - 1;
        if (step + LAST < STEPS) {
            load_moments(m0[(step + LAST) % AHEAD], row0, 16 * (step + LAST));
            load_moments(m1[(step + LAST) % AHEAD], row1, 16 * (step + LAST));
        }
        const Real(&u)[4] = m0[step % AHEAD];
        const Real(&v)[4] = m1[step % AHEAD];
        const Left a[2] = {left_of(u[0], v[0], u[1], v[1]), left_of(u[2], v[2], u[3], v[3])};
#pragma unroll
        for (int unit = 0; unit < 16 / UNIT; ++unit)
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                const Piece b = weights_of<UNITS>(packed, tile, 16 / UNIT * step + unit);
#pragma unroll
                for (int half = 0; half < UNIT / 8; ++half)
                    multiply_add(sums[tile], a[unit + half], right_of(b.x[2 * half], b.x[2 * half + 1]));
            }
    }
    Real* const tau = shared + (TAU_AT + component * PADDED_Q) * STRIDE;
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int p = 8 * tile + t + 4 * (i & 1), atom = 16 * group + g + 8 * (i >> 1);
            const Real constant = component == 0 && p < Q ? __ldg(weights + CONSTANT_AT + p) : Real(0);
            if (p < PADDED_Q) tau[p * STRIDE + atom] = sums[tile][i] + constant;
        }
    __syncthreads();
}

// result (component, PADDED) = or += features (component, LENGTH of SPACING) times a packed matrix.
template <int LENGTH, int SPACING, int PADDED, bool ADDED>
__device__ __forceinline__ void mix_channels(Real* result, const Real* features, const Real* packed)
{
    constexpr int TILES = (PADDED + 7) / 8, UNITS = units(LENGTH);
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int component = (threadIdx.x >> 5) & 3, group = threadIdx.x >> 7;
    Real sums[TILES][4] = {};
#pragma unroll
    for (int unit = 0; unit < UNITS; ++unit)
#pragma unroll
        for (int half = 0; half < UNIT / 8; ++half) {
            const int first = UNIT * unit + 8 * half;
            if (first >= LENGTH) continue;
            const Left a = features_of<LENGTH>(features + component * SPACING * STRIDE, first, 16 * group + g);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                const Piece b = weights_of<UNITS>(packed, tile, unit);
                multiply_add(sums[tile], a, right_of(b.x[2 * half], b.x[2 * half + 1]));
            }
        }
#pragma unroll
    for (int tile = 0; tile < TILES; ++tile)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int column = 8 * tile + t + 4 * (i & 1), atom = 16 * group + g + 8 * (i >> 1);
            Real* const place = result + (component * PADDED + column) * STRIDE + atom;
            if (column < PADDED) *place = ADDED ? *place + sums[tile][i] : sums[tile][i];
        }
    __syncthreads();
}

// D in chunks of two tiles of 4 x 4 products tau_p . T_l, and the first layer's matrix from the left.
__device__ __forceinline__ void enter_network(Real* shared, const Real* weights)
{
    const Real* const tau = shared + TAU_AT * STRIDE;
    const Real* const right = shared + RIGHT_AT * STRIDE;
    const int atom = threadIdx.x % ROWS, part = threadIdx.x / ROWS;
    Narrow<KEPT[0]> jobs;
    for (int chunk = 0; chunk < PRODUCT_TILES / 2; ++chunk) {
        Real* const buffer = shared + (PRODUCTS_AT + (chunk & 1) * CHUNK) * STRIDE;
        Piece b[CHUNK / UNIT][Narrow<KEPT[0]>::ROUNDS];
#pragma unroll
        for (int unit = 0; unit < CHUNK / UNIT; ++unit)
            jobs.template fetch<units(16 * PRODUCT_TILES)>(b[unit], weights + LEFT_FORWARD_AT[0], CHUNK / UNIT * chunk + unit);
        // Eight parts: a quarter of 2 x 2 of either tile.
        const int tile = 2 * chunk + (part >> 2), p = part & 2, l = 2 * (part & 1);
        const Real* const first = tau + (4 * TILE_LEFT[tile] + p) * STRIDE + atom;
        const Real* const second = right + (4 * TILE_RIGHT[tile] + l) * STRIDE + atom;
        Real d00 = 0, d01 = 0, d10 = 0, d11 = 0;
#pragma unroll
        for (int c = 0; c < 4; ++c) {
            const Real p0 = first[c * PADDED_Q * STRIDE], p1 = first[(c * PADDED_Q + 1) * STRIDE];
            const Real l0 = second[c * PADDED_RIGHT * STRIDE], l1 = second[(c * PADDED_RIGHT + 1) * STRIDE];
            d00 += p0 * l0;
            d01 += p0 * l1;
            d10 += p1 * l0;
            d11 += p1 * l1;
        }
        Real* const to = buffer + (16 * (part >> 2) + 4 * p + l) * STRIDE + atom;
        to[0] = d00;
        to[STRIDE] = d01;
        to[4 * STRIDE] = d10;
        to[5 * STRIDE] = d11;
        // The other buffer is free: all warps have used what was in it before they came here.
        __syncthreads();
#pragma unroll
        for (int unit = 0; unit < CHUNK / UNIT; ++unit) jobs.template add<CHUNK>(buffer, UNIT * unit, b[unit]);
    }
    jobs.store(shared + KEPT_AT[0] * STRIDE);
    __syncthreads();
}

// From the gradient with respect to kept of the first layer to those with respect to tau and T.
__device__ __forceinline__ void leave_network(Real* shared, const Real* weights)
{
    constexpr int UNITS = units(KEPT[0]);
    const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
    const int tile_of_chunk = (threadIdx.x >> 5) & 3, group = threadIdx.x >> 7;
    const int atom = threadIdx.x % ROWS, part = threadIdx.x / ROWS, c = part & 3;
    const bool to_left = part < 4;
    const Held<KEPT[0]> kept(shared + KEPT_AT[0] * STRIDE, 16 * group + g);
    const Real* const tau = shared + (TAU_AT + c * PADDED_Q) * STRIDE + atom;
    const Real* const right = shared + (RIGHT_AT + c * PADDED_RIGHT) * STRIDE + atom;
    Real* const d_left = shared + (D_LEFT_AT + c * PADDED_Q) * STRIDE + atom;
    Real* const d_right = shared + (D_RIGHT_AT + c * PADDED_RIGHT) * STRIDE + atom;
    int current = -1;
    // Of the four channels p of a tile: the sums for the left, tau itself for the right.
    Real four[4] = {};
    for (int chunk = 0; chunk < PRODUCT_TILES / 2; ++chunk) {
        Real* const buffer = shared + (GRADIENTS_AT + (chunk & 1) * CHUNK) * STRIDE;
        Real sums[4] = {};
        Piece b[UNITS];
#pragma unroll
        for (int unit = 0; unit < UNITS; ++unit)
            b[unit] = weights_of<UNITS>(weights + LEFT_BACKWARD_AT[0], 4 * chunk + tile_of_chunk, unit);
        add_one<KEPT[0]>(sums, kept, b);
#pragma unroll
        for (int i = 0; i < 4; ++i)
            buffer[(8 * tile_of_chunk + t + 4 * (i & 1)) * STRIDE + 16 * group + g + 8 * (i >> 1)] = sums[i];
        // The other buffer is free: all warps have used what was in it before they came here.
        __syncthreads();
#pragma unroll
        for (int w = 0; w < 2; ++w) {
            const int p = 4 * TILE_LEFT[2 * chunk + w], l = 4 * TILE_RIGHT[2 * chunk + w];
            const Real* const gradient = buffer + 16 * w * STRIDE + atom;
            if (p != current) {
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    if (to_left) {
                        if (current >= 0) d_left[(current + i) * STRIDE] += four[i];
                        four[i] = Real(0);
                    } else {
                        four[i] = tau[(p + i) * STRIDE];
                    }
                current = p;
            }
            if (to_left) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const Real factor = right[(l + j) * STRIDE];
#pragma unroll
                    for (int i = 0; i < 4; ++i) four[i] += gradient[(4 * i + j) * STRIDE] * factor;
                }
            } else {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    Real sum = Real(0);
#pragma unroll
                    for (int i = 0; i < 4; ++i) sum += gradient[(4 * i + j) * STRIDE] * four[i];
                    d_right[(l + j) * STRIDE] += sum;
                }
            }
        }
    }
    if (to_left)
#pragma unroll
        for (int i = 0; i < 4; ++i) d_left[(current + i) * STRIDE] += four[i];
    __syncthreads();
}

__device__ __forceinline__ void make_gradient(const Real* shared, Real* moments, const Real* weights, Index block_first, Index n)
{
    constexpr int UNITS = units(Q);
    const int lane = threadIdx.x & 31, g = lane >> 2;
    const int component = (threadIdx.x >> 5) & 3, group = threadIdx.x >> 7;
    const Index upper = block_first + 16 * group + g, lower = upper + 8;
    Real* const row0 = moments + (upper * 4 + component) * COLUMNS;
    Real* const row1 = moments + (lower * 4 + component) * COLUMNS;
    const Real* const packed = weights + (component == 0 ? RADIAL_BACKWARD_AT : ANGULAR_BACKWARD_AT);
    const Real* const d_tau = shared + (D_LEFT_AT + component * PADDED_Q) * STRIDE;
    const Held<Q> held(d_tau, 16 * group + g);
#pragma unroll 1
    for (int pair = 0; pair < (COLUMNS + 15) / 16; ++pair) {
        Real sums[2][4] = {};
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            Piece b[UNITS];
#pragma unroll
            for (int unit = 0; unit < UNITS; ++unit) b[unit] = weights_of<UNITS>(packed, 2 * pair + j, unit);
            add_one<Q>(sums[j], held, b);
        }
        if (upper < n) store_gradient(row0, 16 * pair, sums[0][0], sums[0][1], sums[1][0], sums[1][1]);
        if (lower < n) store_gradient(row1, 16 * pair, sums[0][2], sums[0][3], sums[1][2], sums[1][3]);
    }
}

// ---- All of it

// block : number among the blocks of this type
// moments : (n, 4, COLUMNS), M; replaced by Q
// energies : float64, eV, in the input's order: filled at atom_of[first + i] if `stored`
// scratch : (blocks, PARKED) of this type, where tau and T wait for the way back, unless they can stay
__device__ __forceinline__ void evaluate(Real* shared, Index block, Index n, Index first, Index stored, Real* moments,
                                         double* energies, const int* atom_of, double bias, Real* scratch,
                                         const Real* weights)
{
    const Index block_first = block * ROWS;

    make_tau(shared, moments, weights, block_first, n);
    if constexpr (RIGHT > 0)
        mix_channels<Q, PADDED_Q, PADDED_RIGHT, false>(shared + RIGHT_AT * STRIDE, shared + TAU_AT * STRIDE,
                                                              weights + AXIS_FORWARD_AT);
    Real* const parked = scratch + block * PARKED;
    if constexpr (IS_PARKED)
        for (int place = threadIdx.x; place < PARKED; place += THREADS)
            parked[place] = shared[(TAU_AT + place / ROWS) * STRIDE + place % ROWS];

    enter_network(shared, weights);
    finish_layer<0>(shared, weights);
    forward<1>(shared, weights);

    // The energy, and the gradient of the last layer in the place of its input.
    {
        Real* const z = shared + Z_AT * STRIDE;
        // The second buffer: what comes next begins with the first.
        Real* const sums = shared + (CHUNKS_AT + CHUNK) * STRIDE;
        const int atom = threadIdx.x % ROWS, part = threadIdx.x / ROWS;
        Real sum = Real(0);
        for (int h = part; h < N_OUT[LAYERS - 1]; h += PARTS) {
            const Real weight = __ldg(weights + LAST_AT + h);
            sum += z[h * STRIDE + atom] * weight;
            z[h * STRIDE + atom] = weight;
        }
        sums[part * STRIDE + atom] = sum;
        __syncthreads();
        if (threadIdx.x < ROWS && stored != 0 && block_first + threadIdx.x < n) {
            Real energy = __ldg(weights + LAST_BIAS_AT);
            for (int other = 0; other < PARTS; ++other) energy += sums[other * STRIDE + threadIdx.x];
            energies[atom_of[first + block_first + threadIdx.x]] = (double)energy + bias;
        }
    }

    backward<LAYERS - 1>(shared, weights);

    if constexpr (IS_PARKED)
        for (int place = threadIdx.x; place < PARKED; place += THREADS)
            shared[(TAU_AT + place / ROWS) * STRIDE + place % ROWS] = parked[place];
    for (int place = threadIdx.x; place < 4 * (PADDED_Q + PADDED_RIGHT) * ROWS; place += THREADS)
        shared[(D_LEFT_AT + place / ROWS) * STRIDE + place % ROWS] = Real(0);
    // There is a barrier before any of this is looked at.
    leave_network(shared, weights);
    if constexpr (RIGHT > 0) {
        // tau enters the second factor too, through T_l = sum over p of R_lp tau_p.
        mix_channels<RIGHT, PADDED_RIGHT, PADDED_Q, true>(shared + D_LEFT_AT * STRIDE, shared + D_RIGHT_AT * STRIDE,
                                                             weights + AXIS_BACKWARD_AT);
    } else {
        for (int place = threadIdx.x; place < 4 * PADDED_Q * ROWS; place += THREADS) {
            const int at = place / ROWS * STRIDE + place % ROWS;
            shared[D_LEFT_AT * STRIDE + at] += shared[D_RIGHT_AT * STRIDE + at];
        }
        __syncthreads();
    }
    make_gradient(shared, moments, weights, block_first, n);
}

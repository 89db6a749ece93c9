// What a kernel in CUDA C++ needs to run on a processor, for tests: see host_cuda.py.
//
// Each thread of a block is a fiber. A barrier waits for all threads of the block, a product on tensor cores for the
// 32 of its warp; where no thread can go on, the launch fails. Threads go on in ascending or descending order, so that
// a barrier that is missing shows in one of them.
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#define __CUDA_ARCH__ 900
#define __device__
#define __forceinline__ inline
#define __constant__ static const
#define __launch_bounds__(threads, blocks)

struct double2 { double x, y; };
struct float4 { float x, y, z, w; };
struct Place { int x; };

static Place threadIdx, blockIdx;
static unsigned char* shared_memory;

template <class T>
static T __ldg(const T* place) { return *place; }

template <class T>
static void __stwb(T* place, T value) { *place = value; }

static float __uint_as_float(unsigned bits)
{
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

static unsigned __float_as_uint(float value)
{
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

// cvt.rna.tf32: to 11 bits, halves away from zero.
static unsigned host_round(float value)
{
    const unsigned bits = __float_as_uint(value);
    return std::isfinite(value) ? (bits + 0x1000u) & ~0x1fffu : bits;
}

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(1 << 17);
    bool ended = false;
};

struct Warp {
    int waiting = 0, turn = 0;
    double a[32][4], b[32][2], c[32][4];
};

static std::vector<Fiber> fibers;
static std::vector<Warp> warps;
static ucontext_t scheduler;
static int waiting, turn, progress;

static void give_way() { swapcontext(&fibers[threadIdx.x].context, &scheduler); }

static void __syncthreads()
{
    const int mine = turn;
    ++progress;
    if (++waiting == (int)fibers.size()) {
        waiting = 0;
        ++turn;
    } else {
        while (turn == mine) give_way();
    }
}

// mma.m16n8k8: lane 4 g + t holds rows g and g + 8, columns t and t + 4 of a; rows t and t + 4, column g of b; rows g
// and g + 8, columns 2 t and 2 t + 1 of c.
template <class T>
static void host_mma(T (&c)[4], double a0, double a1, double a2, double a3, double b0, double b1)
{
    const int lane = threadIdx.x % 32;
    Warp& warp = warps[threadIdx.x / 32];
    const int mine = warp.turn;
    const double left[4] = {a0, a1, a2, a3};
    std::copy(left, left + 4, warp.a[lane]);
    warp.b[lane][0] = b0;
    warp.b[lane][1] = b1;
    std::copy(c, c + 4, warp.c[lane]);
    ++progress;
    if (++warp.waiting == 32) {
        for (int row = 0; row < 16; ++row)
            for (int column = 0; column < 8; ++column) {
                double& sum = warp.c[4 * (row % 8) + column / 2][2 * (row / 8) + column % 2];
                for (int k = 0; k < 8; ++k)
                    sum += warp.a[4 * (row % 8) + k % 4][row / 8 + 2 * (k / 4)] * warp.b[4 * column + k % 4][k / 4];
                sum = (T)sum;
            }
        warp.waiting = 0;
        ++warp.turn;
    } else {
        while (warp.turn == mine) give_way();
    }
    for (int i = 0; i < 4; ++i) c[i] = (T)warp.c[lane][i];
}

static double host_tf32(unsigned bits) { return __uint_as_float(bits & ~0x1fffu); }

static void (*kernel)();

static void enter()
{
    kernel();
    fibers[threadIdx.x].ended = true;
    ++progress;
    give_way();
}

// Returns 1 if threads wait for each other for ever. Shared memory is full of NaN and ends where memory does.
static int host_launch(int blocks, int threads, long shared, bool descending)
{
    const long page = 4096, size = (shared + page - 1) / page * page;
    char* const region = (char*)mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(region + size, page, PROT_NONE);
    shared_memory = (unsigned char*)region + (size - shared);
    bool stuck = false;
    for (int block = 0; block < blocks && !stuck; ++block) {
        std::memset(shared_memory, 0xff, shared);
        fibers = std::vector<Fiber>(threads);
        warps = std::vector<Warp>(threads / 32);
        waiting = turn = 0;
        blockIdx.x = block;
        for (Fiber& fiber : fibers) {
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            fiber.context.uc_link = nullptr;
            makecontext(&fiber.context, enter, 0);
        }
        for (int running = threads; running > 0 && !stuck;) {
            running = progress = 0;
            for (int i = 0; i < threads; ++i) {
                threadIdx.x = descending ? threads - 1 - i : i;
                Fiber& fiber = fibers[threadIdx.x];
                if (fiber.ended) continue;
                ++running;
                const int woken = turn;
                swapcontext(&scheduler, &fiber.context);
                progress += turn != woken;
            }
            stuck = running > 0 && progress == 0;
        }
    }
    munmap(region, size + page);
    return stuck;
}

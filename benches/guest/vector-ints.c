// Integers of 16, 32 and 64 bits in vectors: products, extremes, widening, shifts and comparisons.
#pragma GCC optimize("O3")
#include "bench.h"

enum { COUNT = 4096 };

typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef int64_t s64x2 __attribute__((vector_size(16)));

static int16_t h[COUNT] __attribute__((aligned(16))), g[COUNT] __attribute__((aligned(16)));
static int32_t w[COUNT] __attribute__((aligned(16))), v[COUNT] __attribute__((aligned(16)));
static int64_t d[COUNT] __attribute__((aligned(16)));

__attribute__((noinline)) static int32_t dot(void) {
    int32_t sum = 0;
    for (int i = 0; i < COUNT; i++)
        sum += h[i] * g[i];
    return sum;
}

__attribute__((noinline)) static void clamped(void) {
    for (int i = 0; i < COUNT; i++) {
        int32_t x = w[i] > v[i] ? w[i] : v[i];
        w[i] = x < 1000000 ? x : 1000000;
        h[i] = (int16_t)(h[i] + (v[i] >> 16));
    }
}

// Four generators of random numbers side by side.
__attribute__((noinline)) static void generated(u32x4 *state) {
    u32x4 x = *state, *to = (u32x4 *)v;
    for (int i = 0; i < COUNT / 4; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        to[i] = x * 0x9e3779b1u;
    }
    *state = x;
}

__attribute__((noinline)) static void selected(void) {
    s64x2 *p = (s64x2 *)d, bound = {1000, -1000};
    for (int i = 0; i < COUNT / 2; i++) {
        s64x2 x = p[i] + i, more = x > bound;
        p[i] = (more & (x - bound)) | (~more & (x + 37));
    }
}

__attribute__((noinline)) static u32x4 turned(void) {
    const u32x4 *p = (const u32x4 *)w;
    u32x4 sum = {0, 0, 0, 0};
    for (int i = 0; i < COUNT / 4; i++)
        sum = __builtin_shuffle(sum, (u32x4){1, 2, 3, 0}) + p[i];
    return sum;
}

static uint64_t work(uint64_t repeats) {
    uint64_t seed = 17, sum = 0;
    u32x4 state = {1, 2, 3, 4};
    for (int i = 0; i < COUNT; i++)
        h[i] = random_next(&seed), g[i] = random_next(&seed) % 8, d[i] = random_next(&seed) % 4096;
    for (uint64_t r = 0; r < repeats; r++) {
        generated(&state);
        clamped();
        selected();
        u32x4 t = turned();
        sum = mix(sum, (uint32_t)dot() + (t[0] ^ t[1] ^ t[2] ^ t[3]));
    }
    return mix_bytes(sum, d, sizeof d);
}

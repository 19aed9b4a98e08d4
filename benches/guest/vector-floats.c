// Floating point in vectors of 16 bytes: both widths, with square roots, comparisons and conversions.
#pragma GCC optimize("O3")
#include "bench.h"

enum { COUNT = 4096 };

typedef float f32x4 __attribute__((vector_size(16)));
typedef int32_t s32x4 __attribute__((vector_size(16)));
typedef double f64x2 __attribute__((vector_size(16)));
typedef int64_t s64x2 __attribute__((vector_size(16)));

static float a[COUNT] __attribute__((aligned(16))), b[COUNT] __attribute__((aligned(16)));
static double c[COUNT] __attribute__((aligned(16)));
static int32_t n[COUNT] __attribute__((aligned(16)));

__attribute__((noinline)) static void polynomial(void) {
    const f32x4 *x = (const f32x4 *)a;
    f32x4 *to = (f32x4 *)b;
    for (int i = 0; i < COUNT / 4; i++) {
        f32x4 y = ((x[i] * 0.25f - 0.5f) * x[i] + 0.75f) * x[i] + 1.0f;
        s32x4 more = y > to[i];
        to[i] = (f32x4)((more & (s32x4)y) | (~more & (s32x4)(to[i] * 0.5f)));
    }
}

__attribute__((noinline)) static void roots(void) {
    for (int i = 0; i < COUNT; i++)
        a[i] = __builtin_sqrtf(a[i] * a[i] + 1.0f) / (__builtin_fabsf(b[i]) + 1.0f);
}

__attribute__((noinline)) static void converted(void) {
    for (int i = 0; i < COUNT; i++)
        n[i] = (int32_t)(a[i] * 1024.0f);
    for (int i = 0; i < COUNT; i++)
        c[i] += (double)n[i] + (double)b[i];
}

__attribute__((noinline)) static f64x2 doubles(void) {
    const f64x2 *x = (const f64x2 *)c;
    f64x2 sum = {0, 0};
    for (int i = 0; i < COUNT / 2; i++) {
        s64x2 less = x[i] < sum;
        sum += (f64x2)(less & (s64x2)x[i]) * 0.5 + x[i] / 3.0;
    }
    return sum;
}

static uint64_t work(uint64_t repeats) {
    uint64_t state = 19, sum = 0;
    for (int i = 0; i < COUNT; i++)
        a[i] = (float)(int)(random_next(&state) % 2048) / 1024, b[i] = (float)(i % 16) / 16;
    for (uint64_t r = 0; r < repeats; r++) {
        polynomial();
        roots();
        converted();
        f64x2 t = doubles();
        sum = mix_bytes(sum, &t, sizeof t);
    }
    return mix_bytes(sum, a, sizeof a);
}

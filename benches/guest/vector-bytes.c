// Bytes sixteen at a time: comparisons and masks in the compiler's vectors; saturation, averages and extremes by its own
// vectorisation of loops.
#pragma GCC optimize("O3")
#include "bench.h"

enum { BYTES = 16 * 1024 };

typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef int8_t s8x16 __attribute__((vector_size(16)));

static uint8_t a[BYTES] __attribute__((aligned(16))), b[BYTES] __attribute__((aligned(16)));
static uint8_t out[BYTES] __attribute__((aligned(16)));

// Small letters become large ones.
__attribute__((noinline)) static void upper(void) {
    const u8x16 *from = (const u8x16 *)a;
    u8x16 *to = (u8x16 *)out;
    for (int i = 0; i < BYTES / 16; i++) {
        u8x16 c = from[i];
        s8x16 order = (s8x16)(c ^ 0x80);
        u8x16 small = (u8x16)((order >= (int8_t)('a' ^ 0x80)) & (order <= (int8_t)('z' ^ 0x80)));
        to[i] = c - (small & 0x20);
    }
}

__attribute__((noinline)) static void shuffled(void) {
    const u8x16 reversed = {15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};
    const u8x16 *from = (const u8x16 *)b;
    u8x16 *to = (u8x16 *)out;
    for (int i = 0; i < BYTES / 16; i++)
        to[i] ^= __builtin_shuffle(from[i], reversed);
}

__attribute__((noinline)) static void blended(void) {
    for (int i = 0; i < BYTES; i++) {
        uint8_t average = (a[i] + b[i] + 1) >> 1;
        uint8_t most = a[i] > b[i] ? a[i] : b[i];
        uint8_t least = a[i] < b[i] ? a[i] : b[i];
        out[i] += average ^ (uint8_t)(most - least);
    }
}

__attribute__((noinline)) static uint32_t distance(void) {
    uint32_t sum = 0;
    for (int i = 0; i < BYTES; i++) {
        int d = a[i] - out[i];
        sum += d < 0 ? -d : d;
    }
    return sum;
}

static uint64_t work(uint64_t repeats) {
    uint64_t state = 13, sum = 0;
    for (int i = 0; i < BYTES; i++)
        a[i] = random_next(&state) >> 30, b[i] = random_next(&state) >> 30;
    for (uint64_t r = 0; r < repeats; r++) {
        a[r % BYTES]++;
        upper();
        shuffled();
        blended();
        sum = mix(sum, distance());
    }
    return mix_bytes(sum, out, BYTES);
}

// `rep stosb` of pieces of many lengths, 64 bytes to 64 KiB; x86_64 only.
#include "bench.h"

enum { BYTES = 1 << 20 };

static uint8_t to[BYTES];

static uint64_t work(uint64_t repeats) {
    uint64_t state = 31;
    for (uint64_t r = 0; r < repeats; r++)
        for (int shift = 6; shift <= 16; shift++)
            for (int n = 0; n < 16; n++) {
                size_t len = (1 << shift) + (random_next(&state) & ((1 << shift) - 1));
                void *d = to + (state >> 20) % (BYTES - len);
                __asm__ volatile("rep stosb" : "+D"(d), "+c"(len) : "a"(state >> 50) : "memory");
            }
    uint64_t sum = 0;
    for (int i = 0; i < BYTES; i += 61)
        sum = mix(sum, to[i]);
    return sum;
}

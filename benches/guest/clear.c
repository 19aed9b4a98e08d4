// The C library's memset of pieces of many lengths, 1 byte to 64 KiB.
#include "bench.h"

enum { BYTES = 1 << 20 };

static uint8_t to[BYTES];

static uint64_t work(uint64_t repeats) {
    uint64_t state = 31;
    for (uint64_t r = 0; r < repeats; r++)
        for (int shift = 0; shift <= 16; shift++)
            for (int n = 0; n < 16; n++) {
                size_t len = (1 << shift) + (random_next(&state) & ((1 << shift) - 1));
                memset(to + (state >> 20) % (BYTES - len), (int)(state >> 50), len);
                forget(to);
            }
    uint64_t sum = 0;
    for (int i = 0; i < BYTES; i += 61)
        sum = mix(sum, to[i]);
    return sum;
}

// Counts primes with the sieve of Eratosthenes: byte stores at growing strides.
#include "bench.h"

enum { LIMIT = 1 << 20 };

static uint8_t composite[LIMIT];

static uint64_t work(uint64_t repeats) {
    uint64_t sum = 0;
    for (uint64_t r = 0; r < repeats; r++) {
        memset(composite, 0, sizeof composite);
        forget(composite);
        uint64_t count = 0;
        for (uint32_t n = 2; n < LIMIT; n++) {
            if (composite[n])
                continue;
            count += n ^ r;
            for (uint64_t m = (uint64_t)n * n; m < LIMIT; m += n)
                composite[m] = 1;
        }
        sum = mix(sum, count);
    }
    return sum;
}

// Streams through memory that no cache holds: a[i] = b[i] + k * c[i].
#include "bench.h"

enum { COUNT = 1 << 20 };

static uint64_t a[COUNT], b[COUNT], c[COUNT];

static uint64_t work(uint64_t repeats) {
    for (int i = 0; i < COUNT; i++)
        b[i] = i, c[i] = 3 * i + 1;
    for (uint64_t r = 0; r < repeats; r++) {
        for (int i = 0; i < COUNT; i++)
            a[i] = b[i] + 5 * c[i];
        a[r % COUNT] += r;
        forget(a);
    }
    uint64_t sum = 0;
    for (int i = 0; i < COUNT; i += 64)
        sum = mix(sum, a[i]);
    return sum;
}

// Follows pointers through 16 MiB in an order that nothing foresees: each load waits for the last, and most miss the TLB.
#include "bench.h"

enum { COUNT = 16 << 20 >> 6 };

static struct line {
    struct line *next;
    uint64_t pad[7];
} lines[COUNT];

static uint64_t work(uint64_t repeats) {
    // One circle through all of them (Sattolo's shuffle).
    static uint32_t order[COUNT];
    uint64_t state = 37;
    for (uint32_t i = 0; i < COUNT; i++)
        order[i] = i;
    for (uint32_t i = COUNT - 1; i > 0; i--) {
        uint32_t j = random_next(&state) % i, t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (uint32_t i = 0; i < COUNT; i++)
        lines[order[i]].next = &lines[order[(i + 1) % COUNT]];
    const struct line *at = lines;
    uint64_t sum = 0;
    for (uint64_t r = 0; r < repeats; r++) {
        for (int i = 0; i < COUNT / 4; i++)
            at = at->next;
        sum = mix(sum, at - lines);
    }
    return sum;
}

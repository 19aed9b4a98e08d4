// Maps memory, touches each of its pages and unmaps it.
#include "bench.h"
#include <sys/mman.h>

enum { PAGES = 256, PAGE_BYTES = 4096 };

static uint64_t work(uint64_t repeats) {
    uint64_t sum = 0;
    for (uint64_t r = 0; r < repeats; r++) {
        uint8_t *p = mmap(0, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(p != MAP_FAILED, "mmap");
        // Pages stay as small as they are.
        madvise(p, PAGES * PAGE_BYTES, MADV_NOHUGEPAGE);
        for (int i = 0; i < PAGES; i++) {
            sum += p[i * PAGE_BYTES] + i;
            p[i * PAGE_BYTES + 8] = (uint8_t)i;
        }
        sum = mix(sum, p[100 * PAGE_BYTES + 8]);
        check(munmap(p, PAGES * PAGE_BYTES) == 0, "munmap");
    }
    return sum;
}

// An indirect call and its return, again and again, to one of eight functions in turn. Prints a line with the nanoseconds
// of such a pair, by the clock of the computer it runs on, besides the checksum.
#include "bench.h"
#include <time.h>

enum { PAIRS = 100000 };

#define DEFINE(n)                                                                                                          \
    __attribute__((noinline, noclone)) static uint64_t function##n(uint64_t x) { return x + n; }

DEFINE(1) DEFINE(2) DEFINE(3) DEFINE(4) DEFINE(5) DEFINE(6) DEFINE(7) DEFINE(8)

typedef uint64_t function(uint64_t);

static function *const table[] = {function1, function2, function3, function4, function5, function6, function7, function8};

static uint64_t now_ns(void) {
    struct timespec time;
    check(clock_gettime(CLOCK_MONOTONIC, &time) == 0, "clock_gettime");
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static uint64_t work(uint64_t repeats) {
    function *const *functions = table;
    __asm__ volatile("" : "+r"(functions));
    uint64_t x = 1, least_ns = UINT64_MAX;
    for (uint64_t r = 0; r < repeats; r++) {
        uint64_t start = now_ns();
        for (int i = 0; i < PAIRS; i++)
            x = functions[i % 8](x);
        uint64_t took = now_ns() - start;
        // What else the host does only ever makes it longer.
        if (took < least_ns)
            least_ns = took;
    }
    printf("ns %.3f\n", (double)least_ns / PAIRS);
    return mix(1, x);
}

// Calls and returns: Fibonacci's numbers and Ackermann's function by their definitions.
#include "bench.h"

__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) static uint64_t fibonacci(uint64_t n) {
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) static uint64_t ackermann(uint64_t m, uint64_t n) {
    if (m == 0)
        return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}

static uint64_t work(uint64_t repeats) {
    uint64_t sum = 0;
    for (uint64_t r = 0; r < repeats; r++)
        sum = mix(sum, fibonacci(20 + r % 2) + ackermann(2, 60 + r % 2));
    return sum;
}

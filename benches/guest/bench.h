// What every workload has: a program that does its work as often as its argument says and prints a checksum.
//
// The checksum depends on the count and on nothing else: not on the processor, its word order aside, the compiler or the
// time. Programs that compute with floating point are compiled without contraction for that.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// What the program's file defines.
static uint64_t work(uint64_t repeats);

// Ends the program because of something that cannot be.
static inline void check(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

// Numbers that look random: xorshift with 64 bits of state (Marsaglia, "Xorshift RNGs", 2003).
static inline uint64_t random_next(uint64_t *state) {
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

// Takes one more value into a checksum.
static inline uint64_t mix(uint64_t sum, uint64_t value) {
    return (sum ^ value) * 0x9e3779b97f4a7c15u + (sum >> 29);
}

static inline uint64_t mix_bytes(uint64_t sum, const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < count; i++)
        sum = mix(sum, p[i]);
    return sum;
}

// The compiler does not know what is in the memory behind `p` after this.
static inline void forget(void *p) {
    __asm__ volatile("" : : "r"(p) : "memory");
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s REPEATS\n", argv[0]);
        return 2;
    }
    uint64_t repeats = strtoull(argv[1], 0, 10);
    // What forkexec runs.
    if (repeats == 0)
        return 7;
    printf("%016llx\n", (unsigned long long)work(repeats));
    return 0;
}

// Scans as libraries of strings do them: bytes counted, lines found by comparing sixteen at once, and a CRC-32C, for which
// x86_64 has an instruction.
#pragma GCC optimize("O3")
#include "bench.h"

enum { BYTES = 16 * 1024 };

typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint64_t u64x2 __attribute__((vector_size(16)));

static uint8_t text[BYTES] __attribute__((aligned(16)));

__attribute__((noinline)) static uint32_t spaces(void) {
    uint32_t count = 0;
    for (int i = 0; i < BYTES; i++)
        count += text[i] == ' ';
    return count;
}

__attribute__((noinline)) static uint64_t lines(void) {
    uint64_t sum = 0;
    for (int i = 0; i < BYTES; i += 16) {
        u64x2 found = (u64x2)(*(const u8x16 *)(text + i) == '\n');
        if (!(found[0] | found[1]))
            continue;
        int at = found[0] ? __builtin_ctzll(found[0]) / 8 : 8 + __builtin_ctzll(found[1]) / 8;
        sum += i + at;
    }
    return sum;
}

#ifdef __SSE4_2__
static uint32_t crc32c(uint32_t crc, uint64_t eight) {
    return __builtin_ia32_crc32di(crc, eight);
}
static void crc32c_init(void) {}
#else
static uint32_t crc_table[256];
static void crc32c_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        crc_table[i] = crc;
    }
}
static uint32_t crc32c(uint32_t crc, uint64_t eight) {
    for (int i = 0; i < 8; i++, eight >>= 8)
        crc = crc >> 8 ^ crc_table[(crc ^ eight) & 0xff];
    return crc;
}
#endif

__attribute__((noinline)) static uint32_t crc(void) {
    uint32_t crc = ~0u;
    for (int i = 0; i < BYTES; i += 64) {
        uint64_t eight;
        memcpy(&eight, text + i, sizeof eight);
        crc = crc32c(crc, eight);
    }
    return crc;
}

static uint64_t work(uint64_t repeats) {
    uint64_t state = 23, sum = 0;
    crc32c_init();
    for (int i = 0; i < BYTES; i++) {
        uint64_t x = random_next(&state) >> 20;
        text[i] = x % 64 == 0 ? '\n' : x % 7 == 0 ? ' ' : 'a' + x % 26;
    }
    for (uint64_t r = 0; r < repeats; r++) {
        text[r * 5 % BYTES] ^= 1;
        sum = mix(sum, spaces() + lines() + crc());
    }
    return sum;
}

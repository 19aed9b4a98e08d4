// SHA-256 (FIPS 180-4) of 64 KiB: rotations, additions and logic of 32 bits without a branch.
#include "bench.h"

enum { BYTES = 64 * 1024 };

static uint8_t message[BYTES];
static uint32_t constants[64];

// The fractional parts of the roots of the first primes, computed in integers: the root `degree` of `prime`, 32 bits
// behind its point.
static uint32_t root_fraction(uint32_t prime, int degree) {
    unsigned __int128 low = 0, high = (unsigned __int128)1 << 36;
    while (high - low > 1) {
        // The middle has up to 36 bits, of which 32 are behind the point, so that its cube fits.
        unsigned __int128 middle = (low + high) / 2;
        unsigned __int128 power = degree == 2 ? middle * middle : middle * middle * middle;
        if (power <= (unsigned __int128)prime << (32 * degree))
            low = middle;
        else
            high = middle;
    }
    return (uint32_t)low;
}

static uint32_t rotate(uint32_t x, int by) {
    return x >> by | x << (32 - by);
}

static void block(uint32_t state[8], const uint8_t *bytes) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)bytes[4 * i] << 24 | bytes[4 * i + 1] << 16 | bytes[4 * i + 2] << 8 | bytes[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
        uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + constants[i] + w[i];
        uint32_t s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
        uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

static uint64_t work(uint64_t repeats) {
    uint32_t initial[8], state[8];
    int count = 0;
    for (uint32_t n = 2; count < 64; n++) {
        int prime = 1;
        for (uint32_t d = 2; d * d <= n; d++)
            prime &= n % d != 0;
        if (!prime)
            continue;
        if (count < 8)
            initial[count] = root_fraction(n, 2);
        constants[count++] = root_fraction(n, 3);
    }
    check(initial[0] == 0x6a09e667 && constants[63] == 0xc67178f2, "constants");
    memcpy(state, initial, sizeof state);
    for (uint64_t r = 0; r < repeats; r++) {
        memcpy(message, state, sizeof state);
        memcpy(state, initial, sizeof state);
        for (int i = 0; i < BYTES; i += 64)
            block(state, message + i);
        uint8_t last[64] = {0x80};
        last[61] = (BYTES * 8) >> 16, last[62] = (BYTES * 8) >> 8 & 0xff;
        block(state, last);
    }
    return mix_bytes(0, state, sizeof state);
}

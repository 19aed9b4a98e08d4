// Products of matrices of 64-bit integers, which no vector instruction multiplies.
#include "bench.h"

enum { N = 64 };

static uint64_t a[N][N], b[N][N], c[N][N];

static uint64_t work(uint64_t repeats) {
    uint64_t state = 3;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            a[i][j] = random_next(&state), b[i][j] = random_next(&state);
    for (uint64_t r = 0; r < repeats; r++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                uint64_t dot = 0;
                for (int k = 0; k < N; k++)
                    dot += a[i][k] * b[k][j];
                c[i][j] = dot;
            }
        memcpy(a, c, sizeof a);
        forget(a);
    }
    return mix_bytes(0, c, sizeof c);
}

// Products of matrices, rows times columns: a sum has to be added up in its order. REAL is the type.
#include "bench.h"

enum { N = 64 };

static REAL a[N][N], b[N][N], c[N][N];

static uint64_t work(uint64_t repeats) {
    uint64_t state = 5;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            a[i][j] = (REAL)(int)(random_next(&state) % 512 - 256) / 256;
            b[i][j] = (REAL)(int)(random_next(&state) % 512 - 256) / 2048;
        }
    for (uint64_t r = 0; r < repeats; r++) {
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                REAL dot = 0;
                for (int k = 0; k < N; k++)
                    dot += a[i][k] * b[k][j];
                c[i][j] = dot;
            }
        // Stays in range and does not become the same everywhere.
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++)
                a[i][j] = c[i][j] / 2 + (REAL)(i - j) / 64;
        forget(a);
    }
    return mix_bytes(0, c, sizeof c);
}

// Solves linear equations by elimination with pivots, then by substitution, as LINPACK's measurement does. REAL is the type.
#include "bench.h"

enum { N = 80 };

static REAL a[N][N], x[N];

static REAL magnitude(REAL v) {
    return v < 0 ? -v : v;
}

static void solve(void) {
    for (int k = 0; k < N; k++) {
        int pivot = k;
        for (int i = k + 1; i < N; i++)
            if (magnitude(a[i][k]) > magnitude(a[pivot][k]))
                pivot = i;
        if (pivot != k) {
            for (int j = k; j < N; j++) {
                REAL t = a[k][j];
                a[k][j] = a[pivot][j];
                a[pivot][j] = t;
            }
            REAL t = x[k];
            x[k] = x[pivot];
            x[pivot] = t;
        }
        for (int i = k + 1; i < N; i++) {
            REAL factor = a[i][k] / a[k][k];
            for (int j = k; j < N; j++)
                a[i][j] -= factor * a[k][j];
            x[i] -= factor * x[k];
        }
    }
    for (int i = N - 1; i >= 0; i--) {
        for (int j = i + 1; j < N; j++)
            x[i] -= a[i][j] * x[j];
        x[i] /= a[i][i];
    }
}

static uint64_t work(uint64_t repeats) {
    uint64_t state = 9, sum = 0;
    for (uint64_t r = 0; r < repeats; r++) {
        for (int i = 0; i < N; i++) {
            for (int j = 0; j < N; j++)
                a[i][j] = (REAL)(int)(random_next(&state) % 4096 - 2048) / 2048;
            a[i][i] += 4;
            x[i] = (REAL)(i % 7);
        }
        solve();
        sum = mix_bytes(sum, x, sizeof x);
    }
    return sum;
}

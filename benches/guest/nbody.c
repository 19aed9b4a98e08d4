// Bodies that attract each other: additions, products, divisions and square roots, one at a time. REAL is the type.
#include "bench.h"

enum { BODIES = 5, STEPS = 1000 };

static struct {
    REAL x[3], v[3], mass;
} body[BODIES];

static REAL root(REAL x) {
    return sizeof x == sizeof(float) ? __builtin_sqrtf(x) : __builtin_sqrt(x);
}

static void step(REAL dt) {
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            REAL d[3], square = 0;
            for (int k = 0; k < 3; k++) {
                d[k] = body[i].x[k] - body[j].x[k];
                square += d[k] * d[k];
            }
            REAL pull = dt / (square * root(square));
            for (int k = 0; k < 3; k++) {
                body[i].v[k] -= d[k] * body[j].mass * pull;
                body[j].v[k] += d[k] * body[i].mass * pull;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            body[i].x[k] += dt * body[i].v[k];
}

static uint64_t work(uint64_t repeats) {
    // One heavy body and others far apart around it.
    memset(body, 0, sizeof body);
    body[0].mass = 40;
    for (int i = 1; i < BODIES; i++) {
        body[i].x[i % 2] = (REAL)(4 * i);
        body[i].x[2] = (REAL)i / 8;
        body[i].v[1 - i % 2] = (REAL)3 / (REAL)i;
        body[i].mass = (REAL)1 / (REAL)(16 * i);
    }
    for (uint64_t r = 0; r < repeats; r++)
        for (int s = 0; s < STEPS; s++)
            step((REAL)1 / 1024);
    uint64_t sum = 0;
    for (int i = 0; i < BODIES; i++)
        sum = mix_bytes(sum, body[i].x, sizeof body[i].x);
    return sum;
}

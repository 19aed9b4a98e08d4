// How fast points of the plane leave Mandelbrot's set: a short loop that carries its values. REAL is the type.
#include "bench.h"

enum { SIDE = 48, LIMIT = 200 };

static uint64_t work(uint64_t repeats) {
    uint64_t sum = 0;
    for (uint64_t r = 0; r < repeats; r++) {
        uint64_t steps = 0;
        REAL shift = (REAL)(r % 16) / 1024;
        for (int row = 0; row < SIDE; row++)
            for (int column = 0; column < SIDE; column++) {
                REAL cr = (REAL)(column * 3) / SIDE - 2 + shift, ci = (REAL)(row * 2) / SIDE - 1;
                REAL x = 0, y = 0;
                int n = 0;
                for (; n < LIMIT && x * x + y * y <= 4; n++) {
                    REAL t = x * x - y * y + cr;
                    y = 2 * x * y + ci;
                    x = t;
                }
                steps += n;
            }
        sum = mix(sum, steps);
    }
    return sum;
}

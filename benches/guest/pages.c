// 2000 functions, each on a page of its own, called one after the other: more code than fits where translated code is looked
// up fast. They begin at different places of their pages, as functions do.
#include "bench.h"

typedef uint64_t function(uint64_t);

// What is before a function on its page is never called.
#define DEFINE(n)                                                                                                          \
    __attribute__((used, noinline, no_reorder, aligned(4096), section(".text.pages"))) static void before##n(void) {       \
        __asm__(".skip " #n " * 64 % 3840 + 64");                                                                          \
    }                                                                                                                      \
    __attribute__((noinline, noclone, no_reorder, section(".text.pages"))) static uint64_t page##n(uint64_t x) {           \
        return (x ^ n) * 0x2545f4914f6cdd1du + (x >> 31);                                                                  \
    }
#define NAME(n) page##n,

// Calls `what` with the numbers from 1000 to 2999.
#define TENS(what, p) what(p##0) what(p##1) what(p##2) what(p##3) what(p##4) what(p##5) what(p##6) what(p##7) what(p##8) what(p##9)
#define HUNDREDS(what, p)                                                                                                  \
    TENS(what, p##0) TENS(what, p##1) TENS(what, p##2) TENS(what, p##3) TENS(what, p##4)                                   \
    TENS(what, p##5) TENS(what, p##6) TENS(what, p##7) TENS(what, p##8) TENS(what, p##9)
#define THOUSAND(what, p)                                                                                                  \
    HUNDREDS(what, p##0) HUNDREDS(what, p##1) HUNDREDS(what, p##2) HUNDREDS(what, p##3) HUNDREDS(what, p##4)               \
    HUNDREDS(what, p##5) HUNDREDS(what, p##6) HUNDREDS(what, p##7) HUNDREDS(what, p##8) HUNDREDS(what, p##9)
#define ALL(what) THOUSAND(what, 1) THOUSAND(what, 2)

ALL(DEFINE)

static function *const table[] = {ALL(NAME)};

static uint64_t work(uint64_t repeats) {
    enum { COUNT = sizeof table / sizeof *table };
    // The table stays one of unknown functions.
    function *const *functions = table;
    __asm__ volatile("" : "+r"(functions));
    uint64_t x = 1;
    for (uint64_t r = 0; r < repeats; r++)
        for (int i = 0; i < COUNT; i++)
            x = functions[i](x);
    return x;
}

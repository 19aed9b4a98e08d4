/* M: products' halves, and division by zero and overflow without traps. */
#include "suite.h"

test:
        RR 1, mul, 0x8000000000000000, 0x4000000000000000, 2
        RR 2, mulh, 0, -1, -1
        RR 3, mulh, 0x4000000000000000, 0x8000000000000000, 0x8000000000000000
        RR 4, mulhu, 0xfffffffffffffffe, -1, -1
        RR 5, mulhsu, -1, -1, -1
        RR 6, mulhsu, 0x8000000000000000, 0x8000000000000000, -1
        RR 7, mulhsu, 0x7ffffffffffffffe, 0x7fffffffffffffff, -1
        RR 8, mulw, 0xffffffff80000000, 0x40000000, 2
        RR 9, mulw, 1, 0xffffffff, 0xffffffff
        RR 10, div, -1, 7, 0
        RR 11, div, 0x8000000000000000, 0x8000000000000000, -1
        RR 12, div, -3, 20, -6
        RR 13, divu, -1, 7, 0
        RR 14, divu, 0, 0x8000000000000000, -1
        RR 15, rem, 7, 7, 0
        RR 16, rem, 0, 0x8000000000000000, -1
        RR 17, rem, 2, 20, -6
        RR 18, rem, -2, -20, 6
        RR 19, remu, 7, 7, 0
        RR 20, divw, -1, 0xabcd00000007, 0x100000000
        RR 21, divw, 0xffffffff80000000, 0x80000000, 0xffffffff
        RR 22, divuw, 0xffffffffffffffff, 0x80000000, 0
        RR 23, divuw, 0x7fffffff, 0xffffffff, 2
        RR 24, remw, 0xffffffff80000000, 0x80000000, 0
        RR 25, remw, 0, 0x80000000, 0xffffffff
        RR 26, remuw, 0xffffffff80000000, 0x80000000, 0
        RR 27, remuw, 3, 0xffffffff00000013, 8
        j       pass

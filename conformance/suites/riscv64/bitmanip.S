/* Zba, Zbb, Zbc, Zbs and Zicond. */
#include "suite.h"

/* Zicond is younger than some assemblers. */
.macro czero.eqz rd, rs1, rs2
        .insn   r 0x33, 5, 7, \rd, \rs1, \rs2
.endm
.macro czero.nez rd, rs1, rs2
        .insn   r 0x33, 7, 7, \rd, \rs1, \rs2
.endm

test:
        RR 1, sh1add, 0xfffffffffffffffe, 0x7fffffffffffffff, 0
        RR 2, sh2add, 0x15, 5, 1
        RR 3, sh3add, 0x29, 5, 1
        RR 4, add.uw, 0x100000000, 0xffffffffffffffff, 1
        RR 5, sh1add.uw, 0x1ffffffff, 0xffffffffffffffff, 1
        RR 6, sh3add.uw, 0x7fffffff8, 0xabcdef00ffffffff, 0
        RI 7, slli.uw, 0xffffffff0, 0xffffffffffffffff, 4
        RR 10, andn, 0xf0, 0xff, 0x0f
        RR 11, orn, 0xfffffffffffffff0, 0, 0x0f
        RR 12, xnor, 0xffffffffffffff0f, 0xff, 0x0f
        R1 13, clz, 64, 0
        R1 14, clz, 0, -1
        R1 15, clzw, 32, 0xffffffff00000000
        R1 16, ctz, 64, 0
        R1 17, ctzw, 32, 0xffffffff00000000
        R1 18, ctz, 63, 0x8000000000000000
        R1 19, cpop, 64, -1
        R1 20, cpopw, 32, -1
        RR 21, max, 1, -1, 1
        RR 22, maxu, -1, -1, 1
        RR 23, min, -1, -1, 1
        RR 24, minu, 1, -1, 1
        R1 25, sext.b, -1, 0xff
        R1 26, sext.h, 0xffffffffffff8000, 0x18000
        R1 27, zext.h, 0x8000, 0xffff8000
        RR 28, rol, 3, 0x8000000000000001, 1
        RR 29, ror, 0xc000000000000000, 0x8000000000000001, 65
        RR 30, rolw, 0xffffffff80000000, 0x40000000, 33
        RR 31, rorw, 0xffffffffc0000000, 0x80000001, 1
        RI 32, rori, 0x1000000000000000, 1, 4
        RI 33, roriw, 0x10000000, 1, 4
        R1 34, orc.b, 0xff00ff000000ff00, 0x0100800000000200
        R1 35, rev8, 0x0807060504030201, 0x0102030405060708
        RR 40, clmul, 5, 3, 3
        RR 41, clmul, 0x5555555555555555, -1, -1
        RR 42, clmulh, 0x5555555555555555, -1, -1
        RR 43, clmulr, 0xaaaaaaaaaaaaaaaa, -1, -1
        RR 44, clmulh, 0x4000000000000000, 0x8000000000000000, 0x8000000000000000
        RR 50, bclr, 0xfffffffffffffffe, -1, 64
        RR 51, bset, 0x8000000000000000, 0, 63
        RR 52, binv, 0, 1, 0
        RR 53, bext, 1, 0x8000000000000000, 127
        RI 54, bclri, 0x7fffffffffffffff, -1, 63
        RI 55, bseti, 0x100000000, 0, 32
        RI 56, binvi, 0x80000000, 0, 31
        RI 57, bexti, 0, 0x7fffffffffffffff, 63
        RR 60, czero.eqz, 0, 5, 0
        RR 61, czero.eqz, 5, 5, 0x8000000000000000
        RR 62, czero.nez, 5, 5, 0
        RR 63, czero.nez, 0, 5, 1
        j       pass

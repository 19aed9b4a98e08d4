/* F and D: rounding, exception flags, NaN boxing, conversions at their limits, and the unit switched off. */
#include "suite.h"

#define NV 16
#define DZ 8
#define OF 4
#define UF 2
#define NX 1

/* The value of an expression over double bit patterns in fa1 and fa2, and the flags it raises. */
.macro D2 number, op, result, flags, a, b, rounding:vararg
        CASE    \number
        li      a1, \a
        li      a2, \b
        fmv.d.x fa1, a1
        fmv.d.x fa2, a2
        csrw    fflags, x0
        \op     fa0, fa1, fa2 \rounding
        fmv.x.d a0, fa0
        EXPECT  a0, \result
        csrr    a0, fflags
        EXPECT  a0, \flags
.endm

/* The same for singles. The result is compared as it is boxed. */
.macro S2 number, op, result, flags, a, b, rounding:vararg
        CASE    \number
        li      a1, \a
        li      a2, \b
        fmv.w.x fa1, a1
        fmv.w.x fa2, a2
        csrw    fflags, x0
        \op     fa0, fa1, fa2 \rounding
        fmv.x.d a0, fa0
        EXPECT  a0, 0xffffffff00000000 | \result
        csrr    a0, fflags
        EXPECT  a0, \flags
.endm

/* A comparison of doubles. */
.macro DC number, op, result, flags, a, b
        CASE    \number
        li      a1, \a
        li      a2, \b
        fmv.d.x fa1, a1
        fmv.d.x fa2, a2
        csrw    fflags, x0
        \op     a0, fa1, fa2
        EXPECT  a0, \result
        csrr    a0, fflags
        EXPECT  a0, \flags
.endm

/* From a floating-point number to an integer. */
.macro TOI number, op, result, flags, a, rounding
        CASE    \number
        li      a1, \a
        fmv.d.x fa1, a1
        csrw    fflags, x0
        \op     a0, fa1, \rounding
        EXPECT  a0, \result
        csrr    a0, fflags
        EXPECT  a0, \flags
.endm

/* From an integer to the bits of a floating-point number. */
.macro OFI number, op, result, flags, a, rounding:vararg
        CASE    \number
        li      a1, \a
        csrw    fflags, x0
        \op     fa0, a1 \rounding
        fmv.x.d a0, fa0
        EXPECT  a0, \result
        csrr    a0, fflags
        EXPECT  a0, \flags
.endm

/* From a floating-point format to another. */
.macro FF number, op, result, flags, a, rounding:vararg
        CASE    \number
        li      a1, \a
        fmv.d.x fa1, a1
        csrw    fflags, x0
        \op     fa0, fa1 \rounding
        fmv.x.d a0, fa0
        EXPECT  a0, \result
        csrr    a0, fflags
        EXPECT  a0, \flags
.endm

#define ONE    0x3ff0000000000000
#define TWO    0x4000000000000000
#define THREE  0x4008000000000000
#define INF    0x7ff0000000000000
#define QNAN   0x7ff8000000000000
#define SNAN   0x7ff0000000000001
#define MAX    0x7fefffffffffffff
#define TINY   0x0010000000000000
#define NEG    0x8000000000000000

test:
        csrw    frm, x0
        D2 1, fadd.d, THREE, 0, ONE, TWO
        D2 2, fadd.d, ONE, NX, ONE, 1
        D2 3, fadd.d, ONE + 1, NX, ONE, 1, , rup
        D2 4, fsub.d, QNAN, NV, INF, INF
        D2 5, fsub.d, 0, 0, ONE, ONE
        D2 6, fsub.d, NEG, 0, ONE, ONE, , rdn
        D2 7, fmul.d, INF, OF | NX, MAX, TWO
        D2 8, fmul.d, MAX, OF | NX, MAX, TWO, , rtz
        D2 9, fmul.d, 0, UF | NX, 1, 1
        D2 10, fmul.d, 0x0008000000000000, 0, TINY, 0x3fe0000000000000
        D2 11, fdiv.d, INF, DZ, ONE, 0
        D2 12, fdiv.d, INF | NEG, DZ, ONE | NEG, 0
        D2 13, fdiv.d, QNAN, NV, 0, 0
        D2 14, fdiv.d, 0x3fd5555555555555, NX, ONE, THREE
        D2 15, fdiv.d, 0x3fd5555555555556, NX, ONE, THREE, , rup
        D2 16, fadd.d, QNAN, NV, SNAN, ONE
        D2 17, fadd.d, QNAN, 0, 0xfff8000000000123, ONE
        D2 18, fmin.d, NEG, 0, 0, NEG
        D2 19, fmax.d, 0, 0, NEG, 0
        D2 20, fmin.d, ONE, NV, SNAN, ONE
        D2 21, fmax.d, QNAN, 0, QNAN, QNAN | NEG
        D2 22, fsgnj.d, SNAN | NEG, 0, SNAN, ONE | NEG
        D2 23, fsgnjx.d, ONE, 0, ONE | NEG, NEG
        D2 24, fsgnjn.d, ONE | NEG, 0, ONE, ONE
        /* Ties away from zero, and the dynamic mode. */
        D2 25, fadd.d, 0x4340000000000001, NX, 0x4340000000000000, ONE, , rmm
        D2 26, fadd.d, 0x4340000000000000, NX, 0x4340000000000000, ONE, , rne

        DC 30, feq.d, 0, 0, QNAN, QNAN
        DC 31, feq.d, 0, NV, SNAN, ONE
        DC 32, flt.d, 0, NV, QNAN, ONE
        DC 33, fle.d, 1, 0, NEG, 0
        DC 34, flt.d, 0, 0, NEG, 0

        TOI 40, fcvt.w.d, 0x7fffffff, NV, QNAN, rtz
        TOI 41, fcvt.w.d, 0xffffffff80000000, NV, INF | NEG, rtz
        TOI 42, fcvt.wu.d, 0xffffffffffffffff, NV, INF, rtz
        TOI 43, fcvt.wu.d, 0, NV, ONE | NEG, rtz
        TOI 44, fcvt.wu.d, 0, NX, 0xbfe0000000000000, rtz
        TOI 45, fcvt.wu.d, 0xffffffff80000000, 0, 0x41e0000000000000, rtz
        TOI 46, fcvt.l.d, 0x7fffffffffffffff, NV, 0x43e0000000000000, rtz
        TOI 47, fcvt.l.d, 0x8000000000000000, 0, 0xc3e0000000000000, rtz
        TOI 48, fcvt.lu.d, -1, NV, 0x43f0000000000000, rtz
        TOI 49, fcvt.w.d, 2, NX, 0x4004000000000000, rne
        TOI 50, fcvt.w.d, 3, NX, 0x4004000000000000, rmm
        TOI 51, fcvt.w.d, 3, NX, 0x4004000000000000, rup
        TOI 52, fcvt.w.d, -3, NX, 0xc004000000000000, rdn

        OFI 60, fcvt.d.w, 0xc1e0000000000000, 0, 0x80000000
        OFI 61, fcvt.d.wu, 0x41e0000000000000, 0, 0x80000000
        OFI 62, fcvt.d.l, 0x43e0000000000000, NX, 0x7fffffffffffffff, , rne
        OFI 63, fcvt.d.lu, 0x43effffffffffffe, NX, 0xfffffffffffff7ff, , rtz
        OFI 64, fcvt.s.w, 0xffffffff4f000000, NX, 0x7fffffff, , rne

        FF 70, fcvt.s.d, 0xffffffff7f800000, OF | NX, MAX, , rne
        FF 71, fcvt.s.d, 0xffffffff7fc00000, NV, SNAN, , rne
        FF 72, fcvt.d.s, QNAN, NV, 0xffffffff7f800001
        FF 73, fcvt.d.s, 0x36a0000000000000, 0, 0xffffffff00000001
        FF 74, fcvt.s.d, 0xffffffff00000001, UF | NX, 0x3690000000000001, , rup
        FF 75, fsqrt.d, QNAN, NV, ONE | NEG, , rne
        FF 76, fsqrt.d, NEG, 0, NEG, , rne
        FF 77, fsqrt.d, 0x3ff6a09e667f3bcd, NX, TWO, , rne
        /* A value that is not boxed counts as the canonical NaN. */
        FF 78, fcvt.d.s, QNAN, 0, 0x3f800000

        S2 80, fadd.s, 0x40400000, 0, 0x3f800000, 0x40000000
        S2 81, fmul.s, 0x7f800000, OF | NX, 0x7f7fffff, 0x40000000
        S2 82, fdiv.s, 0x3eaaaaab, NX, 0x3f800000, 0x40400000
        S2 83, fsub.s, 0x7fc00000, NV, 0x7f800000, 0x7f800000
        /* Both round up to the smallest normal number, but only the first is tiny with 24 bits of precision. */
        S2 84, fmul.s, 0x00800000, UF | NX, 0x00ffffff, 0x3f000000, , rup
        S2 85, fmul.s, 0x00800000, NX, 0x3f800400, 0x007ffc00
        S2 86, fmin.s, 0x80000000, 0, 0x00000000, 0x80000000

        CASE 90                                 /* Fused: one rounding, and infinity times zero. */
        li      a1, 0x3ff0000000000001
        fmv.d.x fa1, a1
        li      a2, 0x3ff0000000000002
        fmv.d.x fa2, a2
        csrw    fflags, x0
        fmul.d  fa3, fa1, fa1
        fmsub.d fa0, fa1, fa1, fa2
        fmv.x.d a0, fa0
        EXPECT  a0, 0x3970000000000000
        li      a1, INF
        fmv.d.x fa1, a1
        fmv.d.x fa2, x0
        li      a3, QNAN
        fmv.d.x fa3, a3
        csrw    fflags, x0
        fmadd.d fa0, fa1, fa2, fa3
        csrr    a0, fflags
        EXPECT  a0, NV
        fnmadd.d fa0, fa2, fa2, fa2
        fmv.x.d a0, fa0
        EXPECT  a0, NEG

        CASE 91                                 /* Classes. */
        li      a1, INF | NEG
        fmv.d.x fa1, a1
        fclass.d a0, fa1
        EXPECT  a0, 1
        li      a1, 1
        fmv.d.x fa1, a1
        fclass.d a0, fa1
        EXPECT  a0, 0x20
        fclass.s a0, fa1
        EXPECT  a0, 0x200
        li      a1, SNAN
        fmv.d.x fa1, a1
        fclass.d a0, fa1
        EXPECT  a0, 0x100

        CASE 92                                 /* Flags add up; fcsr is both fields. */
        li      a0, 0xff
        csrw    fcsr, a0
        csrr    a0, frm
        EXPECT  a0, 7
        csrr    a0, fflags
        EXPECT  a0, 31

        CASE 93                                 /* Reserved rounding modes are illegal, dynamic and static. */
        TRAPS   ILLEGAL, fadd.d fa0, fa1, fa1, dyn
        csrw    frm, x0
        TRAPS   ILLEGAL, .insn r 0x53, 5, 1, fa0, fa1, fa1

        CASE 94                                 /* Switched off, everything traps; used, it becomes dirty. */
        li      a0, MSTATUS_FS
        csrc    mstatus, a0
        csrr    a1, mstatus
        bltz    a1, fail
        TRAPS   ILLEGAL, fadd.d fa0, fa0, fa0
        TRAPS   ILLEGAL, fld fa0, 0(sp)
        TRAPS   ILLEGAL, csrr a0, fflags
        li      a0, 0x2000
        csrs    mstatus, a0
        fmv.d.x fa0, x0
        csrr    a1, mstatus
        bgez    a1, fail
        j       pass

/* A: every operation, LR/SC and what breaks a reservation. */
#include "suite.h"

/* One operation on a word or doubleword: old value, and memory afterwards. */
.macro AMO number, op, size, before, operand, after, old
        CASE    \number
        li      a1, \before
        sd      a1, 0(s0)
        li      a2, \operand
        \op     a0, a2, (s0)
        EXPECT  a0, \old
        l\size  a0, 0(s0)
        EXPECT  a0, \after
.endm

test:
        la      s0, word
        AMO 1, amoadd.w, w, 0x7fffffff, 1, 0xffffffff80000000, 0x7fffffff
        AMO 2, amoadd.w, d, 0xffffffff, 1, 0, -1
        AMO 3, amoadd.d, d, -1, 1, 0, -1
        AMO 4, amoswap.w, d, 0x1111111180000000, 5, 0x1111111100000005, 0xffffffff80000000
        AMO 5, amoswap.d.aqrl, d, 7, 5, 5, 7
        AMO 6, amoand.d, d, 0xff, 0x0f, 0x0f, 0xff
        AMO 7, amoor.d, d, 0xf0, 0x0f, 0xff, 0xf0
        AMO 8, amoxor.w, w, 0xff, 0x0f, 0xf0, 0xff
        AMO 9, amomin.w, w, 1, -1, -1, 1
        AMO 10, amomax.w, w, 0x80000000, 1, 1, 0xffffffff80000000
        AMO 11, amominu.w, w, 0x80000000, 1, 1, 0xffffffff80000000
        AMO 12, amomaxu.w, w, 1, 0xffffffff80000000, 0xffffffff80000000, 1
        AMO 13, amomin.d, d, 1, 0x8000000000000000, 0x8000000000000000, 1
        AMO 14, amomaxu.d, d, -1, 1, -1, -1

        CASE 20                                 /* A pair succeeds once. */
        li      a1, 5
        sd      a1, 0(s0)
        lr.d    a0, (s0)
        EXPECT  a0, 5
        li      a2, 6
        sc.d    a0, a2, (s0)
        bnez    a0, fail
        ld      a0, 0(s0)
        EXPECT  a0, 6
        li      a2, 7
        sc.d    a0, a2, (s0)
        beqz    a0, fail
        ld      a0, 0(s0)
        EXPECT  a0, 6

        CASE 21                                 /* LR.W sign-extends; SC.W writes four bytes. */
        li      a1, 0x1111111180000000
        sd      a1, 0(s0)
        lr.w.aq a0, (s0)
        EXPECT  a0, 0xffffffff80000000
        li      a2, 9
        sc.w.rl a0, a2, (s0)
        bnez    a0, fail
        ld      a0, 0(s0)
        EXPECT  a0, 0x1111111100000009

        CASE 22                                 /* A failed SC ends the reservation. */
        lr.d    a0, (s0)
        la      s1, other
        sc.d    a0, a2, (s1)
        beqz    a0, fail
        sc.d    a0, a2, (s0)
        beqz    a0, fail
        ld      a0, 0(s1)
        EXPECT  a0, 3

        CASE 23                                 /* Misaligned atomics trap with the address. */
        addi    s1, s0, 2
        TRAPS   LOAD_MISALIGNED, lr.w a0, (s1)
        la      t0, word + 2
        bne     s9, t0, fail
        TRAPS   STORE_MISALIGNED, sc.w a0, a2, (s1)
        TRAPS   STORE_MISALIGNED, amoadd.w a0, a2, (s1)
        addi    s1, s0, 4
        TRAPS   STORE_MISALIGNED, amoadd.d a0, a2, (s1)
        bne     s9, s1, fail

        CASE 24                                 /* Faults of AMOs are store faults. */
        li      s1, 0x4000
        TRAPS   STORE_FAULT, amoadd.d a0, a2, (s1)
        TRAPS   LOAD_FAULT, lr.d a0, (s1)

        CASE 25                                 /* Destination and operand may be one register, and x0. */
        li      a1, 5
        sd      a1, 0(s0)
        li      a2, 6
        amoadd.d a2, a2, (s0)
        EXPECT  a2, 5
        amoadd.d x0, a2, (s0)
        ld      a0, 0(s0)
        EXPECT  a0, 16
        j       pass

        .data
        .align  12
word:   .dword  0, 0
        .zero   1024
other:  .dword  3

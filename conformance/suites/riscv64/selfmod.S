/* Code that changes itself: with FENCE.I as the architecture asks, and without it, which this machine promises. */
#include "suite.h"

/* Writes `addi a0, x0, value` to the address in `at`. */
.macro PATCH at, value
        li      t5, (\value) << 20 | 0x513
        sw      t5, 0(\at)
.endm

test:
        la      s0, code
        CASE 1
        jalr    s0
        EXPECT  a0, 1
        PATCH   s0, 2
        fence.i
        jalr    s0
        EXPECT  a0, 2

        CASE 2                                  /* Without a fence. */
        PATCH   s0, 3
        jalr    s0
        EXPECT  a0, 3

        CASE 3                                  /* Many times, so that the code gets hot between changes. */
        li      s1, 0
1:      slli    t5, s1, 20
        ori     t5, t5, 0x513
        sw      t5, 0(s0)
        li      s2, 50
2:      jalr    s0
        bne     a0, s1, fail
        addi    s2, s2, -1
        bnez    s2, 2b
        addi    s1, s1, 1
        li      s3, 200
        bne     s1, s3, 1b

        CASE 4                                  /* The next instruction, in the same straight line of code. */
        la      s1, 1f
        li      t5, 7 << 20 | 0x513
        li      a0, 0
        sw      t5, 0(s1)
1:      addi    a0, x0, 1
        EXPECT  a0, 7

        CASE 5                                  /* By a byte of it, and by an atomic operation. */
        PATCH   s0, 16
        jalr    s0
        EXPECT  a0, 16
        li      t5, 0x02
        sb      t5, 3(s0)
        jalr    s0
        EXPECT  a0, 32
        li      t5, 5 << 20 | 0x513
        amoswap.w x0, t5, (s0)
        jalr    s0
        EXPECT  a0, 5

        CASE 6                                  /* One instruction across two pages, its second half changed. */
        la      s1, across
        jalr    s1
        EXPECT  a0, 1
        li      t5, 9 << 4                      /* The immediate is in the upper half. */
        sh      t5, 2(s1)
        jalr    s1
        EXPECT  a0, 9

        CASE 7                                  /* Data next to code in one page. */
        la      s1, code + 64
        li      s2, 1000
        PATCH   s0, 11
1:      sd      s2, 0(s1)
        jalr    s0
        EXPECT  a0, 11
        addi    s2, s2, -1
        bnez    s2, 1b

        CASE 8                                  /* Zeroed by a cache-block operation: illegal from then on. */
        cbo.zero (s0)
        la      s11, 1f
        jalr    s0
        j       fail
1:      EXPECT  s8, ILLEGAL
        bne     s10, s0, fail
        j       pass

        .align  12
code:   addi    a0, x0, 1
        ret
        .zero   248
        .option arch, +c
        .option rvc
        .align  12
        .zero   4096 - 2
across:
        .option norvc
        addi    a0, x0, 1
        ret

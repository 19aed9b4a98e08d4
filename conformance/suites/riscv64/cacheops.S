/* Zicbom and Zicboz: blocks of 64 bytes, and the registers that allow them below M-mode. */
#include "suite.h"

test:
        la      s0, block
        CASE 1                                  /* The whole block that holds the address, and nothing else. */
        addi    a0, s0, 64 + 17
        cbo.zero (a0)
        ld      a1, 56(s0)
        EXPECT  a1, -1
        ld      a1, 64(s0)
        bnez    a1, fail
        ld      a1, 120(s0)
        bnez    a1, fail
        ld      a1, 128(s0)
        EXPECT  a1, -1

        CASE 2                                  /* Clean, flush and invalidate keep what was written. */
        cbo.clean (s0)
        cbo.flush (s0)
        cbo.inval (s0)
        ld      a1, 0(s0)
        EXPECT  a1, -1

        CASE 3                                  /* Off for lower privileges until both registers allow it. */
        csrw    0x30a, x0                       /* menvcfg */
        csrw    0x10a, x0                       /* senvcfg */
        ENTER   1
        TRAPS   ILLEGAL, cbo.zero 0(s0)
        ENTER   1
        TRAPS   ILLEGAL, cbo.clean 0(s0)
        ENTER   1
        TRAPS   ILLEGAL, cbo.inval 0(s0)
        li      a0, 0xf0
        csrw    0x30a, a0
        ENTER   1
        cbo.zero (s0)
        cbo.flush (s0)
        cbo.inval (s0)
        LEAVE   ECALL_S
        ENTER   0
        TRAPS   ILLEGAL, cbo.zero 0(s0)
        li      a0, 0xf0
        csrw    0x10a, a0
        ENTER   0
        cbo.zero (s0)
        cbo.clean (s0)
        LEAVE   ECALL_U

        CASE 4                                  /* Faults are those of stores. */
        li      a0, 0x4010
        TRAPS   STORE_FAULT, cbo.zero 0(a0)
        j       pass

        .data
        .align  6
block:
        .rept   32
        .dword  -1
        .endr

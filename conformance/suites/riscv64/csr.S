/* Control and status registers: who may access which, fields that keep legal values, and counters. */
#include "suite.h"

test:
        CASE 1                                  /* No such register, and writes of read-only ones. */
        TRAPS   ILLEGAL, csrr a0, 0x8ff
        TRAPS   ILLEGAL, csrw mhartid, x0
        TRAPS   ILLEGAL, csrw cycle, x0
        TRAPS   ILLEGAL, csrrs a0, mhartid, a0
        csrrs   a0, mhartid, x0
        bnez    a0, fail
        csrrci  a0, mhartid, 0

        CASE 2                                  /* Read, write, set, clear. */
        li      a1, 0xff
        csrrw   a0, mscratch, a1
        csrrs   a0, mscratch, x0
        EXPECT  a0, 0xff
        li      a1, 0x0f
        csrrc   a0, mscratch, a1
        EXPECT  a0, 0xff
        csrrwi  a0, mscratch, 31
        EXPECT  a0, 0xf0
        csrrsi  a0, mscratch, 1
        csrrci  a0, mscratch, 16
        EXPECT  a0, 31
        csrr    a0, mscratch
        EXPECT  a0, 15
        csrrw   a0, mscratch, a0                /* One register as source and destination. */
        EXPECT  a0, 15

        CASE 3                                  /* S-mode may not touch machine registers, U-mode no supervisor ones. */
        ENTER   1
        TRAPS   ILLEGAL, csrr a0, mstatus
        ENTER   1
        csrw    sscratch, a0
        TRAPS   ILLEGAL, csrw mscratch, a0
        ENTER   0
        TRAPS   ILLEGAL, csrr a0, sscratch
        ENTER   0
        TRAPS   ILLEGAL, csrr a0, satp

        CASE 4                                  /* Counters are opened by two registers. */
        csrw    mcounteren, x0
        csrw    scounteren, x0
        csrr    a0, cycle
        ENTER   1
        TRAPS   ILLEGAL, csrr a0, cycle
        li      a0, 7
        csrw    mcounteren, a0
        ENTER   1
        csrr    a0, cycle
        csrr    a0, time
        csrr    a0, instret
        LEAVE   ECALL_S
        ENTER   0
        TRAPS   ILLEGAL, csrr a0, instret
        li      a0, 5
        csrw    scounteren, a0
        ENTER   0
        csrr    a0, instret
        TRAPS   ILLEGAL, csrr a0, time

        CASE 5                                  /* minstret counts instructions, can be set and stopped. */
        csrw    minstret, x0
        nop
        nop
        csrr    a0, minstret
        EXPECT  a0, 2
        li      a1, 4
        csrs    mcountinhibit, a1
        csrr    a1, minstret
        nop
        csrr    a2, minstret
        bne     a1, a2, fail
        csrw    mcountinhibit, x0

        CASE 6                                  /* Time does not stand still, nor run back. */
        csrr    a0, time
        li      a2, 200000
1:      csrr    a1, time
        bltu    a1, a0, fail
        bne     a1, a0, 1f
        addi    a2, a2, -1
        bnez    a2, 1b
        j       fail
1:
        CASE 7                                  /* Fields without a legal value for what is written keep theirs. */
        li      a0, MSTATUS_MPP
        csrs    mstatus, a0
        li      a1, 0x1000
        csrc    mstatus, a1                     /* MPP 3 to 1. */
        csrr    a2, mstatus
        and     a2, a2, a0
        EXPECT  a2, MSTATUS_MPP_S
        csrw    mepc, a0
        li      a1, -1
        csrw    mepc, a1
        csrr    a2, mepc
        EXPECT  a2, -2
        csrw    sepc, a1
        csrr    a2, sepc
        EXPECT  a2, -2
        li      a1, 1 << 60                     /* satp: mode 1 is reserved, so nothing is written. */
        csrw    satp, x0
        csrw    satp, a1
        csrr    a2, satp
        bnez    a2, fail
        li      a1, -1
        csrw    medeleg, a1
        csrr    a2, medeleg
        li      a3, 1 << ECALL_M
        and     a2, a2, a3
        bnez    a2, fail
        csrw    medeleg, x0
        csrr    a0, misa
        li      a1, 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 12 | 1 << 18 | 1 << 20
        and     a2, a0, a1
        bne     a2, a1, fail

        CASE 8                                  /* sstatus is a part of mstatus. */
        csrci   mstatus, MSTATUS_MIE
        li      a0, MSTATUS_SUM | MSTATUS_MIE
        csrw    sstatus, x0
        csrs    sstatus, a0
        csrr    a1, mstatus
        and     a1, a1, a0
        EXPECT  a1, MSTATUS_SUM
        csrw    sstatus, x0

        CASE 9                                  /* sie and sip show what is delegated. */
        csrw    mideleg, x0
        li      a0, 0x222
        csrw    mie, a0
        csrr    a1, sie
        bnez    a1, fail
        csrw    mideleg, a0
        csrr    a1, sie
        EXPECT  a1, 0x222
        csrw    sie, x0
        csrr    a1, mie
        bnez    a1, fail
        csrw    mideleg, x0

        CASE 10                                 /* TVM, TSR and TW take instructions from S-mode. */
        li      a0, MSTATUS_TVM | MSTATUS_TSR | MSTATUS_TW
        csrs    mstatus, a0
        ENTER   1
        TRAPS   ILLEGAL, csrr a0, satp
        ENTER   1
        TRAPS   ILLEGAL, sfence.vma
        ENTER   1
        TRAPS   ILLEGAL, sret
        ENTER   1
        TRAPS   ILLEGAL, wfi
        ENTER   0
        TRAPS   ILLEGAL, sret
        ENTER   1
        TRAPS   ILLEGAL, mret
        li      a0, MSTATUS_TVM | MSTATUS_TSR | MSTATUS_TW
        csrc    mstatus, a0
        ENTER   0
        TRAPS   ILLEGAL, sfence.vma
        j       pass

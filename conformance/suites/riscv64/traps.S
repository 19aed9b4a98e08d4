/* Traps: entry, return, delegation, vectors, and the stack of enable bits. */
#include "suite.h"

test:
        CASE 1                                  /* ECALL and EBREAK by privilege. */
        TRAPS   ECALL_M, ecall
        bnez    s9, fail
        TRAPS   BREAKPOINT, ebreak
        ENTER   1
        TRAPS   ECALL_S, ecall
        srli    a0, s7, 11
        andi    a0, a0, 3
        EXPECT  a0, 1
        ENTER   0
        TRAPS   ECALL_U, ecall
        srli    a0, s7, 11
        andi    a0, a0, 3
        bnez    a0, fail

        CASE 2                                  /* A trap clears MIE and keeps it in MPIE. */
        csrw    mie, x0
        csrsi   mstatus, MSTATUS_MIE
        TRAPS   ECALL_M, ecall
        andi    a0, s7, MSTATUS_MIE | MSTATUS_MPIE
        EXPECT  a0, MSTATUS_MPIE
        csrr    a0, mstatus                     /* And MRET puts it back, leaving MPIE set and MPP U. */
        li      a1, MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPP
        and     a0, a0, a1
        EXPECT  a0, MSTATUS_MIE | MSTATUS_MPIE
        csrci   mstatus, MSTATUS_MIE

        CASE 3                                  /* A jump to nowhere faults at its target. */
        li      a0, 0x4000
        la      s11, 1f
        jr      a0
        j       fail
1:      EXPECT  s8, FETCH_FAULT
        EXPECT  s9, 0x4000
        EXPECT  s10, 0x4000

        CASE 4                                  /* Delegated: from U to S, with sstatus, scause and stval. */
        li      a0, 1 << ECALL_U | 1 << ILLEGAL
        csrw    medeleg, a0
        la      a0, supervisor
        csrw    stvec, a0
        csrsi   sstatus, MSTATUS_SIE
        csrw    sie, x0
        li      s0, 0
        ENTER   0
user:   ecall
        csrr    a0, sscratch
        TRAPS   BREAKPOINT, ebreak              /* Not delegated. */
        EXPECT  s0, 2

        CASE 5                                  /* What S-mode does itself is delegated, what M-mode does is not. */
        ENTER   1
        csrr    a0, mscratch
        EXPECT  s0, 3
        LEAVE   ECALL_S
        TRAPS   ILLEGAL, csrw mhartid, x0
        csrw    medeleg, x0

        CASE 6                                  /* SRET from M-mode, and MPRV cleared by a return below M. */
        li      a0, MSTATUS_MPRV | MSTATUS_SPP
        csrs    mstatus, a0
        la      a0, 1f
        csrw    sepc, a0
        sret
        j       fail
1:      TRAPS   ECALL_S, ecall
        srli    a0, s7, 17
        andi    a0, a0, 1
        bnez    a0, fail

        CASE 7                                  /* Vectored mode spreads interrupts, not exceptions. */
        la      a0, vectors + 1
        csrw    mtvec, a0
        la      s11, 1f
        ecall
        j       fail
1:      EXPECT  s8, ECALL_M
        li      s0, 0
        csrsi   mie, 2                          /* Software interrupts of S-mode, taken in M-mode. */
        csrsi   mip, 2
        csrsi   mstatus, MSTATUS_MIE
        nop
        EXPECT  s0, 1
        la      a0, trap
        csrw    mtvec, a0
        csrw    mie, x0

        CASE 8                                  /* A trap in mid-instruction changes no register. */
        li      a0, 77
        TRAPS   ILLEGAL, csrrw a0, mhartid, a0
        EXPECT  a0, 77
        li      ra, 78
        j       pass

/* Delegated exceptions: the first is the call, the others are illegal instructions. */
        .align  2
supervisor:
        csrr    s1, scause
        csrr    s2, sepc
        csrr    s3, sstatus
        andi    s3, s3, MSTATUS_SIE
        bnez    s3, fail
        addi    s0, s0, 1
        li      s4, 1
        bne     s0, s4, 1f
        EXPECT  s1, ECALL_U
        la      s3, user
        bne     s2, s3, fail
        csrr    s3, stval
        bnez    s3, fail
        j       2f
1:      EXPECT  s1, ILLEGAL
        csrr    s3, stval
        lwu     s4, 0(s2)
        bne     s3, s4, fail
2:      addi    s2, s2, 4
        csrw    sepc, s2
        sret

        .align  8
vectors:
        j       trap                            /* Exceptions. */
        j       soft                            /* Interrupt 1. */
        .rept   14
        j       fail
        .endr
soft:   csrr    s8, mcause
        addi    s0, s0, 1
        csrci   mip, 2
        li      s4, 1 << 63 | 1
        bne     s8, s4, fail
        mret

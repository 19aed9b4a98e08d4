/* Physical memory protection: modes, order, locks, page tables behind it, and pages that are only partly covered. */
#include "suite.h"

/* Entry `number` (0 to 7): configuration byte and address register. Entry 7 opens what the others leave. */
.macro ENTRY number, config, address
        li      t5, 0xff << (8 * (\number))
        csrc    pmpcfg0, t5
        li      t5, \address
        csrw    pmpaddr\number, t5
        li      t5, (\config) << (8 * (\number))
        csrs    pmpcfg0, t5
.endm

#define READ 1
#define WRITE 2
#define EXECUTE 4
#define TOR 8
#define NA4 16
#define NAPOT 24
#define LOCK 0x80

#define DATA 0x80100000

test:
        ENTRY   7, NAPOT | READ | WRITE | EXECUTE, -1
        ENTRY   0, 0, 0
        li      s0, DATA
        li      a1, 0x1111
        sd      a1, 0(s0)

        CASE 1                                  /* A read-only page, for lower privileges only. */
        ENTRY   0, NAPOT | READ, DATA >> 2 | 0x1ff
        sfence.vma
        ENTER   1
        ld      a0, 0(s0)
        EXPECT  a0, 0x1111
        TRAPS   STORE_FAULT, sd a0, 8(s0)
        EXPECT  s9, DATA + 8
        sd      a0, 8(s0)
        ENTER   0
        TRAPS   STORE_FAULT, sb a0, 0(s0)
        ENTER   1
        la      s11, 1f
        jr      s0
1:      EXPECT  s8, FETCH_FAULT
        EXPECT  s9, DATA

        CASE 2                                  /* The lowest entry that matches decides. */
        ENTRY   1, NAPOT | READ | WRITE, DATA >> 2 | 0x3ff
        sfence.vma
        ENTER   1
        TRAPS   STORE_FAULT, sd a0, 8(s0)
        ENTER   1
        li      a1, DATA + 0x1000
        sd      a0, 0(a1)
        LEAVE   ECALL_S
        ENTRY   1, 0, 0

        CASE 3                                  /* Nothing but a part of a page: words inside and outside. */
        ENTRY   0, NA4, (DATA + 0x10) >> 2
        sfence.vma
        ENTER   1
        ld      a0, 8(s0)
        lw      a0, 0x14(s0)
        TRAPS   LOAD_FAULT, lw a0, 0x10(s0)
        ENTER   1
        TRAPS   LOAD_FAULT, lbu a0, 0x13(s0)
        ENTER   1
        TRAPS   LOAD_FAULT, ld a0, 0x10(s0)

        CASE 4                                  /* An access whose last bytes are not allowed, aligned or not. */
        ENTRY   0, NA4, (DATA + 0x14) >> 2
        sfence.vma
        ENTER   1
        TRAPS   LOAD_FAULT, ld a0, 0x10(s0)
        ENTER   1
        TRAPS   STORE_FAULT, sd a0, 0x10(s0)
        ENTER   1
        TRAPS   LOAD_FAULT, lw a0, 0x12(s0)
        ENTER   1
        li      a1, DATA + 0x10
        TRAPS   STORE_FAULT, amoadd.d a0, a0, (a1)
        ENTER   1
        TRAPS   LOAD_FAULT, lr.d a0, (a1)
        ENTER   1
        lw      a0, 0x10(s0)
        ld      a0, 0x18(s0)

        CASE 5                                  /* All bytes must match one entry, even if both allow the access. */
        LEAVE   ECALL_S
        ENTRY   0, NA4 | READ | WRITE, (DATA + 0x14) >> 2
        sfence.vma
        ENTER   1
        lw      a0, 0x14(s0)
        TRAPS   LOAD_FAULT, ld a0, 0x10(s0)

        CASE 6                                  /* From one address to another. */
        ENTRY   0, 0, (DATA + 0x100) >> 2
        ENTRY   1, TOR | READ, (DATA + 0x200) >> 2
        sfence.vma
        ENTER   1
        sd      a0, 0xf8(s0)
        sd      a0, 0x200(s0)
        ld      a0, 0x100(s0)
        ld      a0, 0x1f8(s0)
        TRAPS   STORE_FAULT, sd a0, 0x100(s0)
        ENTER   1
        TRAPS   STORE_FAULT, sw a0, 0x1fc(s0)
        ENTRY   1, 0, 0

        CASE 7                                  /* MPRV binds M-mode. */
        ENTRY   0, NAPOT | READ, DATA >> 2 | 0x1ff
        sfence.vma
        li      t5, MSTATUS_MPP
        csrc    mstatus, t5
        li      t5, MSTATUS_MPRV
        csrs    mstatus, t5
        ld      a0, 0(s0)
        TRAPS   STORE_FAULT, sd a0, 0(s0)
        li      t5, MSTATUS_MPRV
        csrc    mstatus, t5

        CASE 8                                  /* A page table that may not be read. */
        li      a0, 8 << 60 | DATA >> 12
        csrw    satp, a0
        ENTRY   0, NAPOT | WRITE, DATA >> 2 | 0x1ff
        sfence.vma
        li      t5, MSTATUS_MPP
        csrc    mstatus, t5
        li      t5, MSTATUS_MPP_S | MSTATUS_MPRV
        csrs    mstatus, t5
        TRAPS   LOAD_FAULT, ld a0, 0(s0)
        li      t5, MSTATUS_MPRV
        csrc    mstatus, t5
        csrw    satp, x0

        CASE 9                                  /* Without an entry lower privileges may do nothing. */
        ENTRY   0, 0, 0
        ENTRY   7, 0, 0
        sfence.vma
        la      s11, 1f
        li      t5, MSTATUS_MPP
        csrc    mstatus, t5
        csrw    mepc, s0
        mret
1:      EXPECT  s8, FETCH_FAULT
        EXPECT  s9, DATA
        ENTRY   7, NAPOT | READ | WRITE | EXECUTE, -1

        CASE 10                                 /* A locked entry binds M-mode and stays. */
        ENTRY   0, NAPOT | READ | LOCK, DATA >> 2 | 0x1ff
        sfence.vma
        ld      a0, 0(s0)
        TRAPS   STORE_FAULT, sd a0, 0(s0)
        csrr    a1, pmpaddr0
        csrw    pmpaddr0, x0
        csrr    a2, pmpaddr0
        bne     a1, a2, fail
        li      a0, 0xff
        csrc    pmpcfg0, a0
        csrr    a0, pmpcfg0
        andi    a0, a0, 0xff
        EXPECT  a0, LOCK | NAPOT | READ
        j       pass

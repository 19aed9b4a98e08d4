/* Sv39: rights, accessed and dirty bits, large pages, Svnapot, fences, address spaces, MPRV. */
#define MODE 8
#include "paging.h"

/* The window under test is the gigabyte at 0x40000000, whose last-level table is `low`. */
#define WINDOW 0x40000000

test:
        /* RAM is mapped to itself by a gigabyte page, for S-mode. */
        PTE root, 2, _start, V | R | W | X | A | D
        PTE root, 1, middle, V
        PTE middle, 0, low, V
        SPACE root, 1

        CASE 1                                  /* A page and its neighbour that is not there. */
        PTE low, 0, page_a, V | R | W | A | D
        ENTER   1
        li      s0, WINDOW
        ld      a0, 8(s0)
        EXPECT  a0, 0xa
        li      s1, WINDOW + 0x1000
        TRAPS   LOAD_PAGE_FAULT, ld a0, 16(s1)
        EXPECT  s9, WINDOW + 0x1010
        ENTER   1
        TRAPS   STORE_PAGE_FAULT, sd a0, 16(s1)
        ENTER   1
        la      s11, 1f
        jr      s0
1:      EXPECT  s8, FETCH_PAGE_FAULT
        EXPECT  s9, WINDOW
        EXPECT  s10, WINDOW
        ENTER   1
        addi    s1, s1, -4                      /* Across into the page that is not there. */
        TRAPS   LOAD_PAGE_FAULT, ld a0, 0(s1)

        CASE 2                                  /* Rights: read-only, execute-only with and without MXR, user pages. */
        PTE low, 0, page_a, V | R | A | D
        sfence.vma
        ENTER   1
        ld      a0, 8(s0)
        TRAPS   STORE_PAGE_FAULT, sd a0, 8(s0)
        ENTER   1
        TRAPS   STORE_PAGE_FAULT, amoadd.d a0, a0, 0(s0)
        PTE low, 0, page_a, V | X | A | D
        sfence.vma
        ENTER   1
        TRAPS   LOAD_PAGE_FAULT, ld a0, 8(s0)
        li      a1, MSTATUS_MXR
        csrs    mstatus, a1
        ENTER   1
        ld      a0, 8(s0)
        EXPECT  a0, 0xa
        LEAVE   ECALL_S
        li      a1, MSTATUS_MXR
        csrc    mstatus, a1
        ENTER   1
        TRAPS   LOAD_PAGE_FAULT, ld a0, 8(s0)
        PTE low, 0, page_a, V | R | W | U | A | D
        sfence.vma
        ENTER   1
        TRAPS   LOAD_PAGE_FAULT, ld a0, 8(s0)
        li      a1, MSTATUS_SUM
        csrs    mstatus, a1
        ENTER   1
        ld      a0, 8(s0)
        EXPECT  a0, 0xa
        LEAVE   ECALL_S
        PTE low, 0, page_a, V | R | W | X | U | A | D
        sfence.vma
        ENTER   1                               /* SUM lets no code run. */
        la      s11, 1f
        jr      s0
1:      EXPECT  s8, FETCH_PAGE_FAULT
        li      a1, MSTATUS_SUM
        csrc    mstatus, a1

        CASE 3                                  /* U-mode runs a user page and may touch no other. */
        la      t0, page_a
        la      t1, user_code
        lwu     t2, 0(t1)
        sw      t2, 256(t0)
        lwu     t2, 4(t1)
        sw      t2, 260(t0)
        li      t6, MSTATUS_MPP
        csrc    mstatus, t6
        li      a0, WINDOW + 256
        csrw    mepc, a0
        li      s2, WINDOW
        la      s11, 1f
        mret
1:      EXPECT  s8, ECALL_U
        EXPECT  s10, WINDOW + 260
        EXPECT  a1, 0xa
        la      s2, page_a
        li      a0, WINDOW + 256
        csrw    mepc, a0
        li      t6, MSTATUS_MPP
        csrc    mstatus, t6
        la      s11, 1f
        mret
1:      EXPECT  s8, LOAD_PAGE_FAULT
        la      t0, page_a + 8
        bne     s9, t0, fail

        CASE 4                                  /* Encodings that are not: write-only, reserved, misaligned large. */
        .macro BAD flags
        PTE low, 0, page_a, \flags
        sfence.vma
        ENTER   1
        TRAPS   LOAD_PAGE_FAULT, ld a0, 8(s0)
        .endm
        BAD     V | W | A | D
        BAD     V | W | X | A | D
        BAD     R | W | A | D
        BAD     V | A | D
        BAD     V | R | W | A | D | 1 << 54
        BAD     V | R | W | A | D | 3 << 61
        BAD     V | R | W | A | D | 1 << 61
        PTE root, 1, page_a, V | R | W | A | D
        sfence.vma
        ENTER   1
        TRAPS   LOAD_PAGE_FAULT, ld a0, 8(s0)
        PTE root, 1, middle, V

        CASE 5                                  /* Without hardware updates, clear bits fault (Svade). */
        csrw    0x30a, x0
        BAD     V | R | W | D
        PTE low, 0, page_a, V | R | W | A
        sfence.vma
        ENTER   1
        ld      a0, 8(s0)
        TRAPS   STORE_PAGE_FAULT, sd a0, 8(s0)

        CASE 6                                  /* With them, bits are set as needed (Svadu). */
        li      a0, 1 << 61
        csrw    0x30a, a0
        PTE low, 0, page_a, V | R | W
        sfence.vma
        ENTER   1
        ld      a0, 8(s0)
        la      a1, low
        ld      a2, 0(a1)
        andi    a2, a2, A | D
        EXPECT  a2, A
        sd      a0, 8(s0)
        ld      a2, 0(a1)
        andi    a2, a2, A | D
        EXPECT  a2, A | D
        LEAVE   ECALL_S
        PTE low, 0, page_a, V | R
        sfence.vma
        ENTER   1
        TRAPS   STORE_PAGE_FAULT, sd a0, 8(s0)
        la      a1, low
        ld      a2, 0(a1)
        andi    a2, a2, A | D                   /* A store that is not allowed sets nothing. */
        bnez    a2, fail
        csrw    0x30a, x0

        CASE 7                                  /* Two-megabyte pages. */
        PTE middle, 1, _start, V | R | A | D
        sfence.vma
        ENTER   1
        li      a0, WINDOW + 0x200000
        la      a1, page_b
        li      a2, 0x80000000
        sub     a2, a1, a2
        add     a0, a0, a2
        ld      a0, 8(a0)
        EXPECT  a0, 0xb
        LEAVE   ECALL_S

        CASE 8                                  /* 64 KiB of one entry (Svnapot), and its only legal encoding. */
        la      t0, napot
        srli    t0, t0, 12
        ori     t0, t0, 8
        slli    t0, t0, 10
        li      t1, 1 << 63 | V | R | W | A | D
        or      t0, t0, t1
        la      t1, low + 16 * 8
        .set    i, 0
        .rept   16
        sd      t0, i(t1)
        .set    i, i + 8
        .endr
        sfence.vma
        ENTER   1
        li      a0, WINDOW + 0x10000 + 0x9000
        ld      a1, 8(a0)
        EXPECT  a1, 0xc
        LEAVE   ECALL_S
        la      t1, low + 25 * 8
        li      t2, 4 << 10
        xor     t0, t0, t2
        sd      t0, 0(t1)
        sfence.vma
        ENTER   1
        li      a0, WINDOW + 0x10000 + 0x9000
        TRAPS   LOAD_PAGE_FAULT, ld a1, 8(a0)

        CASE 9                                  /* A changed entry is seen behind a fence of its address. */
        PTE low, 0, page_a, V | R | W | A | D
        sfence.vma
        ENTER   1
        ld      a0, 8(s0)
        EXPECT  a0, 0xa
        PTE low, 0, page_b, V | R | W | A | D
        sfence.vma s0
        ld      a0, 8(s0)
        EXPECT  a0, 0xb
        PTE low, 0, page_a, V | R | W | A | D
        sfence.w.inval
        sinval.vma s0, x0
        sfence.inval.ir
        ld      a0, 8(s0)
        EXPECT  a0, 0xa

        CASE 10                                 /* Address spaces keep theirs; a fence names one or all. */
        PTE root2, 2, _start, V | R | W | X | A | D
        PTE root2, 1, middle2, V
        PTE middle2, 0, low2, V
        PTE low2, 0, page_b, V | R | W | A | D
        .rept   3
        SPACE   root2, 2
        ld      a0, 8(s0)
        EXPECT  a0, 0xb
        SPACE   root, 1
        ld      a0, 8(s0)
        EXPECT  a0, 0xa
        .endr
        PTE low2, 0, page_a, V | R | W | A | D
        li      a1, 2
        sfence.vma x0, a1
        SPACE   root2, 2
        ld      a0, 8(s0)
        EXPECT  a0, 0xa
        SPACE   root, 1
        PTE low2, 0, page_b, V | R | W | A | D
        sfence.vma s0
        SPACE   root2, 2
        ld      a0, 8(s0)
        EXPECT  a0, 0xb
        SPACE   root, 1
        LEAVE   ECALL_S

        CASE 11                                 /* MPRV: M-mode's loads and stores with the rights of MPP. */
        li      t6, MSTATUS_MPP
        csrc    mstatus, t6
        li      t6, MSTATUS_MPP_S | MSTATUS_MPRV
        csrs    mstatus, t6
        ld      a0, 8(s0)
        TRAPS   LOAD_PAGE_FAULT, ld a1, 8(s1)
        li      t6, MSTATUS_MPRV
        csrc    mstatus, t6
        EXPECT  a0, 0xa

        CASE 12                                 /* Addresses that are not sign-extended. */
        ENTER   1
        li      a1, 1 << 39
        TRAPS   LOAD_PAGE_FAULT, ld a0, 0(a1)
        ENTER   1
        li      a1, 1 << 63 | WINDOW
        TRAPS   LOAD_PAGE_FAULT, ld a0, 0(a1)
        EXPECT  s9, 1 << 63 | WINDOW

        CASE 13                                 /* A table where nothing answers is an access fault. */
        PTE middle, 2, 0x4000, V
        sfence.vma
        ENTER   1
        li      a1, WINDOW + 0x400000
        TRAPS   LOAD_FAULT, ld a0, 0(a1)
        ENTER   1
        li      a1, WINDOW + 0x400000
        TRAPS   STORE_FAULT, sd a0, 0(a1)

        CASE 14                                 /* A store across two pages writes both or nothing. */
        PTE low, 0, page_a, V | R | W | A | D
        PTE low, 1, page_b, V | R | A | D
        sfence.vma
        ENTER   1
        li      s1, WINDOW + 0x1000 - 4
        ld      s2, 0(s1)
        TRAPS   STORE_PAGE_FAULT, sd x0, 0(s1)
        EXPECT  s9, WINDOW + 0x1000
        ENTER   1
        ld      a0, 0(s1)
        bne     a0, s2, fail
        beqz    a0, fail
        LEAVE   ECALL_S
        j       pass

user_code:
        ld      a1, 8(s2)
        ecall

        .data
        .align  12
root:   .zero   4096
middle: .zero   4096
low:    .zero   4096
root2:  .zero   4096
middle2: .zero  4096
low2:   .zero   4096
page_a: .dword  0, 0xa
        .zero   4096 - 24
        .dword  0x0123456789abcdef
page_b: .dword  0x1111111122222222, 0xb
        .zero   4096 - 16
        .align  16
napot:  .zero   0x9008
        .dword  0xc
        .zero   0x6ff0

/* Sv48: four levels, a page of 512 GiB, and the switch between modes. */
#define MODE 9
#include "paging.h"

#define FAR (3 << 39 | 5 << 30 | 6 << 21 | 7 << 12)

test:
        /* The first 512 GiB are mapped to themselves by one entry; FAR by four levels. */
        PTE root, 0, 0, V | R | W | X | A | D
        PTE root, 3, second, V
        PTE second, 5, third, V
        PTE third, 6, fourth, V
        PTE fourth, 7, page, V | R | W | A | D
        SPACE   root, 0
        csrr    a0, satp
        srli    a0, a0, 60
        EXPECT  a0, 9

        CASE 1
        ENTER   1
        li      s0, FAR
        ld      a0, 0(s0)
        EXPECT  a0, 0xd
        li      a1, 0x1e
        sd      a1, 0(s0)
        la      a2, page
        ld      a0, 0(a2)
        EXPECT  a0, 0x1e

        CASE 2                                  /* 48 bits are sign-extended, not 39. */
        li      a0, FAR | 1 << 47
        TRAPS   LOAD_PAGE_FAULT, ld a1, 0(a0)
        ENTER   1
        li      a0, 0xffff800000000000
        TRAPS   LOAD_PAGE_FAULT, ld a1, 0(a0)
        PTE root, 256, second, V
        sfence.vma
        ENTER   1
        li      a0, 0xffff800000000000 | 5 << 30 | 6 << 21 | 7 << 12
        ld      a1, 0(a0)
        EXPECT  a1, 0x1e

        CASE 3                                  /* A leaf of the first level must be aligned. */
        LEAVE   ECALL_S
        PTE root, 4, _start, V | R | A | D
        sfence.vma
        ENTER   1
        li      a0, 4 << 39
        TRAPS   LOAD_PAGE_FAULT, ld a1, 0(a0)

        CASE 4                                  /* A gigabyte page below it. */
        PTE second, 6, _start, V | R | A | D
        sfence.vma
        ENTER   1
        li      a0, 3 << 39 | 6 << 30
        la      a1, page
        li      a2, 0x80000000
        sub     a1, a1, a2
        add     a0, a0, a1
        ld      a0, 0(a0)
        EXPECT  a0, 0x1e

        CASE 5                                  /* Non-leaf entries with A, D or U are reserved. */
        LEAVE   ECALL_S
        PTE third, 6, fourth, V | A
        sfence.vma
        ENTER   1
        TRAPS   LOAD_PAGE_FAULT, ld a1, 0(s0)
        PTE third, 6, fourth, V | U
        sfence.vma
        ENTER   1
        TRAPS   LOAD_PAGE_FAULT, ld a1, 0(s0)

        CASE 6                                  /* Sv57 is not there: the write changes nothing. */
        csrr    a0, satp
        li      a1, 10 << 60
        csrw    satp, a1
        csrr    a2, satp
        bne     a0, a2, fail

        CASE 7                                  /* Bare again. */
        csrw    satp, x0
        sfence.vma
        ENTER   1
        la      a0, page
        ld      a0, 0(a0)
        EXPECT  a0, 0x1e
        TRAPS   LOAD_FAULT, ld a1, 0(s0)
        j       pass

        .data
        .align  12
root:   .zero   4096
second: .zero   4096
third:  .zero   4096
fourth: .zero   4096
page:   .dword  0xd

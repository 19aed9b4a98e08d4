/* Loads and stores: sign, width, misaligned, across a page, and where nothing answers. */
#include "suite.h"

test:
        la      s0, bytes
        CASE 1
        lb      a0, 0(s0)
        EXPECT  a0, -128
        lbu     a0, 0(s0)
        EXPECT  a0, 128
        lh      a0, 0(s0)
        EXPECT  a0, 0xffffffffffff8180
        lhu     a0, 0(s0)
        EXPECT  a0, 0x8180
        lw      a0, 0(s0)
        EXPECT  a0, 0xffffffff83828180
        lwu     a0, 0(s0)
        EXPECT  a0, 0x83828180
        ld      a0, 0(s0)
        EXPECT  a0, 0x8786858483828180

        CASE 2                                  /* Misaligned within a page. */
        lh      a0, 1(s0)
        EXPECT  a0, 0xffffffffffff8281
        lwu     a0, 3(s0)
        EXPECT  a0, 0x86858483
        ld      a0, 7(s0)
        EXPECT  a0, 0x8e8d8c8b8a898887

        CASE 3                                  /* Negative offsets. */
        addi    s1, s0, 16
        lbu     a0, -16(s1)
        EXPECT  a0, 0x80

        CASE 4                                  /* Stores write their width and no more. */
        la      s1, page + 64
        li      a1, -1
        sd      a1, 0(s1)
        sd      a1, 8(s1)
        li      a2, 0x1122334455667788
        sb      a2, 0(s1)
        sh      a2, 2(s1)
        sw      a2, 4(s1)
        ld      a0, 0(s1)
        EXPECT  a0, 0x556677887788ff88
        sd      a2, 3(s1)
        ld      a0, 0(s1)
        EXPECT  a0, 0x445566778888ff88
        ld      a0, 8(s1)
        EXPECT  a0, 0xffffffffff112233

        CASE 5                                  /* Across a page, every split of eight bytes. */
        la      s1, page + 4096 - 8
        li      a2, 0x0123456789abcdef
        .rept   9
        sd      x0, 0(s1)
        sd      a2, 0(s1)
        ld      a0, 0(s1)
        bne     a0, a2, fail
        lwu     a0, 4(s1)
        EXPECT  a0, 0x01234567
        lhu     a0, 3(s1)
        EXPECT  a0, 0x6789
        addi    s1, s1, 1
        .endr

        CASE 6                                  /* Where nothing answers, with the address in mtval. */
        li      s1, 0x4000
        TRAPS   LOAD_FAULT, ld a0, 8(s1)
        EXPECT  s9, 0x4008
        TRAPS   STORE_FAULT, sb a0, 1(s1)
        EXPECT  s9, 0x4001

        CASE 7                                  /* A faulting load changes no register, not even its own base. */
        li      a0, 0x4000
        TRAPS   LOAD_FAULT, lw a0, 0(a0)
        EXPECT  a0, 0x4000

        CASE 8                                  /* A store across the end of a readable stretch writes nothing. */
        la      s1, page
        ld      s2, 0(s1)
        li      s3, 0x80000000
        TRAPS   LOAD_FAULT, ld a0, -4(s3)
        TRAPS   STORE_FAULT, sd x0, -4(s3)
        lwu     a0, 0(s3)
        la      s4, _start
        lwu     a1, 0(s4)
        bne     a0, a1, fail
        beqz    a0, fail
        j       pass

        .data
        .align  4
bytes:  .byte   0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f
        .align  12
page:   .zero   8192

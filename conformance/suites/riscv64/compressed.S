/* C: what the compressed forms expand to, and code that is only 2-byte aligned. */
#include "suite.h"

test:
        la      s0, area
        .option push
        .option arch, +c
        .option rvc
        CASE 1
        c.li    a0, -32
        EXPECT  a0, -32
        c.addi  a0, 31
        EXPECT  a0, -1
        c.addiw a0, 0
        EXPECT  a0, -1
        c.lui   a0, 0xfffe0
        EXPECT  a0, 0xfffffffffffe0000

        CASE 2
        li      a0, 0x80000000
        c.addiw a0, 0
        EXPECT  a0, 0xffffffff80000000
        c.srli  a0, 32
        EXPECT  a0, 0xffffffff
        c.slli  a0, 63
        EXPECT  a0, 0x8000000000000000
        c.srai  a0, 63
        EXPECT  a0, -1
        c.andi  a0, 15
        EXPECT  a0, 15

        CASE 3
        li      a0, 12
        li      a1, 10
        c.sub   a0, a1
        EXPECT  a0, 2
        c.or    a0, a1
        EXPECT  a0, 10
        c.xor   a0, a1
        EXPECT  a0, 0
        c.add   a0, a1
        EXPECT  a0, 10
        c.and   a0, a1
        EXPECT  a0, 10
        li      a1, 0x7fffffff
        c.addw  a0, a1
        EXPECT  a0, 0xffffffff80000009
        c.subw  a0, a1
        EXPECT  a0, 10
        c.mv    a2, a0
        EXPECT  a2, 10

        CASE 4                                  /* Memory, through a0 and through sp. */
        mv      a3, s0
        li      a4, 0x8877665544332211
        c.sd    a4, 248(a3)
        c.ld    a5, 248(a3)
        EXPECT  a5, 0x8877665544332211
        c.lw    a5, 124(a3)
        EXPECT  a5, 0
        c.sw    a4, 124(a3)
        c.lw    a5, 124(a3)
        EXPECT  a5, 0x44332211
        mv      sp, s0
        c.sdsp  a4, 504(sp)
        c.ldsp  a5, 504(sp)
        EXPECT  a5, 0x8877665544332211
        c.swsp  a4, 252(sp)
        c.lwsp  a5, 252(sp)
        EXPECT  a5, 0x44332211
        c.addi16sp sp, -512
        sub     a5, s0, sp
        EXPECT  a5, 512
        c.addi4spn a0, sp, 1020
        sub     a5, a0, sp
        EXPECT  a5, 1020
        c.fsd   fa0, 0(a3)
        c.fld   fa1, 0(a3)

        CASE 5                                  /* Jumps link behind two bytes. */
        la      a0, 1f
2:      c.jalr  a0
        j       fail
1:      la      a1, 2b + 2
        bne     ra, a1, fail
        c.j     1f
        j       fail
1:      la      a0, 1f
        c.jr    a0
        j       fail
1:      li      a0, 0
        c.beqz  a0, 1f
        j       fail
1:      c.bnez  a0, fail_near
        j       1f
fail_near:
        j       fail
1:
        CASE 6                                  /* Every place of a four-byte instruction across a page. */
        la      a0, crossing
        c.jalr  a0
        EXPECT  a1, 0x12345
        .option pop

        CASE 7                                  /* Reserved encodings are illegal, with their 16 bits in mtval. */
        TRAPS   ILLEGAL, .half 0x8002
        EXPECT  s9, 0x8002
        TRAPS   ILLEGAL, .half 0x2001
        EXPECT  s9, 0x2001
        TRAPS   ILLEGAL, .half 0x6101
        EXPECT  s9, 0x6101
        TRAPS   BREAKPOINT, .half 0x9002
        j       pass

        .data
        .align  4
area:   .zero   1024

        .text
        .option arch, +c
        .option rvc
        .align  12
        .zero   4096 - 2
crossing:
        .option norvc
        lui     a1, 0x12
        addi    a1, a1, 0x345
        .option rvc
        ret

/* RV64I: arithmetic, shifts, comparisons, jumps and branches at their edges. */
#include "suite.h"

test:
        RR 1, add, 0, -1, 1
        RR 2, add, 0x8000000000000000, 0x7fffffffffffffff, 1
        RR 3, addw, 0xffffffff80000000, 0x7fffffff, 1
        RR 4, addw, 0, 0xffffffff, 0xdeadbeef00000001
        RR 5, sub, -1, 0, 1
        RR 6, subw, 0x7fffffff, 0xffffffff80000000, 1
        RI 7, addi, -2049, -1, -2048
        RI 8, addiw, 0xffffffff80000000, 0x7fffffff, 1
        RI 9, addiw, 0x12345678, 0xabcd000012345678, 0
        RR 10, sll, 0x8000000000000000, 1, 63
        RR 11, sll, 2, 1, 65
        RR 12, sllw, 0xffffffff80000000, 1, 31
        RR 13, sllw, 2, 1, 33
        RR 14, srl, 1, 0x8000000000000000, 63
        RR 15, srlw, 1, 0xffffffff80000000, 31
        RR 16, sra, -1, 0x8000000000000000, 63
        RR 17, sraw, -1, 0x80000000, 31
        RI 18, srai, 0xfffffffff8000000, 0x8000000000000000, 36
        RI 19, srliw, 0x0fffffff, 0xffffffffffffffff, 4
        RI 20, sraiw, 0xfffffffff8000000, 0x80000000, 4
        RI 21, srliw, 0xffffffff80000000, 0x80000000, 0
        RR 22, slt, 1, -1, 0
        RR 23, sltu, 0, -1, 0
        RI 24, sltiu, 1, 5, -1
        RI 25, slti, 0, 5, -1
        RI 26, xori, -1, 0, -1
        RI 27, andi, 0xfffffffffffff800, -1, -2048
        RR 28, or, 0xff00ff00ff, 0xff000000ff, 0x0000ff0000

        CASE 30                                 /* LUI sign-extends, AUIPC is relative to itself. */
        lui     a0, 0x80000
        EXPECT  a0, 0xffffffff80000000
1:      auipc   a0, 0x1
        la      a1, 1b + 0x1000
        bne     a0, a1, fail

        CASE 31                                 /* x0 stays zero. */
        addi    x0, x0, 5
        bnez    x0, fail
        lui     x0, 5
        bnez    x0, fail

        CASE 32                                 /* JALR drops bit 0 and reads its base before writing its link. */
        la      t0, 1f + 1
        jalr    t0, 0(t0)
        j       fail
1:      la      t1, 1b - 4
        bne     t0, t1, fail

        CASE 33                                 /* JAL links. */
        jal     t0, 1f
2:      j       fail
1:      la      t1, 2b
        bne     t0, t1, fail

        CASE 34                                 /* Branches, taken and not. */
        li      a0, -1
        li      a1, 1
        beq     a0, a1, fail
        bne     a0, a0, fail
        blt     a1, a0, fail
        bge     a0, a1, fail
        bltu    a0, a1, fail
        bgeu    a1, a0, fail
        blt     a0, a1, 1f
        j       fail
1:      bltu    a1, a0, 1f
        j       fail
1:      bge     a1, a1, 1f
        j       fail
1:      bgeu    a0, a0, 1f
        j       fail
1:
        CASE 35                                 /* A loop over a backward branch. */
        li      a0, 0
        li      a1, 100
1:      add     a0, a0, a1
        addi    a1, a1, -1
        bnez    a1, 1b
        EXPECT  a0, 5050

        CASE 36                                 /* All zeros and all ones are illegal, with their bits in mtval. */
        TRAPS   ILLEGAL, .word 0xffffffff
        EXPECT  s9, 0xffffffff
        TRAPS   ILLEGAL, .half 0, 0
        EXPECT  s9, 0
        j       pass

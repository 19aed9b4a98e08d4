/* A program that powers the machine off instead of giving a verdict. */
        .text
        .section .text.start, "ax"
        .globl  _start
_start:
        li      t0, 0x100000
        li      t1, 0x5555
        sw      t1, 0(t0)
1:      j       1b

        .section .tohost, "aw"
        .globl  tohost
tohost: .dword  0

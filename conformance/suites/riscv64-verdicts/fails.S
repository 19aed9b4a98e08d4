/* A program whose case 42 fails. */
        .text
        .section .text.start, "ax"
        .globl  _start
_start:
        la      t0, tohost
        li      t1, 42 << 1 | 1
        sd      t1, 0(t0)
1:      j       1b

        .section .tohost, "aw"
        .globl  tohost
tohost: .dword  0

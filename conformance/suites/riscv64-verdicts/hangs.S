/* A program that never ends. */
        .text
        .section .text.start, "ax"
        .globl  _start
_start:
        j       _start

        .section .tohost, "aw"
        .globl  tohost
tohost: .dword  0

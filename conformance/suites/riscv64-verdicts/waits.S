/* A program that waits without having enabled an interrupt. */
        .text
        .section .text.start, "ax"
        .globl  _start
_start:
        csrw    mie, x0
        wfi
        j       _start

        .section .tohost, "aw"
        .globl  tohost
tohost: .dword  0

/* Interrupts of the board: timers and software interrupts of the CLINT, stimecmp, the 16550 through the PLIC, and
 * WFI. Which interrupt comes first, and who takes it. */
#include "suite.h"

#define CLINT_MSIP     0x2000000
#define CLINT_MTIMECMP 0x2004000
#define CLINT_MTIME    0x200bff8
#define PLIC           0x0c000000
#define UART           0x10000000
#define UART_IRQ       10
#define MENVCFG        0x30a
#define STIMECMP       0x14d

#define SSI (1 << 1)
#define MSI (1 << 3)
#define STI (1 << 5)
#define MTI (1 << 7)
#define SEI (1 << 9)
#define MEI (1 << 11)
#define INTERRUPT (1 << 63)

/* Waits with the enable bit on until an interrupt with this number is taken in M-mode. */
.macro TAKES number
        la      s11, .Ltaken\@
        csrsi   mstatus, MSTATUS_MIE
.Lwait\@:
        wfi
        j       .Lwait\@
.Ltaken\@:
        csrci   mstatus, MSTATUS_MIE
        EXPECT  s8, INTERRUPT | \number
.endm

test:
        csrci   mstatus, MSTATUS_MIE
        csrw    mie, x0
        li      s0, CLINT_MTIMECMP
        li      s1, CLINT_MTIME
        li      s2, CLINT_MSIP
        li      a0, -1
        sd      a0, 0(s0)

        CASE 1                                  /* The memory-mapped timer and the time register agree. */
        csrr    a0, time
        ld      a1, 0(s1)
        csrr    a2, time
        bltu    a1, a0, fail
        bltu    a2, a1, fail

        CASE 2                                  /* A timer wakes, later than it was set to, and stays pending. */
        li      a0, MTI
        csrw    mie, a0
        csrr    a0, time
        addi    a0, a0, 1000
        sd      a0, 0(s0)
        csrr    a1, mip
        andi    a1, a1, MTI
        bnez    a1, fail
        TAKES   7
        csrr    a1, time
        bltu    a1, a0, fail
        csrr    a1, mip
        andi    a1, a1, MTI
        beqz    a1, fail
        li      a0, -1
        sd      a0, 0(s0)
        csrr    a1, mip
        andi    a1, a1, MTI
        bnez    a1, fail

        CASE 3                                  /* WFI goes on behind itself if the interrupt is not enabled in mstatus. */
        csrr    a0, time
        addi    a0, a0, 500
        sd      a0, 0(s0)
        wfi
        csrr    a1, mip
        andi    a1, a1, MTI
        beqz    a1, fail
        li      a0, -1
        sd      a0, 0(s0)

        CASE 4                                  /* A busy loop is interrupted, too. */
        la      s11, 2f
        csrr    a0, time
        addi    a0, a0, 1000
        sd      a0, 0(s0)
        csrsi   mstatus, MSTATUS_MIE
1:      j       1b
2:      csrci   mstatus, MSTATUS_MIE
        EXPECT  s8, INTERRUPT | 7
        la      a0, 1b
        bne     s10, a0, fail
        li      a0, -1
        sd      a0, 0(s0)

        CASE 5                                  /* A software interrupt, taken between two instructions. */
        li      a0, MSI
        csrw    mie, a0
        li      a1, 1
        la      s11, 2f
        csrsi   mstatus, MSTATUS_MIE
        li      a0, 0
        sw      a1, 0(s2)
        .rept   64
        nop
        .endr
        j       fail
2:      csrci   mstatus, MSTATUS_MIE
        EXPECT  s8, INTERRUPT | 3
        sw      x0, 0(s2)
        csrr    a0, mip
        andi    a0, a0, MSI
        bnez    a0, fail

        CASE 6                                  /* Of two, the software interrupt comes before the timer. */
        li      a0, MSI | MTI
        csrw    mie, a0
        sw      a1, 0(s2)
        sd      x0, 0(s0)
        TAKES   3
        sw      x0, 0(s2)
        TAKES   7
        li      a0, -1
        sd      a0, 0(s0)

        CASE 7                                  /* Lower privileges are interrupted whatever mstatus.MIE says. */
        li      a0, MTI
        csrw    mie, a0
        csrr    a0, time
        addi    a0, a0, 1000
        sd      a0, 0(s0)
        la      s11, 2f
        ENTER   1
        csrci   sstatus, MSTATUS_SIE
1:      j       1b
2:      EXPECT  s8, INTERRUPT | 7
        li      a0, -1
        sd      a0, 0(s0)
        csrci   mstatus, MSTATUS_MIE

        CASE 8                                  /* stimecmp: off, then a supervisor timer that M-mode does not see. */
        csrw    MENVCFG, x0
        li      a0, 2
        csrw    mcounteren, a0
        ENTER   1
        TRAPS   ILLEGAL, csrw STIMECMP, x0
        csrci   mstatus, MSTATUS_MIE
        li      a0, 1 << 63
        csrw    MENVCFG, a0
        li      a0, -1
        csrw    STIMECMP, a0
        li      a0, STI
        csrw    mideleg, a0
        csrw    mie, a0
        la      a0, supervisor
        csrw    stvec, a0
        li      s3, 0
        ENTER   1
        csrci   sstatus, MSTATUS_SIE
        csrr    a0, time
        addi    a0, a0, 1000
        csrw    STIMECMP, a0
        wfi
        csrr    a1, time
        bltu    a1, a0, fail
        csrr    a1, sip
        andi    a1, a1, STI
        beqz    a1, fail
        bnez    s3, fail
        csrsi   sstatus, MSTATUS_SIE
        nop
        nop
        csrci   sstatus, MSTATUS_SIE
        EXPECT  s3, 1
        EXPECT  s4, INTERRUPT | 5
        csrr    a1, sip
        andi    a1, a1, STI
        bnez    a1, fail
        LEAVE   ECALL_S
        csrci   mstatus, MSTATUS_MIE
        csrw    mideleg, x0
        csrw    mie, x0

        CASE 9                                  /* A supervisor software interrupt that S-mode raises itself. */
        li      a0, SSI
        csrw    mideleg, a0
        csrw    mie, a0
        li      s3, 0
        ENTER   1
        csrsi   sstatus, MSTATUS_SIE
        csrsi   sip, SSI
        nop
        csrci   sstatus, MSTATUS_SIE
        EXPECT  s3, 1
        EXPECT  s4, INTERRUPT | 1
        LEAVE   ECALL_S
        csrci   mstatus, MSTATUS_MIE
        csrw    mideleg, x0
        csrw    mie, x0

        CASE 10                                 /* The 16550's empty transmitter, through the PLIC to M-mode. */
        li      s5, PLIC
        li      a0, 3
        sw      a0, 4 * UART_IRQ(s5)            /* Priority. */
        li      s6, PLIC + 0x2000
        li      a0, 1 << UART_IRQ
        sw      a0, 0(s6)                       /* Enabled in context 0. */
        li      s6, PLIC + 0x200000
        sw      x0, 0(s6)                       /* Threshold. */
        li      s2, UART
        li      a0, 2
        sb      a0, 1(s2)                       /* Transmitter interrupts. */
        li      a0, MEI
        csrw    mie, a0
        TAKES   11
        lw      a0, 4(s6)                       /* Claim. */
        EXPECT  a0, UART_IRQ
        lw      a1, 4(s6)
        bnez    a1, fail
        csrr    a1, mip
        li      a2, MEI
        and     a1, a1, a2
        bnez    a1, fail
        lbu     a1, 2(s2)                       /* Identify, which clears it. */
        andi    a1, a1, 15
        EXPECT  a1, 2
        sw      a0, 4(s6)                       /* Complete. */
        csrr    a1, mip
        and     a1, a1, a2
        bnez    a1, fail

        CASE 11                                 /* The threshold masks. */
        sb      x0, 1(s2)
        li      a0, 3
        sw      a0, 0(s6)
        li      a0, 2
        sb      a0, 1(s2)
        csrr    a1, mip
        and     a1, a1, a2
        bnez    a1, fail
        sw      x0, 0(s6)
        csrr    a1, mip
        and     a1, a1, a2
        beqz    a1, fail
        lw      a0, 4(s6)
        lbu     a1, 2(s2)
        sw      a0, 4(s6)
        sb      x0, 1(s2)
        csrw    mie, x0
        j       pass

        .align  2
supervisor:
        csrr    s4, scause
        addi    s3, s3, 1
        li      t5, -1
        csrw    STIMECMP, t5
        csrci   sip, SSI
        sret

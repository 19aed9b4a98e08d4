/* What every program of this suite begins with: M-mode at `_start`, all memory open to lower privileges, and a trap
 * handler that fails the running case unless the case announced its trap.
 *
 * gp holds the number of the running case. The run ends by writing 1 (pass) or 2 * number + 1 (fail) to `tohost`.
 * Macros use t3 to t6; s8 to s11 belong to the trap handler.
 */

#define MSTATUS_SIE   0x2
#define MSTATUS_MIE   0x8
#define MSTATUS_SPIE  0x20
#define MSTATUS_MPIE  0x80
#define MSTATUS_SPP   0x100
#define MSTATUS_MPP   0x1800
#define MSTATUS_MPP_S 0x800
#define MSTATUS_FS    0x6000
#define MSTATUS_MPRV  0x20000
#define MSTATUS_SUM   0x40000
#define MSTATUS_MXR   0x80000
#define MSTATUS_TVM   0x100000
#define MSTATUS_TW    0x200000
#define MSTATUS_TSR   0x400000

#define FETCH_FAULT        1
#define ILLEGAL            2
#define BREAKPOINT         3
#define LOAD_MISALIGNED    4
#define LOAD_FAULT         5
#define STORE_MISALIGNED   6
#define STORE_FAULT        7
#define ECALL_U            8
#define ECALL_S            9
#define ECALL_M            11
#define FETCH_PAGE_FAULT   12
#define LOAD_PAGE_FAULT    13
#define STORE_PAGE_FAULT   15

        .option arch, +zba, +zbb, +zbc, +zbs, +zicbom, +zicboz, +zifencei, +zicsr, +svinval
        .option norvc
        .option norelax
        .option nopic

/* Starts case `number`. */
.macro CASE number
        li      gp, \number
.endm

/* The register must hold the value. */
.macro EXPECT register, value
        li      t6, \value
        bne     \register, t6, fail
.endm

/* One case: an instruction of two source registers. */
.macro RR number, op, result, a, b
        CASE    \number
        li      a1, \a
        li      a2, \b
        \op     a0, a1, a2
        EXPECT  a0, \result
.endm

/* One case: an instruction of a source register and an immediate. */
.macro RI number, op, result, a, imm
        CASE    \number
        li      a1, \a
        \op     a0, a1, \imm
        EXPECT  a0, \result
.endm

/* One case: an instruction of one source register. */
.macro R1 number, op, result, a
        CASE    \number
        li      a1, \a
        \op     a0, a1
        EXPECT  a0, \result
.endm

/* The instruction must trap to M-mode with this cause; execution goes on behind it in M-mode. Then s8, s9 and s10
 * hold mcause, mtval and mepc, and s7 the mstatus of the handler. */
.macro TRAPS cause, insn:vararg
        la      s11, .Lafter\@
.Lhere\@:
        \insn
        j       fail
.Lafter\@:
        EXPECT  s8, \cause
        la      t6, .Lhere\@
        bne     s10, t6, fail
.endm

/* Goes on behind the macro in U-mode (0) or S-mode (1). */
.macro ENTER privilege
        li      t6, MSTATUS_MPP
        csrc    mstatus, t6
        li      t6, \privilege << 11
        csrs    mstatus, t6
        la      t6, .Lenter\@
        csrw    mepc, t6
        mret
.Lenter\@:
.endm

/* Goes back from U-mode (8) or S-mode (9) to M-mode; the number is the cause of the call. */
.macro LEAVE cause
        TRAPS   \cause, ecall
.endm

/* Writes a page table entry: `table`[index] leads to `target`, an address or a label. */
.macro PTE table, index, target, flags
        la      t5, \target
        srli    t5, t5, 12
        slli    t5, t5, 10
        li      t6, \flags
        or      t5, t5, t6
        la      t6, \table + 8 * (\index)
        sd      t5, 0(t6)
.endm

        .section .text.start
        .globl  _start
_start:
        la      t0, trap
        csrw    mtvec, t0
        /* One PMP entry over everything. */
        li      t0, -1
        csrw    pmpaddr0, t0
        li      t0, 0x1f
        csrw    pmpcfg0, t0
        li      t0, MSTATUS_FS
        csrs    mstatus, t0
        li      gp, 0
        li      s11, 0
        j       test

        .align  6
trap:
        csrr    s8, mcause
        csrr    s9, mtval
        csrr    s10, mepc
        csrr    s7, mstatus
        beqz    s11, fail
        csrw    mepc, s11
        li      s11, 0
        li      t6, MSTATUS_MPP
        csrs    mstatus, t6
        bgez    s8, 1f
        li      t6, MSTATUS_MPIE                /* An interrupt still pends: M-mode goes on without interrupts. */
        csrc    mstatus, t6
1:      mret

/* Below M-mode the first instruction traps, and the handler comes here again in M-mode. */
        .globl  fail
fail:
        csrw    mscratch, gp
        slli    a0, gp, 1
        ori     a0, a0, 1
        j       finish
pass:
        li      a0, 1
finish:
        la      t0, tohost
        sd      a0, 0(t0)
        j       finish

        .section .tohost, "aw"
        .align  6
        .globl  tohost
tohost: .dword  0
        .align  6
        .globl  fromhost
fromhost: .dword 0

        .text

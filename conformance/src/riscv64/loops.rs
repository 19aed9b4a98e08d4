//! Loops without an end whose speed and code are measured.

/// The loops, by what they are made of: a line an instruction.
pub const LOOPS: [(&str, &str); 6] = [
    (
        "integer",
        "lui a1, 0x12345
         loop: slli a2, a1, 13
         xor a1, a1, a2
         srli a2, a1, 7
         xor a1, a1, a2
         slli a2, a1, 17
         xor a1, a1, a2
         add a0, a0, a1
         addi t0, t0, 1
         bne t0, zero, loop",
    ),
    (
        // Bytes of a table are counted by value: loads, stores, a branch that is hard to predict.
        "memory",
        "auipc s0, 0x100
         outer: addi t0, zero, 1024
         addi s1, s0, 0
         loop: lbu a1, 0(s1)
         sh3add a2, a1, s0
         ld a3, 1024(a2)
         addi a3, a3, 1
         sd a3, 1024(a2)
         sb a3, 0(s1)
         andi a4, a3, 4
         beq a4, zero, even
         addi a5, a5, 1
         even: addi s1, s1, 1
         addi t0, t0, -1
         bne t0, zero, loop
         jal zero, outer",
    ),
    (
        "calls",
        "auipc sp, 0x100
         loop: jal ra, f
         addi a0, a0, 1
         jal ra, f
         jal zero, loop
         f: addi sp, sp, -16
         sd ra, 8(sp)
         sd s0, 0(sp)
         addi s0, a0, 3
         add a1, a1, s0
         ld s0, 0(sp)
         ld ra, 8(sp)
         addi sp, sp, 16
         jalr zero, 0(ra)",
    ),
    (
        "multiply_divide",
        "addi a1, zero, 1000
         addi a2, zero, 7
         loop: mul a3, a1, a2
         mulhu a4, a3, a3
         addi a3, a3, 13
         divu a4, a3, a2
         remu a5, a3, a1
         addiw a1, a1, 1
         bne a1, zero, loop",
    ),
    (
        "double",
        "fli.d fa1, 1.5
         fli.d fa2, 0.75
         loop: fmadd.d fa0, fa1, fa2, fa0
         fmul.d fa3, fa1, fa2
         fadd.d fa4, fa3, fa2
         fsub.d fa5, fa4, fa1
         flt.d a0, fa5, fa1
         addi a1, a1, 1
         bne a1, zero, loop",
    ),
    (
        // From memory and back: boxes are made and known.
        "single",
        "auipc s0, 0x100
         fli.s fa1, 1.5
         fli.s fa2, 0.75
         loop: flw fa3, 0(s0)
         fmul.s fa3, fa3, fa1
         fsub.s fa4, fa3, fa2
         fdiv.s fa5, fa4, fa1
         fmin.s fa0, fa5, fa2
         fcvt.w.s a0, fa0, rtz
         fsw fa0, 4(s0)
         addi a1, a1, 1
         bne a1, zero, loop",
    ),
];

//! The compact form of a decoded instruction: what lifts read. Everything that depends on prefixes, operand size or
//! addressing form is resolved here; nothing of the decoding library is left.

use super::regs;
use c2w_engine::addr::Width;
use c2w_engine::emit::Slot;

/// What an instruction does. Operand sizes and forms are in its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum Op {
    Adc,
    Add,
    And,
    Call,
    Cmp,
    Dec,
    /// IMUL with two or three operands.
    Imul,
    /// IMUL with one operand.
    ImulWide,
    Inc,
    Jcc,
    Jmp,
    Lea,
    Mov,
    Movsx,
    Movzx,
    Nop,
    Or,
    Pop,
    Push,
    Ret,
    Sar,
    Sbb,
    Shl,
    Shr,
    Sub,
    Test,
    Xor,
    /// Nothing that is known.
    Undefined,
}

/// An operand. Memory and immediates are those of the [`Insn`], which has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// There is none.
    None,
    /// The low bits of a general register.
    Register {
        /// Its slot.
        slot: Slot,
        /// How many.
        w: Width,
    },
    /// AH, CH, DH or BH: bits 8 to 15 of a general register.
    HighByte(Slot),
    /// Memory of this width.
    Memory(Width),
    /// The immediate.
    Immediate,
    /// Code `imm` bytes from the start of the instruction.
    Relative,
}

/// A memory operand: segment base + truncated (base + index * scale + displacement).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Slot, or [`regs::NONE`].
    pub base: Slot,
    /// Slot, or [`regs::NONE`].
    pub index: Slot,
    /// Shift of the index, 0 to 3.
    pub scale: u8,
    /// Slot of the segment's base address, or [`regs::NONE`] if that is zero.
    pub segment: Slot,
    /// Address size.
    pub address_width: Width,
    /// The displacement counts from the start of this instruction.
    pub rip_relative: bool,
    /// Sign-extended.
    pub displacement: i64,
}

impl Memory {
    /// No memory operand.
    pub const NONE: Self = Self {
        base: regs::NONE,
        index: regs::NONE,
        scale: 0,
        segment: regs::NONE,
        address_width: Width::W64,
        rip_relative: false,
        displacement: 0,
    };
}

/// A condition code as encodings number them: the low bit negates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(pub u8);

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// What it does.
    pub op: Op,
    /// The operands, destination first.
    pub operands: [Operand; 3],
    /// Operand size; for stack operations what is pushed or popped.
    pub w: Width,
    /// Length of the encoding in bytes, at most 15.
    pub len_bytes: u8,
    /// For conditional instructions.
    pub condition: Condition,
    /// The memory operand.
    pub memory: Memory,
    /// The immediate, sign-extended; for [`Operand::Relative`] a displacement.
    pub imm: i64,
}

// Cached code is an array of these.
const _: () = assert!(size_of::<Insn>() <= 40);

impl Insn {
    /// An instruction without operands.
    pub const fn new(op: Op, len_bytes: u8) -> Self {
        Self {
            op,
            operands: [Operand::None; 3],
            w: Width::W64,
            len_bytes,
            condition: Condition(0),
            memory: Memory::NONE,
            imm: 0,
        }
    }
}

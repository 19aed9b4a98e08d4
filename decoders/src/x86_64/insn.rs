//! The compact form of a decoded instruction: what lifts read. Everything that depends on prefixes, operand size or
//! addressing form is resolved here; nothing of the decoding library is left.

use super::regs;
use bitflags::bitflags;
use c2w_engine::addr::Width;
use c2w_engine::emit::Slot;

pub use super::decode::float::FloatOp;
pub use super::decode::integer::IntegerOp;
pub use super::decode::system::SystemOp;
pub use super::decode::vector::VectorOp;
pub use super::decode::x87::{StackOp, X87Op};

/// What an instruction does. Operand sizes and forms are in its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Integer, string and near control transfer instructions.
    Integer(IntegerOp),
    /// Moves, integer and bitwise operations on MMX and vector registers, and cryptography.
    Vector(VectorOp),
    /// Floating-point arithmetic, comparison and conversion on vector registers.
    Float(FloatOp),
    /// x87.
    X87(X87Op),
    /// Privileged and far instructions, and those that read or write system state.
    System(SystemOp),
    /// Raises the exception whose [`c2w_engine::guest::TrapCause`] is the immediate.
    Raise,
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
    /// Memory of this many bytes, if that is no [`Width`]: vectors, 80-bit numbers, state areas. 0 for areas whose size
    /// depends on the state, and for 512 bytes and more.
    WideMemory(u8),
    /// A vector register: its first slot.
    Vector(Slot),
    /// An MMX register: its slot.
    Mmx(Slot),
    /// ST(n), by n.
    Stack(u8),
    /// A segment, control or debug register, by number.
    Numbered(u8),
    /// The immediate.
    Immediate,
    /// Code `imm` bytes from the start of the instruction.
    Relative,
}

/// What is checked when a segment is accessed that does not allow everything (SDM 3A 5.3 and 5.4): whether it is
/// written, and how many bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentCheck(u8);

impl SegmentCheck {
    /// Nothing.
    pub const NONE: Self = Self(0);
    const CHECKED: u8 = 1 << 7;
    const WRITE: u8 = 1 << 6;
    /// Sizes of operands; of areas whose size depends on the state the first byte is checked.
    const SIZES: [u16; 16] = [1, 2, 4, 6, 8, 10, 14, 16, 24, 28, 32, 48, 64, 94, 108, 512];

    /// An access to `len_bytes` bytes.
    pub fn new(len_bytes: u64, write: bool) -> Self {
        let found = Self::SIZES.iter().position(|&size| u64::from(size) == len_bytes);
        Self(Self::CHECKED | if write { Self::WRITE } else { 0 } | found.unwrap_or(0) as u8)
    }

    /// Whether there is nothing to check.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The segment is written, perhaps read, too.
    pub const fn is_write(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    /// Bytes that are accessed.
    pub const fn len_bytes(self) -> u64 {
        Self::SIZES[(self.0 & 15) as usize] as u64
    }

    /// As a helper's argument.
    pub const fn number(self) -> u64 {
        self.0 as u64
    }

    /// From a helper's argument.
    pub const fn from_number(number: u64) -> Self {
        Self(number as u8)
    }
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
    /// Slot of the segment's base address, or [`regs::NONE`] if that is zero. Never none if there is a `check`.
    pub segment: Slot,
    /// Address size.
    pub address_width: Width,
    /// The displacement counts from the start of this instruction.
    pub rip_relative: bool,
    /// How accesses are checked against limit and type of the segment.
    pub check: SegmentCheck,
    /// Linear addresses are 32-bit: outside of 64-bit mode.
    pub linear_32: bool,
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
        check: SegmentCheck::NONE,
        linear_32: false,
        displacement: 0,
    };
}

/// A condition code as encodings number them: the low bit negates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition(pub u8);

bitflags! {
    /// Prefixes that change what an instruction means, and what of the mode it was decoded under lifts need.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InsnFlags: u8 {
        /// Memory is changed atomically: LOCK, and XCHG with memory.
        const LOCK = 1 << 0;
        /// REP or REPE.
        const REP = 1 << 1;
        /// REPNE.
        const REPNE = 1 << 2;
        /// CS, SS, DS or ES is not flat: accesses without a [`Memory`] (stack, strings) are checked, too.
        const SEGMENTED = 1 << 3;
        /// VEX-encoded: the rest of the destination register is cleared.
        const VEX = 1 << 4;
        /// [`super::mode::ModeBits::FLOAT_TRAPS`].
        const FLOAT_TRAPS = 1 << 5;
    }
}

/// Which operands an instruction has, if they are some that compilers use most: the interpreter has meanings compiled
/// for these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Others.
    Any,
    /// Two 64-bit registers.
    Registers64,
    /// Two 32-bit registers.
    Registers32,
    /// A 64-bit register and an immediate.
    Immediate64,
    /// A 32-bit register and an immediate.
    Immediate32,
    /// A 64-bit register and memory.
    Load64,
    /// A 32-bit register and memory.
    Load32,
    /// 64 bits of memory and a register.
    Store64,
    /// 32 bits of memory and a register.
    Store32,
}

impl Shape {
    /// The shape of an instruction.
    pub fn of(insn: &Insn) -> Self {
        use Width::{W32, W64};
        if insn.operands[2] != Operand::None || insn.flags.contains(InsnFlags::LOCK) {
            return Self::Any;
        }
        match (insn.w, insn.operands[0], insn.operands[1]) {
            (W64, Operand::Register { w: W64, .. }, Operand::Register { w: W64, .. }) => Self::Registers64,
            (W32, Operand::Register { w: W32, .. }, Operand::Register { w: W32, .. }) => Self::Registers32,
            (W64, Operand::Register { w: W64, .. }, Operand::Immediate) => Self::Immediate64,
            (W32, Operand::Register { w: W32, .. }, Operand::Immediate) => Self::Immediate32,
            (W64, Operand::Register { w: W64, .. }, Operand::Memory(W64)) => Self::Load64,
            (W32, Operand::Register { w: W32, .. }, Operand::Memory(W32)) => Self::Load32,
            (W64, Operand::Memory(W64), Operand::Register { w: W64, .. }) => Self::Store64,
            (W32, Operand::Memory(W32), Operand::Register { w: W32, .. }) => Self::Store32,
            _ => Self::Any,
        }
    }
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// What it does.
    pub op: Op,
    /// What [`Shape::of`] says of it.
    pub shape: Shape,
    /// The operands, destination first.
    pub operands: [Operand; 3],
    /// Operand size; for stack operations what is pushed or popped.
    pub w: Width,
    /// Length of the encoding in bytes, at most 15.
    pub len_bytes: u8,
    /// For conditional instructions.
    pub condition: Condition,
    /// Prefixes and mode.
    pub flags: InsnFlags,
    /// Width of the instruction pointer: the code size.
    pub ip_width: Width,
    /// Width of the stack pointer.
    pub stack_width: Width,
    /// The memory operand.
    pub memory: Memory,
    /// The immediate, sign-extended; for [`Operand::Relative`] a displacement.
    pub imm: i64,
}

// Cached code is an array of these.
const _: () = assert!(size_of::<Insn>() <= 48);

impl Insn {
    /// An instruction without operands.
    pub const fn new(op: Op, len_bytes: u8) -> Self {
        Self {
            op,
            shape: Shape::Any,
            operands: [Operand::None; 3],
            w: Width::W64,
            len_bytes,
            condition: Condition(0),
            flags: InsnFlags::empty(),
            ip_width: Width::W64,
            stack_width: Width::W64,
            memory: Memory::NONE,
            imm: 0,
        }
    }
}

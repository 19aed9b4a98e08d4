//! What an instruction set provides to the engine.
//!
//! The type that implements [`Guest`] is the guest's system state (control registers, privilege level): a plain
//! struct inside [`Cpu`]. General registers live in the vCPU's slots, where every tier reaches them.

use crate::addr::{Gpa, Gva};
use crate::cpu::Cpu;
use crate::eager::BlockEnd;
use crate::emit::{Emit, Slot};
use crate::ir::block::Block;
use crate::ir::vector::{VectorExtract, VectorInsert, VectorOp};
use crate::mem::device::Board;
use crate::mem::tlb::{Access, Translation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Number of a guest exception or interrupt, as the guest's architecture numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrapCause(pub u32);

/// A guest exception or interrupt on its way to the guest's handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Which one.
    pub cause: TrapCause,
    /// What the architecture reports with it: a faulting address, an error code, instruction bits.
    pub value: u64,
}

impl Trap {
    /// A trap with this cause and value.
    pub const fn new(cause: TrapCause, value: u64) -> Self {
        Self { cause, value }
    }
}

/// Everything besides the bytes that decoding and the meaning of code depend on: privilege, operand size, whether
/// floating point is on. Part of the key of cached code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Mode(pub u16);

/// Number of a guest helper: an index into [`Guest::HELPERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HelperId(pub u16);

/// What a helper does besides computing its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelperEffects {
    /// It may end the instruction with a trap.
    pub traps: bool,
    /// It reads registers or system state.
    pub reads_state: bool,
    /// It writes registers or system state.
    pub writes_state: bool,
    /// It reads or writes guest memory.
    pub memory: bool,
}

impl HelperEffects {
    /// A function of its arguments alone.
    pub const PURE: Self = Self { traps: false, reads_state: false, writes_state: false, memory: false };
    /// Assume everything.
    pub const ALL: Self = Self { traps: true, reads_state: true, writes_state: true, memory: true };
}

/// Name and effects of a helper.
#[derive(Clone, Copy, Debug)]
pub struct HelperInfo {
    /// Name in the IR's text form.
    pub name: &'static str,
    /// What it may do.
    pub effects: HelperEffects,
    /// What it computes, if that is something that processors have an instruction for.
    pub function: Option<HelperFunction>,
}

/// Functions of arguments alone that some processors have an instruction for: their code need not call the helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelperFunction {
    /// Of a checksum, data and a number of bytes, 1, 2, 4 or 8: the CRC-32C with so many low bytes of the data added, bits
    /// reflected, nothing inverted.
    Crc32c,
}

/// One decoded instruction.
#[derive(Clone, Copy, Debug)]
pub struct Decoded<I> {
    /// The compact form that lifts read.
    pub insn: I,
    /// Length of its encoding in bytes.
    pub len_bytes: u8,
    /// It may continue elsewhere or change the mode, translations or interrupt state.
    pub ends_block: bool,
}

/// An instruction set with its privileged architecture.
pub trait Guest: Sized + Clone + Serialize + DeserializeOwned + 'static {
    /// A decoded instruction: small and `Copy`, operands resolved.
    type Insn: Copy + Send + core::fmt::Debug + 'static;
    /// All of the machine that is not vCPU or RAM.
    type Board: Board;
    /// Number of privilege contexts that need TLBs of their own.
    const CONTEXTS: usize;
    /// Contexts in which nearly all translations are global ([`Translation::global`]): a kernel's.
    const SHARED_CONTEXTS: &'static [usize] = &[];
    /// The helpers, indexed by [`HelperId`].
    const HELPERS: &'static [HelperInfo];
    /// A pair of slots in which operations on vectors keep something inside of an instruction: between instructions it holds
    /// nothing, and no tier need agree with another on what is in it. An even number.
    const VECTOR_SCRATCH: Option<Slot> = None;

    /// The slot that says how floating-point numbers are computed with, and collects flags, in the form that the processor
    /// has if this is an x86 (MXCSR): operations that [`VectorOp::is_float`] depend on it. Lifts read it by
    /// [`Emit::float_environment`] and leave it to helpers to write it.
    const FLOAT_ENVIRONMENT: Option<Slot> = None;
    /// Slots that lifts ask [`Emit::known`] of: where code that leads to a block leaves a constant in one, the block is
    /// recorded for that constant.
    const KNOWN_SLOTS: &'static [Slot] = &[];
    /// Slots that are written much more often than read, such as those of lazy flags: not worth a register.
    const TRANSIENT_SLOTS: &'static [Slot] = &[];
    /// Slots that hold numbers below 256 only: constants are stored to them as bytes.
    const SMALL_SLOTS: &'static [Slot] = &[];

    /// Decodes the instruction at the start of `bytes`. Undefined encodings decode to an instruction that traps;
    /// `None` means that the instruction continues past the end of `bytes`.
    fn decode(bytes: &[u8], mode: Mode) -> Option<Decoded<Self::Insn>>;

    /// The meaning of an instruction.
    fn lift<E: Emit>(e: &mut E, insn: &Self::Insn) -> Result<(), E::Stop>;

    /// Runs a block by [`crate::eager::run_block`], which an implementation calls and nothing else. It is asked of the
    /// guest so that the interpreter is compiled with it, once, and not with every program that has a machine.
    fn run_block(
        cpu: &mut Cpu<Self>,
        block_pc: Gva,
        len_bytes: u64,
        insns: &[Self::Insn],
        offsets: &[u16],
    ) -> BlockEnd;

    /// Records a block by [`crate::record::record`]; a method for the same reason.
    fn record(insns: &[Self::Insn], offsets: &[u16], len_bytes: u16, known: &[(Slot, u64)]) -> Block;

    /// Runs a helper.
    fn helper(cpu: &mut Cpu<Self>, id: HelperId, args: [u64; 4]) -> Result<u64, Trap>;

    /// Runs an operation on vectors that computes with floating-point numbers ([`VectorOp::is_float`]) in the guest's
    /// environment. Recorded code has such operations only where they cannot trap.
    fn vector_float(_cpu: &mut Cpu<Self>, op: VectorOp, _imm: u8, _to: Slot, _a: Slot, _b: Slot) {
        panic!("this guest does not say {}", op.name())
    }

    /// The same of an operation that puts a number into a vector.
    fn vector_float_insert(_cpu: &mut Cpu<Self>, op: VectorInsert, _to: Slot, _value: u64) {
        panic!("this guest does not say {}", op.name())
    }

    /// The same of an operation whose result is a number.
    fn vector_float_extract(_cpu: &mut Cpu<Self>, op: VectorExtract, _a: Slot, _b: Slot) -> u64 {
        panic!("this guest does not say {}", op.name())
    }

    /// Walks the page tables for an access in `context`, setting accessed and dirty bits as the architecture says.
    fn walk(cpu: &mut Cpu<Self>, gva: Gva, access: Access, context: usize) -> Result<Translation, Trap>;

    /// Checks an access in `context` to all of `len_bytes` from `gva`, which is at `gpa`. Asked only where
    /// [`Self::walk`] said that the TLB may not keep what it found: rights that do not hold for the whole page, or
    /// bytes that a debugger watches.
    fn check_bytes(
        _cpu: &mut Cpu<Self>,
        _gva: Gva,
        _gpa: Gpa,
        _len_bytes: u64,
        _access: Access,
        _context: usize,
    ) -> Result<(), Trap> {
        Ok(())
    }

    /// The exception for a physical access that nothing answers.
    fn bus_error(gva: Gva, gpa: Gpa, access: Access) -> Trap;

    /// The exception for a misaligned atomic access, or `None` if the architecture carries it out.
    fn misaligned_atomic(gva: Gva, access: Access) -> Option<Trap>;

    /// Enters the guest's handler: `cpu.pc` is that of the trapping instruction, or of the next one for interrupts.
    fn deliver(cpu: &mut Cpu<Self>, trap: Trap);

    /// The interrupt to take now, if one is pending and enabled.
    fn interrupt(cpu: &mut Cpu<Self>) -> Option<Trap>;

    /// Whether a pending interrupt, enabled or not as the architecture says, ends waiting (WFI, HLT).
    fn wakes(cpu: &Cpu<Self>) -> bool;

    /// Whether the guest has enabled an interrupt that a device could raise. If not, only its own timers end waiting.
    fn devices_can_wake(cpu: &Cpu<Self>) -> bool;

    /// Derives mode and TLB contexts from the system state after a restore (`Cpu::set_mode`).
    fn restored(cpu: &mut Cpu<Self>);

    /// Brings timers of the vCPU itself up to `now_ns`.
    fn tick(cpu: &mut Cpu<Self>, now_ns: u64);

    /// Guest time of the vCPU's own next timer event.
    fn deadline_ns(cpu: &Cpu<Self>) -> Option<u64>;

    /// The slot of the register that compilers keep the stack pointer in.
    const STACK_POINTER: Slot = Slot(0);

    /// Whether code of this mode is a program's, under a kernel.
    fn is_user(_mode: Mode) -> bool {
        false
    }

    /// Tells address spaces apart.
    fn address_space(_cpu: &Cpu<Self>) -> u64 {
        0
    }

    /// What people call a slot.
    fn slot_name(slot: Slot) -> String {
        format!("slot {}", slot.0)
    }

    /// An instruction as assembly has it, for people.
    fn disassemble(insn: &Self::Insn, _bytes: &[u8], _pc: Gva, _mode: Mode) -> String {
        format!("{insn:?}")
    }
}

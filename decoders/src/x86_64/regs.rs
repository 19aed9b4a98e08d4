//! Which vCPU slot holds which x86_64 register.

use c2w_engine::emit::Slot;

/// Slot of general register `number`, 0 to 15, as encodings number them.
#[inline(always)]
pub const fn gpr(number: u8) -> Slot {
    Slot(number & 15)
}

/// Accumulator.
pub const RAX: Slot = gpr(0);
/// Counter.
pub const RCX: Slot = gpr(1);
/// Data; high half of wide products.
pub const RDX: Slot = gpr(2);
/// Base.
pub const RBX: Slot = gpr(3);
/// Stack pointer.
pub const RSP: Slot = gpr(4);
/// Frame pointer.
pub const RBP: Slot = gpr(5);
/// Source of string instructions.
pub const RSI: Slot = gpr(6);
/// Destination of string instructions.
pub const RDI: Slot = gpr(7);
/// R11: flags of SYSCALL.
pub const R11: Slot = gpr(11);

/// Base address of ES; those of CS, SS, DS, FS and GS follow, as encodings number them.
pub const ES_BASE: Slot = Slot(16);
/// Base address of CS.
pub const CS_BASE: Slot = Slot(17);
/// Base address of SS.
pub const SS_BASE: Slot = Slot(18);
/// Base address of DS.
pub const DS_BASE: Slot = Slot(19);
/// Base address of FS.
pub const FS_BASE: Slot = Slot(20);
/// Base address of GS.
pub const GS_BASE: Slot = Slot(21);

/// What produced the arithmetic flags: a [`super::flags::Producer`].
pub const CC_OP: Slot = Slot(22);
/// First operand of what produced them.
pub const CC_A: Slot = Slot(23);
/// Second operand.
pub const CC_B: Slot = Slot(24);
/// Result.
pub const CC_RES: Slot = Slot(25);
/// RFLAGS without the arithmetic flags, which are zero here; bit 1 is set.
pub const RFLAGS: Slot = Slot(26);
/// SSE control and status.
pub const MXCSR: Slot = Slot(27);

/// Significand of x87 register `number`, 0 to 7, counted from the bottom of the register file (R0), not from the top of
/// the stack; also MMX register `number`.
#[inline(always)]
pub const fn x87_significand(number: u8) -> Slot {
    Slot(32 + (number & 7))
}

/// Sign and exponent of x87 register `number`: 16 bits.
#[inline(always)]
pub const fn x87_exponent(number: u8) -> Slot {
    Slot(40 + (number & 7))
}

/// x87 control word.
pub const X87_CONTROL: Slot = Slot(48);
/// x87 status word, the top of the stack included.
pub const X87_STATUS: Slot = Slot(49);
/// Which x87 registers are not empty: bit n for R*n*, as FXSAVE stores it.
pub const X87_TAGS: Slot = Slot(50);
/// Opcode of the last x87 instruction, 11 bits.
pub const X87_OPCODE: Slot = Slot(51);
/// Address of the last x87 instruction; its selector is in bits 48 to 63 outside of 64-bit mode.
pub const X87_IP: Slot = Slot(52);
/// Address of the last x87 memory operand; its selector likewise.
pub const X87_DP: Slot = Slot(53);

/// A pair of slots for a vector on its way inside of an instruction: an operand from memory, or MMX registers.
pub const VECTOR_SCRATCH: Slot = Slot(54);
/// Another one, for the second operand of MMX instructions.
pub const VECTOR_SCRATCH_2: Slot = Slot(56);

/// First of the four slots of vector register `number`, 0 to 15: bits 0 to 63 of it. XMM is the first two.
#[inline(always)]
pub const fn vector(number: u8) -> Slot {
    Slot(64 + 4 * (number & 15))
}

/// IA32_KERNEL_GS_BASE, which SWAPGS exchanges with the base of GS.
pub const KERNEL_GS_BASE: Slot = Slot(144);
/// Linear address behind the STI that set IF last, or [`NO_SHADOW`]: interrupts are held off there.
pub const STI_SHADOW: Slot = Slot(145);
/// Not 0 if an interrupt waits for IF to be set.
pub const INTERRUPT_WAITS: Slot = Slot(146);
/// No code is at this address: it is not canonical.
pub const NO_SHADOW: u64 = 1 << 62;

/// Stands for an absent base, index or segment; never read or written.
pub const NONE: Slot = Slot(255);

/// Name of a slot in printed IR.
pub fn name(slot: Slot) -> String {
    const GPR: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    const NAMED: [&str; 12] = [
        "es_base", "cs_base", "ss_base", "ds_base", "fs_base", "gs_base", "cc_op", "cc_a", "cc_b", "cc_res",
        "rflags", "mxcsr",
    ];
    match slot.0 {
        number @ 0..16 => GPR[usize::from(number)].into(),
        number @ 16..28 => NAMED[usize::from(number - 16)].into(),
        number @ 32..40 => format!("r{}_significand", number - 32),
        number @ 40..48 => format!("r{}_exponent", number - 40),
        48 => "x87_control".into(),
        49 => "x87_status".into(),
        50 => "x87_tags".into(),
        51 => "x87_opcode".into(),
        52 => "x87_ip".into(),
        53 => "x87_dp".into(),
        54 | 55 => format!("scratch_{}", slot.0 - 54),
        56 | 57 => format!("scratch2_{}", slot.0 - 56),
        number @ 64..128 => format!("xmm{}_{}", (number - 64) / 4, number % 4),
        144 => "kernel_gs_base".into(),
        145 => "sti_shadow".into(),
        146 => "interrupt_waits".into(),
        _ => "unused".into(),
    }
}

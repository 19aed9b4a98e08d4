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
/// Stack pointer.
pub const RSP: Slot = gpr(4);

/// Base address of FS.
pub const FS_BASE: Slot = Slot(16);
/// Base address of GS.
pub const GS_BASE: Slot = Slot(17);

/// What produced the arithmetic flags: a [`super::flags::Producer`].
pub const CC_OP: Slot = Slot(20);
/// First operand of what produced them.
pub const CC_A: Slot = Slot(21);
/// Second operand.
pub const CC_B: Slot = Slot(22);
/// Result.
pub const CC_RES: Slot = Slot(23);

/// Stands for an absent base, index or segment; never read or written.
pub const NONE: Slot = Slot(255);

/// Name of a slot in printed IR.
pub fn name(slot: Slot) -> String {
    const GPR: [&str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
        "r14", "r15",
    ];
    let other = match slot {
        FS_BASE => "fs_base",
        GS_BASE => "gs_base",
        CC_OP => "cc_op",
        CC_A => "cc_a",
        CC_B => "cc_b",
        CC_RES => "cc_res",
        Slot(number) => GPR.get(usize::from(number)).copied().unwrap_or("unused"),
    };
    other.to_owned()
}

//! The helpers of system instructions, and the table of all helpers of the guest.
//!
//! A lift calls a helper by [`Helper::id`]; floating-point helpers ([`fp_helpers`]) follow later. Where an
//! instruction may be illegal, its last argument is its bits, which become the value of the trap.

use super::cbo::{self, CboKind};
use super::csr::{self, CsrOp};
use super::guest::{Riscv64, mark_fp_dirty};
use super::mmu::{self, FenceScope};
use super::regs::Privilege;
use super::{fp_helpers, status, trap};
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::{HelperEffects, HelperId, HelperInfo, Trap};

/// Number of the first floating-point helper.
pub const FIRST_FP: u16 = 64;

macro_rules! helpers {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A helper of a system instruction.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Helper { $($(#[$doc])* $name,)* }

        const SYSTEM: &[(Helper, &str)] = &[$((Helper::$name, $text),)*];
    };
}

helpers! {
    /// (csr, bits): the register's value.
    CsrRead = "csr_read";
    /// (csr, value, bits): writes, gives the old value.
    CsrWrite = "csr_write";
    /// (csr, mask, bits): sets bits, gives the old value.
    CsrSet = "csr_set";
    /// (csr, mask, bits): clears bits, gives the old value.
    CsrClear = "csr_clear";
    /// (bits): gives the address to continue at.
    Mret = "mret";
    /// (bits): gives the address to continue at.
    Sret = "sret";
    /// (bits).
    Wfi = "wfi";
    /// (address, address space, [`FenceScope`], bits). SINVAL.VMA is the same.
    SfenceVma = "sfence_vma";
    /// (bits): SFENCE.W.INVAL and SFENCE.INVAL.IR.
    SfenceInval = "sfence_inval";
    /// (address, bits).
    CboZero = "cbo_zero";
    /// (address, bits): CBO.CLEAN and CBO.FLUSH.
    CboClean = "cbo_clean";
    /// (address, bits).
    CboInval = "cbo_inval";
    /// (bits): WRS.NTO and WRS.STO.
    Wrs = "wrs";
    /// (): the floating-point state becomes dirty.
    FsDirty = "fs_dirty";
}

impl Helper {
    /// Number of the helper.
    pub const fn id(self) -> HelperId {
        HelperId(self as u16)
    }
}

const COUNT: usize = FIRST_FP as usize + fp_helpers::INFO.len();

/// Name and effects of every helper. Numbers between the system and the floating-point helpers are unused.
pub static HELPERS: [HelperInfo; COUNT] = {
    let mut table = [HelperInfo { name: "unused", effects: HelperEffects::ALL, function: None }; COUNT];
    let mut i = 0;
    while i < SYSTEM.len() {
        table[i].name = SYSTEM[i].1;
        i += 1;
    }
    let mut i = 0;
    while i < fp_helpers::INFO.len() {
        table[FIRST_FP as usize + i] = fp_helpers::INFO[i];
        i += 1;
    }
    table
};

/// Runs the helper with number `id`.
///
/// # Panics
/// If no helper has this number: a mistake of a lift.
///
/// Lifts name helpers by constants, so that after inlining a floating-point one is a direct call.
#[inline(always)]
pub fn call(cpu: &mut Cpu<Riscv64>, id: HelperId, args: [u64; 4]) -> Result<u64, Trap> {
    match id.0.checked_sub(FIRST_FP) {
        Some(index) => fp_helpers::call(cpu, index, args),
        None => call_system(cpu, id, args),
    }
}

#[inline(never)]
fn call_system(cpu: &mut Cpu<Riscv64>, id: HelperId, args: [u64; 4]) -> Result<u64, Trap> {
    let [a, b, c, d] = args;
    match SYSTEM[id.0 as usize].0 {
        Helper::CsrRead => csr::access(cpu, a, CsrOp::Read, b),
        Helper::CsrWrite => csr::access(cpu, a, CsrOp::Write(b), c),
        Helper::CsrSet => csr::access(cpu, a, CsrOp::Set(b), c),
        Helper::CsrClear => csr::access(cpu, a, CsrOp::Clear(b), c),
        Helper::Mret => trap::mret(cpu, a),
        Helper::Sret => trap::sret(cpu, a),
        Helper::Wfi => wfi(cpu, a),
        Helper::SfenceVma => mmu::sfence_vma(cpu, Gva(a), b, FenceScope(c), d).map(|()| 0),
        Helper::SfenceInval => mmu::sfence_inval(cpu, a).map(|()| 0),
        Helper::CboZero => cbo::zero(cpu, Gva(a), b).map(|()| 0),
        Helper::CboClean => cbo::manage(cpu, CboKind::Clean, Gva(a), b).map(|()| 0),
        Helper::CboInval => cbo::manage(cpu, CboKind::Invalidate, Gva(a), b).map(|()| 0),
        // A stall may end at any time, so it ends at once (Zawrs).
        Helper::Wrs => Ok(0),
        Helper::FsDirty => {
            mark_fp_dirty(cpu);
            Ok(0)
        }
    }
}

/// WFI (Priv. 3.3.3): waits, unless the privilege may not.
fn wfi(cpu: &mut Cpu<Riscv64>, raw: u64) -> Result<u64, Trap> {
    let state = &cpu.guest.state;
    let forbidden = match state.privilege {
        Privilege::User => true,
        Privilege::Supervisor => state.mstatus & status::TW != 0,
        Privilege::Machine => false,
    };
    if forbidden {
        return Err(trap::illegal(raw));
    }
    cpu.wait();
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_index_the_table() {
        assert!(SYSTEM.len() <= FIRST_FP as usize);
        for (number, (helper, name)) in SYSTEM.iter().enumerate() {
            assert_eq!(helper.id().0 as usize, number);
            assert_eq!(HELPERS[number].name, *name);
        }
    }
}

//! Single step and breakpoints: DR0 to DR7, TF and RF (SDM 3B 18.2).

use super::guest::X86_64;
use super::state::{DebugRegisters, State};
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::mem::tlb::Access;

impl DebugRegisters {
    /// The registers after reset.
    pub const RESET: Self =
        Self { address: [0; 4], status: 0xffff_0ff0, control: 0x400, hits: 0, step_from: None };
}

impl State {
    /// Whether something has to be looked at after every instruction, given RFLAGS.
    pub fn needs_stepping(&self, rflags: u64) -> bool {
        rflags & super::flags::TF != 0 || self.debug.control & 0xff != 0 || self.shadow_until.is_some()
    }
}

/// Notes a data access to bytes of a page on which there is a breakpoint.
pub fn note_access(_cpu: &mut Cpu<X86_64>, _gva: Gva, _len_bytes: u64, _access: Access) {}

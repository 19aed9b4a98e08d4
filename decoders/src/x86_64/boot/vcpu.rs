//! The vCPU's state at the first instruction of what boots.

use crate::x86_64::control::{CR0_ET, CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs;
use crate::x86_64::segment::{Attributes, Segment, SegmentRegister, SystemSegment, TableRegister};
use crate::x86_64::state::{Msrs, State};
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::Slot;
use c2w_engine::guest::Guest;

/// Selectors that Linux's boot protocol names.
const CODE: u16 = 0x10;
const DATA: u16 = 0x18;

/// Descriptors for [`CODE`] and [`DATA`], flat: 64-bit or 32-bit code.
pub fn descriptor_table(long: bool) -> Vec<u8> {
    const CODE_64: u64 = 0x00af_9b00_0000_ffff;
    const CODE_32: u64 = 0x00cf_9b00_0000_ffff;
    const FLAT_DATA: u64 = 0x00cf_9300_0000_ffff;
    let code = if long { CODE_64 } else { CODE_32 };
    [0, 0, code, FLAT_DATA].into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Where the vCPU starts, and with what.
pub struct Start {
    /// Physical address of the first instruction.
    pub entry: u64,
    /// Where [`descriptor_table`] is.
    pub descriptors: u64,
    /// Root of page tables that map memory to itself, for 64-bit mode; without it the vCPU starts in 32-bit protected
    /// mode.
    pub page_tables: Option<u64>,
    /// What general registers hold; the others are zero.
    pub registers: Vec<(Slot, u64)>,
}

impl Start {
    /// The system state.
    pub fn guest(&self) -> X86_64 {
        let flat = State::flat_64(0);
        let mut segments = [Segment::data(DATA, 0); 6];
        let long = self.page_tables.is_some();
        segments[SegmentRegister::Cs as usize] =
            if long { Segment::code_64(CODE, 0) } else { Segment::code_32(CODE, 0) };
        // A task register must point to a busy task, though nothing uses this one before it is loaded anew.
        let busy = Attributes(0x8b);
        let task = SystemSegment { selector: 0, base: 0, limit: 0x67, attributes: busy };
        let mut state = State {
            cr0: CR0_PE | CR0_ET,
            cr3: self.page_tables.unwrap_or(0),
            cr4: 0,
            efer: 0,
            xcr0: 1,
            segments,
            tr: task,
            gdtr: TableRegister { base: self.descriptors, limit: descriptor_table(long).len() as u16 - 1 },
            msrs: Msrs { pat: 0x0007_0406_0007_0406, misc_enable: 1, ..Msrs::default() },
            ..flat
        };
        if long {
            state.cr0 |= CR0_PG;
            state.cr4 |= CR4_PAE;
            state.efer |= EFER_LME | EFER_LMA;
        }
        X86_64::new(state)
    }

    /// Puts registers and pc in place.
    pub fn apply(&self, cpu: &mut Cpu<X86_64>) {
        const INITIAL_MXCSR: u64 = 0x1f80;
        const INITIAL_X87_CONTROL: u64 = 0x37f;
        const RESERVED_FLAG: u64 = 2;
        let initial = [
            (regs::RFLAGS, RESERVED_FLAG),
            (regs::MXCSR, INITIAL_MXCSR),
            (regs::X87_CONTROL, INITIAL_X87_CONTROL),
        ];
        for (slot, value) in initial.into_iter().chain(self.registers.iter().copied()) {
            cpu.slots[usize::from(slot.0)] = value;
        }
        cpu.pc = Gva(self.entry);
        X86_64::restored(cpu);
    }
}

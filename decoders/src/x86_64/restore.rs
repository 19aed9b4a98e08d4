//! Which saved states a vCPU goes on from: those that it could have been in (SDM 3A 2.5, 3.4, 4).
//!
//! A file may say anything. System state that contradicts itself is refused; registers with bits that do not exist
//! lose them.

use super::control::{
    CR0_CD, CR0_ET, CR0_NW, CR0_PE, CR0_PG, CR0_WRITABLE, CR4_PAE, CR4_PCIDE, CR4_SUPPORTED, EFER_LMA,
    EFER_LME, EFER_WRITABLE, XCR0_SUPPORTED,
};
use super::descriptor::{Selector, is_canonical};
use super::guest::X86_64;
use super::segment::{Attributes, SegmentRegister, SystemSegment};
use super::state::State;
use super::{flags, mmu, regs};
use c2w_engine::cpu::Cpu;

/// Why a saved vCPU cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the saved vCPU has an impossible {register}")]
pub struct StateError {
    /// Name of the register.
    pub register: &'static str,
}

/// Checks that a vCPU can be in this state.
pub fn check(state: &State) -> Result<(), StateError> {
    let checks = [
        ("CR0", cr0(state)),
        ("CR3", state.cr3 >> mmu::PHYSICAL_BITS == 0),
        ("CR4", cr4(state)),
        ("EFER", efer(state)),
        ("XCR0", state.xcr0 & 1 != 0 && state.xcr0 & !XCR0_SUPPORTED == 0),
        ("PDPTE", state.pdptes.iter().all(|&entry| mmu::is_pdpte(entry))),
        ("CS", code(state)),
        ("segment register", state.segments.iter().all(|segment| has_known_bits(segment.attributes))),
        ("LDTR", system_segment(&state.ldtr)),
        ("TR", system_segment(&state.tr)),
        ("GDTR", is_canonical(state.gdtr.base)),
        ("IDTR", is_canonical(state.idtr.base)),
        ("MSR", msrs(state)),
        ("debug register", state.debug.is_possible()),
    ];
    match checks.into_iter().find(|(_, possible)| !possible) {
        Some((register, _)) => Err(StateError { register }),
        None => Ok(()),
    }
}

/// There is no real mode.
fn cr0(state: &State) -> bool {
    let cr0 = state.cr0;
    let known = cr0 & !(CR0_WRITABLE | CR0_ET) == 0 && cr0 & CR0_ET != 0;
    known && cr0 & CR0_PE != 0 && (cr0 & CR0_NW == 0 || cr0 & CR0_CD != 0)
}

fn cr4(state: &State) -> bool {
    let tagged = state.cr4 & CR4_PCIDE != 0;
    state.cr4 & !CR4_SUPPORTED == 0 && (!tagged || state.is_long_mode())
}

/// Long mode is on if it is enabled and paging is on, and then tables are those of PAE.
fn efer(state: &State) -> bool {
    let enabled = state.efer & EFER_LME != 0 && state.cr0 & CR0_PG != 0;
    let on = state.efer & EFER_LMA != 0;
    state.efer & !(EFER_WRITABLE | EFER_LMA) == 0 && on == enabled && (!on || state.cr4 & CR4_PAE != 0)
}

fn code(state: &State) -> bool {
    let cs = state.segment(SegmentRegister::Cs);
    let attributes = cs.attributes;
    let two_sizes = state.is_long_mode() && attributes.is_long() && attributes.is_big();
    attributes.is_code() && attributes.is_present() && !two_sizes && Selector(cs.selector).rpl() == state.cpl
}

fn has_known_bits(attributes: Attributes) -> bool {
    attributes.0 & !0xf0ff == 0
}

fn system_segment(segment: &SystemSegment) -> bool {
    let attributes = segment.attributes;
    let is_system = !attributes.is_present() || !attributes.is_code_or_data();
    is_canonical(segment.base) && has_known_bits(attributes) && is_system
}

fn msrs(state: &State) -> bool {
    let msrs = &state.msrs;
    let addresses = [msrs.lstar, msrs.cstar, msrs.sysenter_esp, msrs.sysenter_eip];
    let halves = [msrs.fmask, msrs.tsc_aux, msrs.sysenter_cs];
    addresses.into_iter().all(is_canonical) && halves.into_iter().all(|value| value >> 32 == 0)
}

/// Flags that a vCPU can have set besides the arithmetic ones. RF and VM are never among them.
const FLAGS: u64 = flags::TF
    | flags::IF
    | flags::DF
    | flags::IOPL
    | flags::NT
    | flags::AC
    | flags::VIF
    | flags::VIP
    | flags::ID;

/// Takes the bits away that registers do not have.
pub fn clear_unknown_bits(cpu: &mut Cpu<X86_64>) {
    let mut keep = |slot: c2w_engine::emit::Slot, mask: u64| cpu.slots[usize::from(slot.0)] &= mask;
    keep(regs::RFLAGS, FLAGS);
    keep(regs::CC_OP, 0xff);
    keep(regs::MXCSR, 0xffff);
    for number in 0..8 {
        keep(regs::x87_exponent(number), 0xffff);
    }
    keep(regs::X87_CONTROL, 0xffff);
    keep(regs::X87_STATUS, 0xffff);
    keep(regs::X87_TAGS, 0xff);
    keep(regs::X87_OPCODE, 0x7ff);
    cpu.slots[usize::from(regs::RFLAGS.0)] |= flags::FIXED;
    // Only addresses that are canonical can be written to it.
    let base = &mut cpu.slots[usize::from(regs::KERNEL_GS_BASE.0)];
    *base = ((*base << 16) as i64 >> 16) as u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long mode, as a running system has it.
    fn possible() -> State {
        let flat = State::flat_64(3);
        State { cr0: flat.cr0 | CR0_PG, cr3: 0x1000, ..flat }
    }

    #[test]
    fn states_that_contradict_themselves_are_refused() {
        type Change = fn(&mut State);
        let cases: &[(&str, Change)] = &[
            ("", |_| ()),
            ("", |s| s.cr4 |= CR4_PCIDE),
            ("", |s| s.cr0 |= CR0_CD | CR0_NW),
            ("", |s| {
                s.efer &= !(EFER_LMA | EFER_LME);
                s.cr4 &= !CR4_PAE;
            }),
            ("CR0", |s| s.cr0 &= !CR0_PE),
            ("CR0", |s| s.cr0 &= !CR0_ET),
            ("CR0", |s| s.cr0 |= CR0_NW),
            ("CR0", |s| s.cr0 |= 1 << 32),
            ("CR3", |s| s.cr3 = 1 << 63),
            ("CR4", |s| s.cr4 |= 1 << 30),
            ("CR4", |s| {
                s.efer &= !(EFER_LMA | EFER_LME);
                s.cr4 |= CR4_PCIDE;
            }),
            ("EFER", |s| s.efer &= !EFER_LMA),
            ("EFER", |s| s.cr0 &= !CR0_PG),
            ("EFER", |s| s.cr4 &= !CR4_PAE),
            ("EFER", |s| s.efer |= 1 << 12),
            ("XCR0", |s| s.xcr0 = 2),
            ("PDPTE", |s| s.pdptes[3] = 3),
            ("CS", |s| s.cpl = 0),
            ("CS", |s| s.segments[1].attributes.0 |= 1 << 14),
            ("CS", |s| s.segments[1] = s.segments[0]),
            ("segment register", |s| s.segments[0].attributes.0 |= 1 << 8),
            ("LDTR", |s| s.ldtr.base = 1 << 63),
            ("TR", |s| s.tr.attributes = Attributes(0x93)),
            ("GDTR", |s| s.gdtr.base = 1 << 47),
            ("IDTR", |s| s.idtr.base = 1 << 47),
            ("MSR", |s| s.msrs.lstar = 1 << 47),
            ("MSR", |s| s.msrs.fmask = 1 << 32),
            ("debug register", |s| s.debug.control = 0),
            ("debug register", |s| s.debug.hits = 16),
        ];
        for (register, change) in cases {
            let mut state = possible();
            change(&mut state);
            let expected = if register.is_empty() { Ok(()) } else { Err(StateError { register }) };
            assert_eq!(check(&state), expected);
        }
    }

    #[test]
    fn flags_that_do_not_exist_are_cleared() {
        let mut cpu = crate::x86_64::testing::cpu();
        *cpu.slots = [u64::MAX; 256];
        clear_unknown_bits(&mut cpu);
        let slot = |slot: c2w_engine::emit::Slot| cpu.slots[usize::from(slot.0)];
        assert_eq!(slot(regs::RFLAGS), FLAGS | flags::FIXED);
        assert_eq!((slot(regs::MXCSR), slot(regs::X87_TAGS)), (0xffff, 0xff));
        assert_eq!(slot(regs::CC_OP), 0xff);
        assert_eq!(slot(regs::RAX), u64::MAX);
    }
}

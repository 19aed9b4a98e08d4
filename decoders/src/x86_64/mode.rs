//! What decoding and the meaning of code depend on besides its bytes, packed into the engine's [`Mode`], and the TLB
//! contexts of data accesses. [`refresh`] derives both from the system state; whoever changes that calls it.

use super::guest::X86_64;
use super::regs;
use super::segment::SegmentRegister;
use bitflags::bitflags;
use c2w_engine::addr::Width;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Mode;

bitflags! {
    /// The bits of [`Mode`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ModeBits: u16 {
        /// Code is 32-bit: compatibility or protected mode, CS.D set.
        const CODE_32 = 1 << 0;
        /// Code is 16-bit: compatibility or protected mode, CS.D clear. Without either, code is 64-bit.
        const CODE_16 = 1 << 1;
        /// The current privilege level is 3: privileged instructions decode to #GP.
        const USER = 1 << 2;
        /// ES, CS, SS or DS is not flat, writable and 4 GiB long: accesses through them are checked.
        const SEGMENTED = 1 << 3;
        /// The same for FS.
        const FS_CHECKED = 1 << 4;
        /// The same for GS.
        const GS_CHECKED = 1 << 5;
        /// The stack is 16 bits wide (SS.B clear outside of 64-bit mode).
        const STACK_16 = 1 << 6;
        /// Blocks are one instruction long: single step, breakpoints, alignment checks, or an interrupt waits behind STI
        /// or MOV SS.
        const STEP = 1 << 7;
        /// x87 and MMX instructions raise #NM (CR0.TS or CR0.EM); for MMX EM means #UD.
        const NO_X87 = 1 << 8;
        /// CR0.EM: MMX and SSE instructions raise #UD.
        const EMULATE = 1 << 9;
        /// CR0.TS: MMX and SSE instructions raise #NM.
        const TASK_SWITCHED = 1 << 10;
        /// CR4.OSFXSR: SSE instructions exist.
        const SSE = 1 << 11;
        /// CR4.OSXSAVE and XCR0 allow the VEX-encoded instructions.
        const AVX = 1 << 12;
        /// MXCSR lets a floating-point exception of vector instructions through.
        const FLOAT_TRAPS = 1 << 13;
        /// The current privilege level is 1 or 2: privileged instructions decode to #GP as well.
        const MIDDLE = 1 << 14;
    }
}

impl ModeBits {
    /// The bits of a mode.
    pub const fn of(mode: Mode) -> Self {
        Self::from_bits_retain(mode.0)
    }

    /// Width of the instruction pointer and default address size of code.
    pub const fn code_width(self) -> Width {
        if self.contains(Self::CODE_32) {
            Width::W32
        } else if self.contains(Self::CODE_16) {
            Width::W16
        } else {
            Width::W64
        }
    }

    /// Width of the stack pointer.
    pub const fn stack_width(self) -> Width {
        if self.contains(Self::STACK_16) {
            Width::W16
        } else if matches!(self.code_width(), Width::W64) {
            Width::W64
        } else {
            Width::W32
        }
    }
}

/// TLB context of supervisor accesses that SMAP applies to.
pub const SUPERVISOR: usize = 0;
/// TLB context of user accesses.
pub const USER: usize = 1;
/// TLB context of explicit supervisor accesses with RFLAGS.AC set, which SMAP does not apply to (SDM 3A 4.6).
pub const SUPERVISOR_AC: usize = 2;
/// TLB context of user accesses whose alignment is checked. It caches nothing, so that all of them are seen.
pub const USER_ALIGNED: usize = 3;
/// Number of contexts.
pub const CONTEXTS: usize = 4;

/// Whether accesses in a context are those of user code.
pub const fn is_user(context: usize) -> bool {
    matches!(context, USER | USER_ALIGNED)
}

/// The exception masks of MXCSR (SDM 1 10.2.3).
const MXCSR_MASKS: u64 = 0x3f << 7;

/// Derives mode and contexts from the system state. Call it after every change of CPL, CR0, CR4, XCR0, EFER, a segment
/// register outside of 64-bit mode, DR7, of TF or AC in RFLAGS, or of
/// MXCSR.
pub fn refresh(cpu: &mut Cpu<X86_64>) {
    let guest = &cpu.guest;
    let flags = cpu.slots[regs::RFLAGS.0 as usize];
    let mut bits = ModeBits::empty();
    let code = guest.segment(SegmentRegister::Cs).attributes;
    let long = guest.is_long_mode() && code.is_long();
    if !long {
        bits.insert(if code.is_big() { ModeBits::CODE_32 } else { ModeBits::CODE_16 });
        bits.set(ModeBits::STACK_16, !guest.segment(SegmentRegister::Ss).attributes.is_big());
        use SegmentRegister::{Cs, Ds, Es, Fs, Gs, Ss};
        let flat = |register, base| {
            let segment = guest.segment(register);
            // Code in a data segment register refuses writes; accesses through CS are always checked.
            segment.is_flat(base) && (register == Cs || segment.attributes.is_writable())
        };
        let based = |register: SegmentRegister| flat(register, cpu.slots[register.base_slot().0 as usize]);
        bits.set(ModeBits::SEGMENTED, ![Es, Cs, Ss, Ds].into_iter().all(based));
        // Only the limit and type matter here: their bases are always added.
        bits.set(ModeBits::FS_CHECKED, !flat(Fs, 0));
        bits.set(ModeBits::GS_CHECKED, !flat(Gs, 0));
    }
    let user = guest.cpl == 3;
    let aligned = user && guest.cr0 & super::control::CR0_AM != 0 && flags & super::flags::AC != 0;
    bits.set(ModeBits::USER, user);
    bits.set(ModeBits::MIDDLE, matches!(guest.cpl, 1 | 2));
    bits.set(ModeBits::STEP, guest.needs_stepping(flags) || aligned);
    bits.set(ModeBits::NO_X87, guest.cr0 & (super::control::CR0_TS | super::control::CR0_EM) != 0);
    bits.set(ModeBits::EMULATE, guest.cr0 & super::control::CR0_EM != 0);
    bits.set(ModeBits::TASK_SWITCHED, guest.cr0 & super::control::CR0_TS != 0);
    bits.set(ModeBits::SSE, guest.cr4 & super::control::CR4_OSFXSR != 0);
    bits.set(ModeBits::AVX, guest.cr4 & super::control::CR4_OSXSAVE != 0 && guest.xcr0 & 6 == 6);
    let masked = cpu.slots[regs::MXCSR.0 as usize] & MXCSR_MASKS == MXCSR_MASKS;
    bits.set(ModeBits::FLOAT_TRAPS, !masked);
    let data = if aligned {
        USER_ALIGNED
    } else if user {
        USER
    } else if flags & super::flags::AC != 0 {
        SUPERVISOR_AC
    } else {
        SUPERVISOR
    };
    let fetch = if user { USER } else { SUPERVISOR };
    cpu.set_mode(Mode(bits.bits()), fetch, data);
}

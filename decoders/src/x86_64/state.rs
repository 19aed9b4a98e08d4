//! The system state of a vCPU: everything that is not in a slot, as a plain struct.

use super::random::Random;
use super::segment::{Segment, SegmentRegister, SystemSegment, TableRegister};
use serde::{Deserialize, Serialize};

/// Model-specific registers that only hold what was written to them, by their names in SDM 4.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are those of the manual, which says what each is")]
pub struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub fmask: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub tsc_aux: u64,
    pub pat: u64,
    pub misc_enable: u64,
    pub spec_ctrl: u64,
    /// Added to the time-stamp counter.
    pub tsc_adjust: u64,
}

/// Debug registers. DR4 and DR5 are DR6 and DR7.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugRegisters {
    /// DR0 to DR3.
    pub address: [u64; 4],
    /// DR6.
    pub status: u64,
    /// DR7.
    pub control: u64,
    /// Bits for DR6 of data breakpoints that the current instruction has hit.
    pub hits: u64,
    /// TF was set when this many instructions had retired: the one after them ends with #DB.
    pub step_from: Option<u64>,
}

/// The system state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the registers of the manual, by their names there")]
pub struct State {
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub xcr0: u64,
    /// The page-directory-pointer-table entries that PAE paging uses, read when CR3 is written.
    pub pdptes: [u64; 4],
    /// Current privilege level, 0 to 3.
    pub cpl: u8,
    /// ES, CS, SS, DS, FS, GS. Their bases are in slots.
    pub segments: [Segment; 6],
    pub ldtr: SystemSegment,
    pub tr: SystemSegment,
    pub gdtr: TableRegister,
    pub idtr: TableRegister,
    pub msrs: Msrs,
    pub debug: DebugRegisters,
    /// `retired` right after an instruction that holds interrupts off for one more: STI or MOV SS.
    pub shadow_at: Option<u64>,
    /// It holds debug traps off, too: MOV SS.
    pub shadow_debug: bool,
    /// The next block is one instruction long: an interrupt waits for the end of the shadow.
    pub step_once: bool,
    /// `retired` right after the instruction that set RF, which lasts for one more.
    pub resume_at: Option<u64>,
    /// An NMI is being handled, until IRET.
    pub nmi_blocked: bool,
    /// What RDRAND and RDSEED draw from.
    pub random: Random,
}

impl State {
    /// A segment register.
    pub fn segment(&self, register: SegmentRegister) -> &Segment {
        &self.segments[register as usize]
    }

    /// Long mode is on, 64-bit or compatibility.
    pub fn is_long_mode(&self) -> bool {
        self.efer & super::control::EFER_LMA != 0
    }
}

impl State {
    /// Flat 64-bit code at a privilege level, with SSE on and without paging: a state that no processor can be in, in
    /// which instructions can be tried without tables of any kind.
    pub fn flat_64(cpl: u8) -> Self {
        use super::control::{CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_PAE};
        use super::control::{EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE};
        let data = Segment::data(0x28 | u16::from(cpl), cpl);
        let mut segments = [data; 6];
        segments[SegmentRegister::Cs as usize] = Segment::code_64(0x30 | u16::from(cpl), cpl);
        Self {
            cr0: CR0_PE | CR0_MP | CR0_ET | CR0_NE,
            cr2: 0,
            cr3: 0,
            cr4: CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT,
            efer: EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
            xcr0: 3,
            cpl,
            segments,
            ldtr: SystemSegment::default(),
            tr: SystemSegment::default(),
            gdtr: TableRegister::default(),
            idtr: TableRegister::default(),
            msrs: Msrs::default(),
            debug: DebugRegisters::RESET,
            shadow_at: None,
            shadow_debug: false,
            step_once: false,
            resume_at: None,
            pdptes: [0; 4],
            nmi_blocked: false,
            random: Random::new([0; 4]),
        }
    }
}

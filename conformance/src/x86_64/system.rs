//! Short system-level programs: a complete state of the machine to start from, and the one at the first HLT.
//!
//! Every vector of the IDT leads to a HLT of its own, so that the end tells which exception came, and the stack what it
//! pushed.

use c2w_decoders::x86_64::board::PcBoard;
use c2w_decoders::x86_64::guest::X86_64;
use c2w_decoders::x86_64::segment::{Attributes, SegmentRegister, SystemSegment, TableRegister};
use c2w_decoders::x86_64::state::State as SystemState;
use c2w_decoders::x86_64::{control, flags, mmu, mode, regs};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::machine::{Exit, Machine};
use c2w_engine::mem::device::Request;
use c2w_engine::mem::ram::Ram;

/// Bytes of RAM, from address 0.
pub const RAM_BYTES: u64 = 0x4_0000;
/// The global descriptor table, and bytes of it.
pub const GDT: u64 = 0x1000;
const GDT_BYTES: u64 = 0x100;
/// The interrupt descriptor table.
pub const IDT: u64 = 0x2000;
/// The task-state segment, and its limit.
pub const TSS: u64 = 0x3000;
const TSS_LIMIT: u32 = 0x67;
/// A HLT for each vector, 16 bytes apart.
pub const HANDLERS: u64 = 0x4000;
/// Code.
pub const CODE: u64 = 0x8000;
/// Ends of the stacks: of supervisors, of users, of the interrupt stack table.
pub const STACK: u64 = 0x9800;
/// End of the user's stack.
pub const USER_STACK: u64 = 0xb800;
/// End of the first stack of the interrupt stack table.
pub const IST_STACK: u64 = 0xd800;
/// Data.
pub const DATA: u64 = 0xe000;
/// Page tables: all of RAM as it is.
pub const TABLES: u64 = 0x1_0000;
/// The last level of those.
pub const LEAVES: u64 = TABLES + 3 * 0x1000;

/// Selectors of the descriptors that every program finds.
pub mod selector {
    /// 64-bit code of supervisors.
    pub const CODE_64: u16 = 0x08;
    /// Data of supervisors.
    pub const DATA: u16 = 0x10;
    /// 64-bit code of users.
    pub const USER_CODE_64: u16 = 0x18 | 3;
    /// Data of users.
    pub const USER_DATA: u16 = 0x20 | 3;
    /// 32-bit code of supervisors.
    pub const CODE_32: u16 = 0x28;
    /// 32-bit code of users.
    pub const USER_CODE_32: u16 = 0x30 | 3;
    /// The task-state segment, two entries.
    pub const TSS: u16 = 0x40;
    /// The first that a program may fill as it likes.
    pub const FREE: u16 = 0x50;
}

/// Descriptors at those selectors, from 8 on.
const DESCRIPTORS: [u64; 6] = [
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00af_fb00_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00cf_9b00_0000_ffff,
    0x00cf_fb00_0000_ffff,
];

/// A code size to start in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 64-bit code.
    Long,
    /// 32-bit code in long mode.
    Compatibility,
    /// 32-bit code in protected mode without paging.
    Protected,
}

/// A program with the state to start in.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it tries.
    pub name: String,
    /// System state.
    pub state: SystemState,
    /// General registers.
    pub gpr: [u64; 16],
    /// RFLAGS.
    pub rflags: u64,
    /// Bases of ES, CS, SS, DS, FS, GS.
    pub bases: [u64; 6],
    /// Memory that is not zero.
    pub memory: Vec<(u64, Vec<u8>)>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At a HLT.
    Halt,
    /// A triple fault.
    Shutdown,
    /// In another way.
    Other(String),
}

/// A segment register as far as it can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The visible part.
    pub selector: u16,
    /// Base, limit and attributes of a segment that is usable.
    pub hidden: Option<(u64, u32, u16)>,
}

/// The state at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// General registers.
    pub gpr: [u64; 16],
    /// Instruction pointer: behind the HLT.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// CR0, CR2, CR3, CR4, EFER.
    pub control: [u64; 5],
    /// ES, CS, SS, DS, FS, GS, LDTR, TR.
    pub segments: [Seen; 8],
    /// DR6.
    pub debug_status: u64,
    /// All memory.
    pub memory: Vec<u8>,
}

impl Program {
    /// A program of this code, at privilege level 0 or 3.
    pub fn new(name: String, code: Code, cpl: u8, bytes: &[u8]) -> Self {
        let mut state = SystemState::flat_64(cpl);
        let user = cpl == 3;
        let code_selector = match (code, user) {
            (Code::Long, false) => selector::CODE_64,
            (Code::Long, true) => selector::USER_CODE_64,
            (_, false) => selector::CODE_32,
            (_, true) => selector::USER_CODE_32,
        };
        let data_selector = if user { selector::USER_DATA } else { selector::DATA };
        for register in SegmentRegister::ALL {
            let selector = if register == SegmentRegister::Cs { code_selector } else { data_selector };
            let upper = (DESCRIPTORS[usize::from(selector >> 3) - 1] >> 32) as u32;
            let segment = &mut state.segments[register as usize];
            segment.selector = selector;
            segment.attributes = Attributes::of_descriptor(upper);
            segment.limit = u32::MAX;
        }
        state.cr0 = control::CR0_PE | control::CR0_MP | control::CR0_ET | control::CR0_NE | control::CR0_WP;
        if code == Code::Protected {
            state.efer = 0;
            state.cr4 = control::CR4_OSFXSR | control::CR4_OSXMMEXCPT;
        } else {
            state.cr0 |= control::CR0_PG;
        }
        state.cr3 = TABLES;
        state.gdtr = TableRegister { base: GDT, limit: GDT_BYTES as u16 - 1 };
        let gate_bytes = if code == Code::Protected { 8 } else { 16 };
        state.idtr = TableRegister { base: IDT, limit: 256 * gate_bytes - 1 };
        state.tr = SystemSegment {
            selector: selector::TSS,
            base: TSS,
            limit: TSS_LIMIT,
            attributes: Attributes(0x8b),
        };
        let mut gpr = [0; 16];
        gpr[4] = if user { USER_STACK } else { STACK };
        let mut program = Self { name, state, gpr, rflags: flags::FIXED, bases: [0; 6], memory: Vec::new() };
        program.tables(code);
        program.put(CODE, bytes);
        program
    }

    fn tables(&mut self, code: Code) {
        for (descriptor, index) in DESCRIPTORS.into_iter().zip(1..) {
            self.put_word(GDT + 8 * index, descriptor);
        }
        let tss = TSS << 16 | u64::from(TSS_LIMIT) | 0x8b << 40;
        self.put_word(GDT + u64::from(selector::TSS), tss);
        if code == Code::Protected {
            // ESP0 and SS0.
            self.put(TSS + 4, &(STACK as u32).to_le_bytes());
            self.put(TSS + 8, &selector::DATA.to_le_bytes());
        } else {
            self.put_word(TSS + 4, STACK);
            self.put_word(TSS + 36, IST_STACK);
        }
        // No bits for ports.
        self.put(TSS + 102, &0x68u16.to_le_bytes());
        for vector in 0..256 {
            self.set_gate(code, vector, 0xee, handler(vector), 0);
            self.put(handler(vector), &[0xf4]);
        }
        // A table for each level, and RAM at its addresses.
        for level in 0..3 {
            self.put_word(TABLES + level * 0x1000, (TABLES + (level + 1) * 0x1000) | 7);
        }
        for page in 0..RAM_BYTES >> 12 {
            self.put_word(LEAVES + 8 * page, page << 12 | 7);
        }
    }

    /// Writes a gate to the supervisor's code: its type with DPL and P, offset, and stack in the TSS.
    pub fn set_gate(&mut self, code: Code, vector: u64, kind: u64, offset: u64, stack: u64) {
        let target = u64::from(if code == Code::Protected { selector::CODE_32 } else { selector::CODE_64 });
        let gate = offset & 0xffff | target << 16 | stack << 32 | kind << 40 | offset >> 16 << 48;
        if code == Code::Protected {
            self.put_word(IDT + 8 * vector, gate);
        } else {
            self.put_word(IDT + 16 * vector, gate);
            self.put_word(IDT + 16 * vector + 8, 0);
        }
    }

    /// Writes memory, over what was written before.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        self.memory.push((at, bytes.to_vec()));
    }

    /// Writes a number.
    pub fn put_word(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    /// RAM at the start.
    pub fn ram(&self) -> Vec<u8> {
        let mut ram = vec![0; RAM_BYTES as usize];
        for (at, bytes) in &self.memory {
            ram[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
        }
        ram
    }

    /// Runs it on our machine.
    pub fn run(&self) -> Finished {
        let attention = Attention::default();
        let lines = IrqLines::new(&attention);
        let ram = Ram::new(Gpa(0), RAM_BYTES);
        let clock = Box::new(InstructionClock::new(1));
        let guest = X86_64::new(self.state.clone());
        let mut cpu = Cpu::new(guest, ram, PcBoard::bare(), lines, attention, clock);
        cpu.ram.write(Gpa(0), &self.ram()).expect("RAM is that large");
        cpu.slots[..16].copy_from_slice(&self.gpr);
        for (register, base) in SegmentRegister::ALL.into_iter().zip(self.bases) {
            cpu.slots[usize::from(register.base_slot().0)] = base;
        }
        cpu.pc = Gva(CODE);
        flags::set_rflags(&mut cpu, self.rflags);
        mmu::select_space(&mut cpu);
        mode::refresh(&mut cpu);
        let mut machine = Machine::new(cpu);
        let end = match machine.run(10_000) {
            Exit::Waiting { .. } => End::Halt,
            Exit::Request(Request::Reset) => End::Shutdown,
            other => End::Other(format!("{other:?}")),
        };
        finished(&mut machine.cpu, end)
    }
}

/// Where the handler of a vector is.
pub const fn handler(vector: u64) -> u64 {
    HANDLERS + 16 * vector
}

fn finished(cpu: &mut Cpu<X86_64>, end: End) -> Finished {
    let rflags = flags::rflags(cpu);
    let guest = &cpu.guest;
    let mut segments = [Seen::default(); 8];
    for (register, seen) in SegmentRegister::ALL.into_iter().zip(&mut segments) {
        let segment = guest.segment(register);
        let base = cpu.slots[usize::from(register.base_slot().0)];
        *seen = see(segment.selector, base, segment.limit, segment.attributes.0);
    }
    for (system, seen) in [guest.ldtr, guest.tr].into_iter().zip(&mut segments[6..]) {
        *seen = see(system.selector, system.base, system.limit, system.attributes.0);
    }
    let code_base = cpu.slots[usize::from(regs::CS_BASE.0)];
    let long = guest.is_long_mode() && guest.segment(SegmentRegister::Cs).attributes.is_long();
    let mut gpr = [0; 16];
    gpr.copy_from_slice(&cpu.slots[..16]);
    Finished {
        end,
        gpr,
        rip: if long { cpu.pc.0 } else { cpu.pc.0.wrapping_sub(code_base) & 0xffff_ffff },
        rflags,
        control: [guest.cr0, guest.cr2, guest.cr3, guest.cr4, guest.efer],
        segments,
        debug_status: guest.debug.status,
        memory: cpu.ram.slice(Gpa(0), RAM_BYTES).expect("RAM is that large").to_vec(),
    }
}

/// A segment register: what is not present is not usable, and then nothing but the selector counts.
pub fn see(selector: u16, base: u64, limit: u32, attributes: u16) -> Seen {
    const PRESENT: u16 = 1 << 7;
    Seen { selector, hidden: (attributes & PRESENT != 0).then_some((base, limit, attributes)) }
}

//! Our vCPU in the same state over the same memory as the processor: user mode under page tables that give the window's
//! pages the same rights.

use super::state::{Event, Outcome, State};
use super::window::{self, BASE, LEN_BYTES, PAGE, PAGES, Rights};
use c2w_decoders::x86_64::board::PcBoard;
use c2w_decoders::x86_64::control;
use c2w_decoders::x86_64::decode::decode;
use c2w_decoders::x86_64::exception::settle;
use c2w_decoders::x86_64::guest::X86_64;
use c2w_decoders::x86_64::insn::{Insn, InsnFlags};
use c2w_decoders::x86_64::segment::{Segment, SegmentRegister};
use c2w_decoders::x86_64::state::State as SystemState;
use c2w_decoders::x86_64::trap::{Kind, error_of, kind_of, vector_of};
use c2w_decoders::x86_64::{flags, mmu, mode, regs};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{BlockEnd, run_ir};
use c2w_engine::guest::{Guest, Mode, Trap};
use c2w_engine::ir::verify::verify;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::jit::{CODE_BYTES, Translator};
use c2w_engine::mem::ram::Ram;

/// Which builder runs our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The interpreter.
    Eager,
    /// Recorded IR.
    Ir,
    /// Code for this processor.
    Native,
}

/// All of them.
pub const TIERS: [Tier; 3] = [Tier::Eager, Tier::Ir, Tier::Native];

/// Longest instruction.
const MAX_BYTES: u64 = 15;
/// A string instruction may return to itself as often.
const MAX_RESTARTS: usize = 100_000;

/// The page tables lie behind the window in RAM, one page for each level.
const TABLES: u64 = BASE + LEN_BYTES;
const LEVELS: u64 = 4;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const USER: u64 = 4;
const NO_EXECUTE: u64 = 1 << 63;

/// A vCPU over the window.
pub struct Ours {
    /// The vCPU.
    pub cpu: Cpu<X86_64>,
    translator: Translator,
    code_32: bool,
}

impl Default for Ours {
    fn default() -> Self {
        Self::new()
    }
}

impl Ours {
    /// A vCPU in user mode over the zeroed window, with INT3 in the pages of code.
    pub fn new() -> Self {
        let attention = Attention::default();
        let lines = IrqLines::new(&attention);
        let clock = Box::new(InstructionClock::new(1));
        let ram = Ram::new(Gpa(BASE), LEN_BYTES + LEVELS * PAGE);
        let mut cpu = Cpu::new(X86_64::new(system_state()), ram, PcBoard::bare(), lines, attention, clock);
        map(&mut cpu.ram);
        let code = window::page(window::CODE_PAGES.start)..window::page(window::CODE_PAGES.end);
        let len = code.end - code.start;
        cpu.ram.slice_mut(Gpa(code.start), len).expect("the window is RAM").fill(0xcc);
        mmu::select_space(&mut cpu);
        flags::set_rflags(&mut cpu, flags::FIXED | flags::IF);
        mode::refresh(&mut cpu);
        let translator = Translator::new::<X86_64>(CODE_BYTES, 0).expect("this host runs generated code");
        let mut ours = Self { cpu, translator, code_32: true };
        ours.select_code(false);
        ours
    }

    /// Whether page tables give rights: without that only what is allowed can be compared.
    pub fn has_paging(&mut self) -> bool {
        let unmapped = PAGES.iter().position(|&rights| rights == Rights::None).unwrap_or(0);
        self.cpu.fetch_page(Gva(window::page(unmapped as u64))).is_err()
    }

    /// The bytes of the window.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.cpu.ram.slice_mut(Gpa(BASE), LEN_BYTES).expect("the window is RAM")
    }

    /// The mode that 64-bit or 32-bit code is decoded under.
    pub fn mode(&mut self, code_32: bool) -> Mode {
        self.select_code(code_32);
        self.cpu.mode()
    }

    fn select_code(&mut self, code_32: bool) {
        if self.code_32 == code_32 {
            return;
        }
        self.code_32 = code_32;
        let segments = &mut self.cpu.guest.segments;
        let (code, data) = if code_32 {
            (Segment::code_32(0x23, 3), Segment::data(0x2b, 3))
        } else {
            (Segment::code_64(0x33, 3), Segment::default())
        };
        *segments = [Segment::default(); 6];
        segments[SegmentRegister::Cs as usize] = code;
        segments[SegmentRegister::Ss as usize] = Segment::data(0x2b, 3);
        segments[SegmentRegister::Ds as usize] = data;
        segments[SegmentRegister::Es as usize] = data;
        mode::refresh(&mut self.cpu);
    }

    fn load(&mut self, state: &State) {
        let slots = &mut self.cpu.slots;
        slots[..16].copy_from_slice(&state.gpr);
        slots[usize::from(regs::FS_BASE.0)] = state.fs_base;
        slots[usize::from(regs::GS_BASE.0)] = state.gs_base;
        slots[usize::from(regs::MXCSR.0)] = u64::from(state.mxcsr);
        let x87 = &state.x87;
        slots[usize::from(regs::X87_CONTROL.0)] = u64::from(x87.control);
        slots[usize::from(regs::X87_STATUS.0)] = u64::from(x87.status);
        slots[usize::from(regs::X87_TAGS.0)] = u64::from(x87.tags);
        slots[usize::from(regs::X87_OPCODE.0)] = u64::from(x87.opcode);
        slots[usize::from(regs::X87_IP.0)] = x87.ip;
        slots[usize::from(regs::X87_DP.0)] = x87.dp;
        for (number, (significand, exponent)) in (0..).zip(x87.registers) {
            slots[usize::from(regs::x87_significand(number).0)] = significand;
            slots[usize::from(regs::x87_exponent(number).0)] = u64::from(exponent);
        }
        for (number, halves) in (0..).zip(&state.xmm) {
            let first = usize::from(regs::vector(number).0);
            slots[first..first + 2].copy_from_slice(halves);
        }
        flags::set_rflags(&mut self.cpu, state.rflags);
        self.cpu.pc = Gva(state.rip);
        mode::refresh(&mut self.cpu);
    }

    /// The state of the vCPU.
    pub fn state(&mut self) -> State {
        let rflags = flags::rflags(&mut self.cpu);
        let slots = &self.cpu.slots;
        let slot = |slot: c2w_engine::emit::Slot| slots[usize::from(slot.0)];
        let mut state = State {
            rip: self.cpu.pc.0,
            rflags,
            fs_base: slot(regs::FS_BASE),
            gs_base: slot(regs::GS_BASE),
            mxcsr: slot(regs::MXCSR) as u32,
            ..State::default()
        };
        state.gpr.copy_from_slice(&slots[..16]);
        let x87 = &mut state.x87;
        x87.control = slot(regs::X87_CONTROL) as u16;
        x87.status = slot(regs::X87_STATUS) as u16;
        x87.tags = slot(regs::X87_TAGS) as u8;
        x87.opcode = slot(regs::X87_OPCODE) as u16;
        x87.ip = slot(regs::X87_IP);
        x87.dp = slot(regs::X87_DP);
        for (number, register) in (0..).zip(&mut x87.registers) {
            *register = (slot(regs::x87_significand(number)), slot(regs::x87_exponent(number)) as u16);
        }
        for (number, halves) in (0..).zip(&mut state.xmm) {
            let first = usize::from(regs::vector(number).0);
            halves.copy_from_slice(&slots[first..first + 2]);
        }
        state
    }

    /// Runs the instruction at `state.rip`, in 64-bit or 32-bit code.
    ///
    /// # Errors
    /// Recorded IR broke an invariant; the text says which.
    pub fn run(&mut self, state: &State, code_32: bool, tier: Tier) -> Result<Outcome, String> {
        self.select_code(code_32);
        self.load(state);
        let start = self.cpu.pc;
        for _ in 0..MAX_RESTARTS {
            let code = self.cpu.ram.slice(Gpa(start.0), MAX_BYTES).expect("code is in the window");
            let decoded = decode(code, self.cpu.mode()).expect("no instruction is longer");
            let (insns, len) = ([decoded.insn], decoded.len_bytes);
            let end = self.run_block(start, &insns, &[0], u16::from(len), tier)?;
            // Trap delivery would need tables; what it would be told is all that counts here.
            self.cpu.request = None;
            let next = match end {
                BlockEnd::Trapped { trap, .. } => {
                    let trap = settle(&mut self.cpu, trap);
                    if kind_of(trap.cause) == Kind::Software {
                        self.cpu.pc = start.offset(trap.value);
                    }
                    return Ok(self.outcome(Some(trap)));
                }
                BlockEnd::Next(next) | BlockEnd::Cut { next, .. } => next,
            };
            if next == start && insns[0].flags.intersects(InsnFlags::REP | InsnFlags::REPNE) {
                continue;
            }
            self.cpu.pc = next;
            let fetched = self.cpu.fetch_page(next).err();
            return Ok(self.outcome(fetched));
        }
        Err(format!("still at {:#x} after {MAX_RESTARTS} times", start.0))
    }

    /// Runs the instructions from `state.rip` to `end`, in blocks as the machine would.
    ///
    /// # Errors
    /// Recorded IR broke an invariant, or the instructions did not get to `end`; the text says which.
    pub fn run_sequence(&mut self, state: &State, end: u64, tier: Tier) -> Result<Outcome, String> {
        const MAX_BLOCKS: usize = 8;
        self.select_code(false);
        self.load(state);
        for _ in 0..MAX_BLOCKS {
            let start = self.cpu.pc;
            if start.0 == end {
                return Ok(self.outcome(None));
            }
            let code = self.cpu.ram.slice(Gpa(start.0), end.wrapping_sub(start.0));
            let code = code.map_err(|error| error.to_string())?.to_vec();
            let (mut insns, mut offsets, mut at) = (Vec::new(), Vec::new(), 0);
            while at < code.len() {
                let decoded =
                    decode(&code[at..], self.cpu.mode()).ok_or("code ends within an instruction")?;
                insns.push(decoded.insn);
                offsets.push(at as u16);
                at += usize::from(decoded.len_bytes);
                if decoded.ends_block {
                    break;
                }
            }
            match self.run_block(start, &insns, &offsets, at as u16, tier)? {
                BlockEnd::Next(next) => self.cpu.pc = next,
                other => return Err(format!("{other:?}: {insns:?}")),
            }
        }
        Err(format!("{:#x} is not {end:#x}", self.cpu.pc.0))
    }

    fn run_block(
        &mut self,
        start: Gva,
        insns: &[Insn],
        offsets: &[u16],
        len_bytes: u16,
        tier: Tier,
    ) -> Result<BlockEnd, String> {
        if tier == Tier::Eager {
            return Ok(X86_64::run_block(&mut self.cpu, start, len_bytes.into(), insns, offsets));
        }
        let block = X86_64::record(insns, offsets, len_bytes, &[]);
        verify(&block, X86_64::HELPERS).map_err(|error| format!("{error}: {insns:?}"))?;
        if tier == Tier::Native
            && let Some(end) = self.translator.run_block(&mut self.cpu, start, &block)
        {
            return Ok(end);
        }
        Ok(run_ir(&mut self.cpu, start, &block))
    }

    fn outcome(&mut self, trap: Option<Trap>) -> Outcome {
        let event = match trap {
            None => Event::Done,
            Some(trap) => {
                let vector = vector_of(trap.cause);
                Event::Exception {
                    vector,
                    error: error_of(trap.cause),
                    address: (vector == 14).then_some(trap.value),
                }
            }
        };
        Outcome { event, state: self.state() }
    }
}

/// What Linux sets up for user code.
fn system_state() -> SystemState {
    let mut state = SystemState::flat_64(3);
    state.cr0 |= control::CR0_PG | control::CR0_WP | control::CR0_AM;
    state.cr4 |= control::CR4_FSGSBASE | control::CR4_OSXSAVE | control::CR4_UMIP;
    state.cr4 |= control::CR4_SMEP | control::CR4_SMAP;
    state.cr3 = TABLES;
    state
}

/// Writes the page tables.
fn map(ram: &mut Ram) {
    let mut put = |table: u64, index: u64, entry: u64| {
        let at = Gpa(table + 8 * (index & 511));
        ram.write(at, &entry.to_le_bytes()).expect("tables are in RAM");
    };
    for level in 0..LEVELS - 1 {
        let shift = 12 + 9 * (LEVELS - 1 - level);
        let table = TABLES + level * PAGE;
        put(table, BASE >> shift, (table + PAGE) | PRESENT | WRITABLE | USER);
    }
    let last = TABLES + (LEVELS - 1) * PAGE;
    for (index, rights) in (0..).zip(PAGES) {
        let rights = match rights {
            Rights::None => continue,
            Rights::Read => PRESENT | USER | NO_EXECUTE,
            Rights::Write => PRESENT | USER | WRITABLE | NO_EXECUTE,
            Rights::Execute => PRESENT | USER,
        };
        put(last, (BASE >> 12) + index, window::page(index) | rights);
    }
}

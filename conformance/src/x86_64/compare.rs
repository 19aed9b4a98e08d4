//! What differs between the processor and our vCPU after one instruction, in words.

use super::approximate;
use super::generate::Case;
use super::makers::{self, page_fault};
use super::native::Native;
use super::ours::{Ours, TIERS};
use super::state::{Event, Outcome, State};
use super::undefined;
use super::window::{self, COMPARED, Rights};
use c2w_decoders::x86_64::flags;
use c2w_engine::guest::Mode;
use iced_x86::{Formatter, InstructionInfoFactory, IntelFormatter, Mnemonic, Register};
use std::fmt::Write as _;

/// What of RFLAGS is compared. RF is set in what a fault leaves behind, and belongs to the delivery of exceptions.
const FLAGS: u64 = flags::ARITHMETIC | flags::DF | flags::AC | flags::ID | flags::NT | flags::IF | flags::TF;

const GPR: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// What a case showed.
pub struct Checked {
    /// The processor raised an exception.
    pub exception: bool,
    /// What differs.
    pub difference: Option<String>,
}

/// The processor and our vCPU over the same memory.
pub struct Bench {
    native: Native,
    ours: Ours,
    /// What the compared memory holds before each case.
    data: Vec<u8>,
}

fn compared() -> std::ops::Range<usize> {
    COMPARED.start as usize..COMPARED.end as usize
}

impl Bench {
    /// Both, with this content of the compared memory.
    ///
    /// # Errors
    /// The system does not map what instructions run in.
    pub fn new(mut fill: impl FnMut() -> u64) -> std::io::Result<Self> {
        let data = compared().step_by(8).flat_map(|_| fill().to_le_bytes()).collect();
        Ok(Self { native: Native::new()?, ours: Ours::new(), data })
    }

    /// Whether our side walks page tables.
    pub fn has_paging(&mut self) -> bool {
        self.ours.has_paging()
    }

    /// Whether the bases of FS and GS can be chosen.
    pub fn has_segment_bases(&self) -> bool {
        self.native.has_segment_bases()
    }

    /// The mode that our side decodes 64-bit or 32-bit code under.
    pub fn mode(&mut self, code_32: bool) -> Mode {
        self.ours.mode(code_32)
    }

    fn prepare(bytes: &mut [u8], data: &[u8], case: &Case, code_bytes: &[u8]) {
        bytes[compared()].copy_from_slice(data);
        for (address, patch) in &case.patches {
            let at = (address - window::BASE) as usize;
            bytes[at..at + patch.len()].copy_from_slice(patch);
        }
        let at = (case.state.rip - window::BASE) as usize;
        bytes[at..at + code_bytes.len()].copy_from_slice(code_bytes);
    }

    /// Runs a case everywhere.
    pub fn check(&mut self, case: &Case) -> Checked {
        let native = case.substitute.as_ref().unwrap_or(&case.bytes);
        Self::prepare(self.native.bytes(), &self.data, case, native);
        // SAFETY: the generator makes no instruction that enters the system or loops, and excluded ones are not run; what
        // lies outside of the window is at addresses that random numbers do not meet.
        let mut want = unsafe { self.native.run(&case.state, case.bytes.len(), case.code_32) };
        let exception = want.event != Event::Done;
        let mut reports = String::new();
        for tier in TIERS {
            Self::prepare(self.ours.bytes(), &self.data, case, &case.bytes);
            let mut got = match self.ours.run(&case.state, case.code_32, tier) {
                Ok(got) => got,
                Err(error) => {
                    reports = describe(case);
                    let _ = writeln!(reports, "    {tier:?}: {error}");
                    break;
                }
            };
            if makers::is_open(case, &want, &got) {
                continue;
            }
            normalise(case, &mut want, &mut got);
            // What was written before the part that faulted is not compared.
            let parts = makers::accesses_in_parts(case.insn.mnemonic());
            let memory = match page_fault(&want) {
                Some(_) if parts => None,
                _ => memory(case, want.event != Event::Done, self.native.bytes(), self.ours.bytes()),
            };
            if want == got && memory.is_none() {
                continue;
            }
            reports = describe(case);
            let _ = writeln!(reports, "    {tier:?}:");
            differences(&mut reports, &case.state, &want, &got);
            reports.extend(memory);
            break;
        }
        // The next case finds INT3 everywhere again.
        let at = (case.state.rip - window::BASE) as usize;
        self.native.bytes()[at..at + case.bytes.len()].fill(0xcc);
        self.ours.bytes()[at..at + case.bytes.len()].fill(0xcc);
        Checked { exception, difference: (!reports.is_empty()).then_some(reports) }
    }
}

impl Bench {
    /// Runs instructions that access no memory and end behind the last of them, and compares general registers and the
    /// flags in `defined`.
    pub fn check_sequence(&mut self, code: &[u8], state: &State, defined: u64) -> Option<String> {
        let at = (state.rip - window::BASE) as usize;
        self.native.bytes()[at..at + code.len()].copy_from_slice(code);
        self.ours.bytes()[at..at + code.len()].copy_from_slice(code);
        // SAFETY: the caller's instructions access no memory and go forward.
        let mut want = unsafe { self.native.run(state, 0, false) };
        want.state.rflags &= defined;
        let mut report = None;
        for tier in TIERS {
            let end = state.rip + code.len() as u64;
            let mut text = format!("  {code:02x?} {tier:?}\n");
            match self.ours.run_sequence(state, end, tier) {
                Err(error) => text.push_str(&error),
                Ok(mut got) => {
                    got.state.rflags &= defined;
                    if want.event == got.event
                        && (want.state.gpr, want.state.rip, want.state.rflags)
                            == (got.state.gpr, got.state.rip, got.state.rflags)
                    {
                        continue;
                    }
                    differences(&mut text, state, &want, &got);
                }
            }
            report = Some(text);
            break;
        }
        self.native.bytes()[at..at + code.len()].fill(0xcc);
        self.ours.bytes()[at..at + code.len()].fill(0xcc);
        report
    }
}

/// Removes what is not compared.
fn normalise(case: &Case, want: &mut Outcome, got: &mut Outcome) {
    let mask = FLAGS & !undefined::flags(case);
    for outcome in [&mut *want, &mut *got] {
        outcome.state.rflags &= mask;
        // Linux does not tell apart what is behind kernel addresses, to which the last page of the lower half belongs.
        if let Event::Exception { vector: 14, error: Some(error), address: Some(address) } =
            &mut outcome.event
            && *address >= (1 << 47) - window::PAGE
        {
            *error &= !1;
        }
    }
    makers::forgive(case, want, got);
    approximate::forgive(&case.insn, case.state.x87.status, want, got);
    if undefined::result(case) {
        let register = case.insn.op0_register();
        if register != Register::None {
            let number = register.full_register().number() & 15;
            got.state.gpr[number] = want.state.gpr[number];
        }
    }
}

/// The first difference in memory, after an instruction that may have faulted.
fn memory(case: &Case, faulted: bool, want: &[u8], got: &[u8]) -> Option<String> {
    if want[compared()] == got[compared()] {
        return None;
    }
    let area = match case.insn.mnemonic() {
        Mnemonic::Push | Mnemonic::Call => case.state.gpr[4],
        _ => address_of_memory(case),
    };
    let area = area.wrapping_sub(window::BASE);
    for at in compared() {
        let distance = (at as u64).wrapping_sub(area) as i64;
        if want[at] != got[at] && !makers::is_byte_open(case, faulted, distance) {
            if undefined::result(case) && case.insn.op0_register() == Register::None {
                return None;
            }
            let end = (at + 16).min(compared().end);
            return Some(format!(
                "      memory at {:#x}: processor {:02x?} here {:02x?}\n",
                window::BASE + at as u64,
                &want[at..end],
                &got[at..end],
            ));
        }
    }
    None
}

/// Address of the memory operand.
pub(super) fn address_of_memory(case: &Case) -> u64 {
    let index = (0..case.insn.op_count()).find(|&i| case.insn.op_kind(i) == iced_x86::OpKind::Memory);
    let state = &case.state;
    let value = |register: Register, _: usize, _: usize| match register {
        Register::FS => Some(state.fs_base),
        Register::GS => Some(state.gs_base),
        register if register.is_segment_register() => Some(0),
        register => {
            let all = state.gpr[register.full_register().number() & 15];
            Some(if register.size() == 4 { all & 0xffff_ffff } else { all })
        }
    };
    index.and_then(|index| case.insn.virtual_address(index, 0, value)).unwrap_or(0)
}

fn describe(case: &Case) -> String {
    let mut text = String::new();
    let bytes: Vec<String> = case.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut disassembly = String::new();
    IntelFormatter::new().format(&case.insn, &mut disassembly);
    let _ = writeln!(text, "  [{}] \"{disassembly}\"", bytes.join(" "));
    let mut used = String::new();
    let mut factory = InstructionInfoFactory::new();
    let mut seen = Vec::new();
    for register in factory.info(&case.insn).used_registers() {
        let register = register.register().full_register();
        if seen.contains(&register) {
            continue;
        }
        seen.push(register);
        let number = register.number();
        if register.is_gpr() {
            let _ = write!(used, " {}={:#x}", GPR[number & 15], case.state.gpr[number & 15]);
        } else if register.is_vector_register() {
            let [low, high] = case.state.xmm[number & 15];
            let _ = write!(used, " xmm{number}={high:016x}_{low:016x}");
        } else if register.is_mm() {
            let _ = write!(used, " mm{number}={:#x}", case.state.x87.registers[number & 7].0);
        } else if register.is_st() {
            let x87 = &case.state.x87;
            let (significand, exponent) = x87.registers[x87.physical(number)];
            let _ = write!(used, " st{number}={exponent:04x}:{significand:016x}");
        }
    }
    let memory = address_of_memory(case);
    if memory != 0 {
        let _ = write!(used, " address={memory:#x}");
        let offset = memory.wrapping_sub(window::BASE) / window::PAGE;
        let rights = window::PAGES.get(offset as usize).copied().unwrap_or(Rights::None);
        let _ = write!(used, " ({rights:?})");
        for (address, patch) in case.patches.iter().filter(|(address, _)| *address == memory) {
            let _ = write!(used, " [{address:#x}]={:02x?}", &patch[..patch.len().min(16)]);
        }
    }
    let state = &case.state;
    let _ = writeln!(text, "    before:{used} rflags={:#x} mxcsr={:#x}", state.rflags, state.mxcsr);
    let x87 = &state.x87;
    if seen.iter().any(|register| register.is_st() || register.is_mm()) || is_x87(case) {
        let _ = writeln!(
            text,
            "    x87: control={:#x} status={:#x} tags={:#x} top={}",
            x87.control,
            x87.status,
            x87.tags,
            x87.status >> 11 & 7
        );
    }
    text
}

fn is_x87(case: &Case) -> bool {
    format!("{:?}", case.insn.code()).starts_with('F')
}

fn differences(text: &mut String, before: &State, want: &Outcome, got: &Outcome) {
    if want.event != got.event {
        let _ = writeln!(text, "      processor {:x?}, here {:x?}", want.event, got.event);
    }
    let (w, g) = (&want.state, &got.state);
    let mut line = |name: &str, before: u64, want: u64, got: u64| {
        if want != got {
            let _ = writeln!(text, "      {name}: before {before:#x} processor {want:#x} here {got:#x}");
        }
    };
    for (i, name) in GPR.iter().enumerate() {
        line(name, before.gpr[i], w.gpr[i], g.gpr[i]);
    }
    line("rip", before.rip, w.rip, g.rip);
    line("rflags", before.rflags, w.rflags, g.rflags);
    line("fs base", before.fs_base, w.fs_base, g.fs_base);
    line("gs base", before.gs_base, w.gs_base, g.gs_base);
    line("mxcsr", before.mxcsr.into(), w.mxcsr.into(), g.mxcsr.into());
    for i in 0..16 {
        if w.xmm[i] != g.xmm[i] {
            for half in [1, 0] {
                let name = format!("xmm{i}[{half}]");
                line(&name, before.xmm[i][half], w.xmm[i][half], g.xmm[i][half]);
            }
        }
    }
    let (b, w, g) = (&before.x87, &w.x87, &g.x87);
    line("x87 control", b.control.into(), w.control.into(), g.control.into());
    line("x87 status", b.status.into(), w.status.into(), g.status.into());
    line("x87 tags", b.tags.into(), w.tags.into(), g.tags.into());
    line("x87 opcode", b.opcode.into(), w.opcode.into(), g.opcode.into());
    line("x87 ip", b.ip, w.ip, g.ip);
    line("x87 dp", b.dp, w.dp, g.dp);
    for i in 0..8 {
        line(&format!("R{i} significand"), b.registers[i].0, w.registers[i].0, g.registers[i].0);
        let exponents = [b, w, g].map(|x87| u64::from(x87.registers[i].1));
        line(&format!("R{i} exponent"), exponents[0], exponents[1], exponents[2]);
    }
}

//! The machine that instruction cases run on.

use super::{MENVCFG, machine};
use crate::ins::Subject;
use c2w_decoders::riscv64::asm;
use c2w_decoders::riscv64::board::RAM_BASE;
use c2w_decoders::riscv64::csr::{self, CsrOp};
use c2w_decoders::riscv64::decode::decode;
use c2w_decoders::riscv64::float_env;
use c2w_decoders::riscv64::guest::{Riscv64, resume};
use c2w_decoders::riscv64::names;
use c2w_decoders::riscv64::regs::{self, FpState, Privilege};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::BlockEnd;
use c2w_engine::guest::Guest;
use c2w_engine::jit::Translator;
use c2w_engine::machine::Machine;
use std::collections::BTreeMap;

/// Registers of the hart that cases set and see, besides those in slots.
const CSRS: [(&str, u64); 9] = [
    ("mstatus", 0x300),
    ("mie", 0x304),
    ("mcounteren", 0x306),
    ("menvcfg", MENVCFG),
    ("mscratch", 0x340),
    ("mepc", 0x341),
    ("sscratch", 0x140),
    ("sepc", 0x141),
    ("satp", 0x180),
];

const RAM_BYTES: u64 = 0x1_0000;
/// Where exceptions lead: apart from the code and data of cases.
const HANDLER: u64 = RAM_BASE.0 + 0xf000;
/// `jal zero, 0`: what follows a case's code, and the handler.
const STAY: [u8; 4] = [0x6f, 0, 0, 0];
/// Most blocks that a case runs.
const MOST_BLOCKS: u32 = 64;

/// The machine of instruction cases. Code is at 0x8000_0000, memory ends at 0x8001_0000. If `TRANSLATED`, blocks of a
/// case's code are translated to code of this host.
pub struct InsMachine<const TRANSLATED: bool> {
    machine: Machine<Riscv64>,
    translator: Option<Translator>,
    start: u64,
    code_len: u64,
}

impl<const TRANSLATED: bool> InsMachine<TRANSLATED> {
    fn cpu(&mut self) -> &mut Cpu<Riscv64> {
        &mut self.machine.cpu
    }

    /// The slot of a register by its name.
    fn slot(name: &str) -> Option<usize> {
        let x = (1..32).map(|n| (names::X[n as usize], regs::x(n)));
        let f = (0..32).map(|n| (names::F[n as usize], regs::f(n)));
        x.chain(f).find(|(known, _)| *known == name).map(|(_, slot)| slot.0 as usize)
    }

    /// Lets M-mode access registers whatever the privilege of the case.
    fn csr(&mut self, number: u64, op: CsrOp) -> u64 {
        let cpu = self.cpu();
        let privilege = std::mem::replace(&mut cpu.guest.state.privilege, Privilege::Machine);
        let value = csr::access(cpu, number, op, 0).expect("M-mode may access these registers");
        cpu.guest.state.privilege = privilege;
        resume(cpu);
        value
    }

    /// Runs the block at the vCPU's pc.
    fn run_block(&mut self) {
        if self.run_translated().is_none() {
            self.machine.run(1);
        }
    }

    /// Runs the block at the vCPU's pc translated, unless the interpreter is to run it: if it is not at an address of the
    /// case's code, or the run loop has something to look at first.
    fn run_translated(&mut self) -> Option<()> {
        let translator = self.translator.as_mut()?;
        let cpu = &mut self.machine.cpu;
        let (pc, end) = (cpu.pc, self.start + self.code_len);
        if !(self.start..end).contains(&pc.0) || Riscv64::interrupt(cpu).is_some() {
            return None;
        }
        let code = cpu.ram.slice(Gpa(pc.0), end - pc.0).ok()?.to_vec();
        let (mut insns, mut offsets, mut len_bytes) = (Vec::new(), Vec::new(), 0u16);
        while let Some(decoded) = decode(&code[usize::from(len_bytes)..], cpu.mode()) {
            insns.push(decoded.insn);
            offsets.push(len_bytes);
            len_bytes += u16::from(decoded.len_bytes);
            if decoded.ends_block {
                break;
            }
        }
        let block = Riscv64::record(&insns, &offsets, len_bytes, &[]);
        match translator.run_block(cpu, pc, &block)? {
            BlockEnd::Next(next) | BlockEnd::Cut { next, .. } => cpu.pc = next,
            BlockEnd::Trapped { index, trap } => {
                cpu.pc = pc.offset(offsets[index].into());
                Riscv64::deliver(cpu, trap);
            }
        }
        Some(())
    }

    /// Whether the code was left for the exception handler.
    fn trapped(&self) -> bool {
        self.machine.cpu.pc.0 == HANDLER
    }
}

impl<const TRANSLATED: bool> Subject for InsMachine<TRANSLATED> {
    const REWRITES: bool = !TRANSLATED;

    fn new() -> Self {
        let mut machine = machine(RAM_BYTES);
        machine.cpu.guest.state.mtvec = HANDLER;
        let translator = TRANSLATED.then(|| Translator::new::<Riscv64>(c2w_engine::jit::CODE_BYTES, 0));
        let translator = translator.map(|translator| translator.expect("this host runs generated code"));
        Self { machine, translator, start: RAM_BASE.0, code_len: 0 }
    }

    fn set_register(&mut self, name: &str, value: u64) -> bool {
        if let Some(slot) = Self::slot(name) {
            self.cpu().slots[slot] = value;
        } else if name == "fflags" {
            float_env::set_flags(self.cpu(), value);
        } else if name == "frm" {
            float_env::set_rounding_mode(self.cpu(), value);
            resume(self.cpu());
        } else if let Some((_, number)) = CSRS.iter().find(|(known, _)| *known == name) {
            self.csr(*number, CsrOp::Write(value));
        } else if name == "priv" {
            self.cpu().guest.state.privilege = match value {
                0 => Privilege::User,
                1 => Privilege::Supervisor,
                3 => Privilege::Machine,
                _ => return false,
            };
            resume(self.cpu());
        } else if name == "pc" {
            self.start = value;
            self.cpu().pc = Gva(value);
        } else {
            return false;
        }
        true
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.cpu().ram.write(Gpa(address), bytes).is_ok()
    }

    fn memory(&self) -> (u64, &[u8]) {
        let ram = &self.machine.cpu.ram;
        let data = ram.slice(ram.base(), ram.len_bytes()).expect("all of RAM is RAM");
        // Code is not data: it is written after the first look.
        (DATA, &data[(DATA - RAM_BASE.0) as usize..(HANDLER - RAM_BASE.0) as usize])
    }

    fn run(&mut self, code: &[u8]) {
        self.code_len = code.len() as u64;
        let start = self.start;
        let placed = self.write_memory(start, &[code, &STAY].concat()) && self.write_memory(HANDLER, &STAY);
        assert!(placed, "the code of a case fits RAM");
        for _ in 0..MOST_BLOCKS {
            self.run_block();
            if !(start..start + code.len() as u64).contains(&self.machine.cpu.pc.0) {
                break;
            }
        }
    }

    fn observe(&mut self) -> BTreeMap<String, u64> {
        let mut seen = BTreeMap::new();
        for name in names::X.iter().skip(1).chain(&names::F) {
            let slot = Self::slot(name).expect("registers have slots");
            seen.insert((*name).to_owned(), self.cpu().slots[slot]);
        }
        seen.insert("fflags".to_owned(), float_env::flags(self.cpu()));
        seen.insert("frm".to_owned(), float_env::rounding_mode(self.cpu()).into());
        let state = self.cpu().guest.state.clone();
        if self.trapped() {
            seen.insert("trap".to_owned(), state.mcause);
            seen.insert("tval".to_owned(), state.mtval);
            let at = state.mepc.wrapping_sub(self.start);
            if at != 0 {
                seen.insert("at".to_owned(), at);
            }
            return seen;
        }
        for (name, number) in CSRS {
            let value = self.csr(number, CsrOp::Read);
            seen.insert(name.to_owned(), value);
        }
        seen.insert("priv".to_owned(), state.privilege as u64);
        let pc = self.cpu().pc.0;
        // Going on behind the code is what every instruction does.
        let behind = self.start + self.code_len;
        seen.insert("pc".to_owned(), if pc == behind { self.start } else { pc });
        seen
    }

    fn disassemble(code: &[u8]) -> Vec<String> {
        let mode = regs::mode(Privilege::Machine, FpState::Dirty, 0);
        let (mut rest, mut lines) = (code, Vec::new());
        while let Some(decoded) = decode(rest, mode) {
            lines.push(decoded.insn.to_string());
            rest = &rest[usize::from(decoded.len_bytes)..];
        }
        if !rest.is_empty() {
            lines.push("incomplete".to_owned());
        }
        lines
    }

    fn assemble(text: &str) -> Option<Vec<u8>> {
        asm::assemble(&text.replace(';', "\n")).ok()
    }
}

/// First address of memory that cases may use as data.
const DATA: u64 = RAM_BASE.0 + 0x1000;

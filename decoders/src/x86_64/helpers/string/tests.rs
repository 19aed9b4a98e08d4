//! Repetition page by page against one element after the other.

use super::{BUDGET_BYTES, Repeat, What, repeat};
use crate::x86_64::flags::{self, DF, ZF};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::{self, RAX, RCX, RDI, RSI};
use crate::x86_64::testing::{cpu, get, set};
use c2w_engine::addr::{Gpa, PAGE_BYTES, Width};
use c2w_engine::cpu::Cpu;

/// The memory that is worked on.
const BASE: u64 = 0x1_0000;
const LEN_BYTES: usize = 5 * PAGE_BYTES as usize;

/// Registers that string instructions use, and memory.
#[derive(Clone, Debug, PartialEq)]
struct Machine {
    rcx: u64,
    rsi: u64,
    rdi: u64,
    rax: u64,
    zero: bool,
    bytes: Vec<u8>,
}

impl Machine {
    fn read(&self, at: u64, bytes: u64) -> u64 {
        let at = (at - BASE) as usize;
        let mut word = [0; 8];
        word[..bytes as usize].copy_from_slice(&self.bytes[at..at + bytes as usize]);
        u64::from_le_bytes(word)
    }

    /// What the manual says, an element at a time.
    fn run(&mut self, insn: Repeat, down: bool) {
        let bytes = insn.w.bytes();
        let step = if down { bytes.wrapping_neg() } else { bytes };
        while self.rcx != 0 {
            let a =
                if insn.what.has_source() { self.read(self.rsi, bytes) } else { self.rax & insn.w.mask() };
            let to = (self.rdi - BASE) as usize;
            match insn.what {
                What::Move | What::Fill => {
                    self.bytes[to..to + bytes as usize].copy_from_slice(&a.to_le_bytes()[..bytes as usize]);
                }
                What::Load => {
                    self.rax = if insn.w == Width::W32 { a } else { self.rax & !insn.w.mask() | a };
                }
                What::Compare | What::Scan => self.zero = a == self.read(self.rdi, bytes),
            }
            self.rcx -= 1;
            self.rsi = if insn.what.has_source() { self.rsi.wrapping_add(step) } else { self.rsi };
            self.rdi = if insn.what.has_destination() { self.rdi.wrapping_add(step) } else { self.rdi };
            if insn.what.compares() && self.zero == insn.while_not_equal {
                break;
            }
        }
    }

    fn load(&self, cpu: &mut Cpu<X86_64>, down: bool) {
        flags::set_rflags(cpu, if down { DF } else { 0 } | if self.zero { ZF } else { 0 });
        for (slot, value) in [(RCX, self.rcx), (RSI, self.rsi), (RDI, self.rdi), (RAX, self.rax)] {
            set(cpu, slot, value);
        }
        cpu.ram.write(Gpa(BASE), &self.bytes).expect("the memory is RAM");
    }

    fn store(cpu: &mut Cpu<X86_64>) -> Self {
        Self {
            rcx: get(cpu, RCX),
            rsi: get(cpu, RSI),
            rdi: get(cpu, RDI),
            rax: get(cpu, RAX),
            zero: flags::rflags(cpu) & ZF != 0,
            bytes: cpu.ram.slice(Gpa(BASE), LEN_BYTES as u64).expect("the memory is RAM").to_vec(),
        }
    }
}

/// A number below `end` from a sequence.
fn draw(state: &mut u64, end: u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % end
}

fn check(cpu: &mut Cpu<X86_64>, insn: Repeat, before: &Machine, down: bool) {
    let mut want = before.clone();
    want.run(insn, down);
    before.load(cpu, down);
    let mut calls = 1;
    while repeat(cpu, [insn.number(), 0, 0, 0]).expect("everything is RAM") == 1 {
        calls += 1;
    }
    let most = before.rcx * insn.w.bytes() / BUDGET_BYTES + 1;
    assert!(calls <= most, "{insn:?}: {calls} calls for {} elements", before.rcx);
    let got = Machine::store(cpu);
    let registers = |m: &Machine| (m.rcx, m.rsi, m.rdi, m.rax, m.zero);
    assert_eq!(registers(&got), registers(&want), "{insn:?} down {down} from {:x?}", registers(before));
    assert!(got.bytes == want.bytes, "{insn:?} down {down} from {:x?}", registers(before));
}

#[test]
fn as_one_element_after_the_other() {
    let mut cpu = cpu();
    let mut random = 1;
    for round in 0..1500 {
        let what = What::ALL[round % What::ALL.len()];
        let w = Width::ALL[draw(&mut random, 4) as usize];
        let down = draw(&mut random, 4) == 0;
        let insn = Repeat {
            what,
            w,
            address_width: [Width::W32, Width::W64][draw(&mut random, 2) as usize],
            while_not_equal: draw(&mut random, 2) == 0,
            source: regs::NONE,
            source_checked: false,
            destination_checked: false,
            linear_32: false,
        };
        // Two pages are in reach on both sides; often the operands overlap.
        let middle = BASE + 5 * PAGE_BYTES / 2;
        let rsi = middle - 300 + draw(&mut random, 600);
        let distance = [3, 9, 40, 2000][draw(&mut random, 4) as usize];
        let rdi = rsi - distance + draw(&mut random, 2 * distance);
        let most = [20, 200, PAGE_BYTES / w.bytes()][draw(&mut random, 3) as usize];
        let few_values = draw(&mut random, 2) == 0;
        let bytes = (0..LEN_BYTES).map(|_| {
            if few_values { u8::from(draw(&mut random, 400) == 0) } else { draw(&mut random, 256) as u8 }
        });
        let bytes = bytes.collect();
        let rax = if few_values { draw(&mut random, 2) } else { random };
        let before = Machine { rcx: draw(&mut random, most), rsi, rdi, rax, zero: false, bytes };
        check(&mut cpu, insn, &before, down);
    }
}

#[test]
fn code_that_is_overwritten_is_noticed() {
    let mut cpu = cpu();
    let insn = Repeat {
        what: What::Fill,
        w: Width::W64,
        address_width: Width::W64,
        while_not_equal: false,
        source: regs::NONE,
        source_checked: false,
        destination_checked: false,
        linear_32: false,
    };
    let before = Machine { rcx: 64, rsi: 0, rdi: BASE + 8, rax: 7, zero: false, bytes: vec![0; LEN_BYTES] };
    // The page is in the TLB before it holds code.
    check(&mut cpu, insn, &before, false);
    let page = c2w_engine::addr::Page::of(Gpa(BASE));
    cpu.note_code(page, 0x100, 4);
    check(&mut cpu, insn, &before, false);
    assert_eq!(cpu.ram.take_written_code(), [page]);
}

#[test]
fn offsets_wrap_at_the_address_size() {
    let mut cpu = cpu();
    let insn = Repeat {
        what: What::Fill,
        w: Width::W8,
        address_width: Width::W16,
        while_not_equal: false,
        source: regs::NONE,
        source_checked: false,
        destination_checked: false,
        linear_32: true,
    };
    cpu.ram.write(Gpa(0), &[0; 4]).expect("there is RAM");
    for (slot, value) in [(RCX, 0x5_0006), (RDI, 0x9_fffc), (RAX, 0xaa)] {
        set(&mut cpu, slot, value);
    }
    assert_eq!(repeat(&mut cpu, [insn.number(), 0, 0, 0]), Ok(0));
    assert_eq!((get(&cpu, RCX), get(&cpu, RDI)), (0x5_0000, 0x9_0002));
    assert_eq!(cpu.ram.slice(Gpa(0), 3).unwrap(), [0xaa, 0xaa, 0]);
    assert_eq!(cpu.ram.slice(Gpa(0xfffb), 5).unwrap(), [0, 0xaa, 0xaa, 0xaa, 0xaa]);
}

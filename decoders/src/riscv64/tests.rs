//! Programs in machine code that exercise the privileged architecture as a whole: each ends with a report in s10 and
//! s11 when it sets s9.

use super::asm::assemble;
use super::board::RAM_BASE;
use super::guest::{HartState, Riscv64};
use super::insns::ROWS;
use super::{regs, testing};
use c2w_engine::addr::Gpa;
use c2w_engine::machine::Exit;

/// Where the programs have their page tables, their handler and what they map.
const ROOT: u64 = 0x8000_4000;
const LEVEL_1: u64 = 0x8000_5000;
const LEVEL_0: u64 = 0x8000_6000;
const HANDLER: u64 = 0x8000_1000;
const PAGE: u64 = 0x8001_0000;

/// Assembly that puts a constant below 2^32 into a register.
fn load(register: &str, value: u64) -> String {
    let high = (value + 0x800) >> 12 & 0xf_ffff;
    let low = (value as i64) << 52 >> 52;
    // LUI sign-extends; the two shifts make the upper half zero again.
    format!(
        "lui {register}, {high:#x}\naddi {register}, {register}, {low}\nslli {register}, {register}, 32\n\
         srli {register}, {register}, 32\n"
    )
}

/// Assembly that writes a constant to a control register.
fn csr(number: u16, value: u64) -> String {
    format!("{}{}", load("t0", value), format_args!("csrrw zero, {number:#x}, t0\n"))
}

/// Assembly that opens all memory, sets `mtvec`, and reports and stops in the handler: `mcause` and `mtval`.
fn prologue() -> String {
    [
        "addi t0, zero, -1\nsrli t0, t0, 10\ncsrrw zero, 0x3b0, t0\ncsrrwi zero, 0x3a0, 31\n".into(),
        csr(0x305, HANDLER),
        // menvcfg.ADUE.
        "addi t0, zero, 1\nslli t0, t0, 61\ncsrrw zero, 0x30a, t0\n".into(),
    ]
    .concat()
}

/// Assembly that turns on Sv39 with the tables at [`ROOT`].
fn paging() -> String {
    format!(
        "{}addi t1, zero, 1\nslli t1, t1, 63\nor t0, t0, t1\ncsrrw zero, 0x180, t0\n",
        load("t0", ROOT >> 12)
    )
}

/// Assembly that returns from M-mode to `pc` in S-mode.
fn to_supervisor(pc: u64) -> String {
    [csr(0x341, pc), csr(0x300, 1 << 11), "mret\n".into()].concat()
}

const REPORT: &str =
    "csrrs s10, 0x342, zero\ncsrrs s11, 0x343, zero\naddi s9, zero, 1\nhalt: jal zero, halt\n";

/// Runs pieces of assembly from the first one on; gives s10 and s11. Other words are put into memory first.
fn run(pieces: &[(u64, String)], words: &[(u64, u64)]) -> (u64, u64) {
    let mut machine = testing::machine(&[]);
    let mut write = |at: u64, bytes: &[u8]| machine.cpu.ram.write(Gpa(at), bytes).unwrap();
    for (at, text) in pieces {
        write(*at, &assemble(text).unwrap_or_else(|error| panic!("{error} in\n{text}")));
    }
    for (at, word) in words {
        write(*at, &word.to_le_bytes());
    }
    let report =
        |machine: &c2w_engine::machine::Machine<_>, number| machine.cpu.slots[regs::x(number).0 as usize];
    for _ in 0..1000 {
        if let Exit::Waiting { deadline_ns: Some(deadline_ns) } = machine.run(20) {
            let retired = machine.cpu.retired;
            machine.cpu.clock.skip_to(deadline_ns, retired);
        }
        if report(&machine, 25) != 0 {
            return (report(&machine, 26), report(&machine, 27));
        }
    }
    panic!("the program did not end; it is at {}", machine.cpu.pc);
}

/// Tables that map gigabyte 2 to itself and the pages of `low` (numbers from 0, with physical address and flags).
fn tables(low: &[(u64, u64, u64)]) -> Vec<(u64, u64)> {
    const TABLE: u64 = 1;
    let entry = |target: u64, flags: u64| target >> 12 << 10 | flags;
    let mut words = vec![
        (ROOT, entry(LEVEL_1, TABLE)),
        (ROOT + 16, entry(RAM_BASE.0, 0xcf)),
        (LEVEL_1, entry(LEVEL_0, TABLE)),
    ];
    words.extend(low.iter().map(|&(page, target, flags)| (LEVEL_0 + 8 * page, entry(target, flags))));
    words
}

#[test]
fn a_fetch_that_crosses_into_an_unmapped_page_reports_that_page() {
    // The lower half of "addi zero, zero, 0" is the last halfword of virtual page 1; page 2 is not mapped.
    let start = [prologue(), paging(), to_supervisor(0x1ffe)].concat();
    let words = [tables(&[(1, PAGE, 0xcb)]), vec![(PAGE + 0xff8, 0x0013 << 48)]].concat();
    assert_eq!(run(&[(RAM_BASE.0, start), (HANDLER, REPORT.into())], &words), (12, 0x2000));
}

#[test]
fn a_load_that_crosses_into_an_unmapped_page_reports_that_page_and_changes_nothing() {
    let code = "lui a0, 2\nld a1, -4(a0)\n";
    let start = [prologue(), paging(), to_supervisor(HANDLER + 0x800)].concat();
    let words = tables(&[(1, PAGE, 0xcf)]);
    let handler = [(HANDLER, REPORT.into()), (HANDLER + 0x800, code.into())];
    let (cause, value) = run(&[[(RAM_BASE.0, start)].as_slice(), &handler].concat(), &words);
    assert_eq!((cause, value), (13, 0x2000));
}

#[test]
fn mprv_reads_with_the_previous_privilege() {
    // M-mode with MPRV and MPP = S reads virtual page 1; without MPRV that address is no memory.
    let read = "lui a0, 1\nld s10, 8(a0)\ncsrrw zero, 0x300, zero\nld s11, 8(a0)\n";
    let start = [prologue(), paging(), csr(0x300, 1 << 17 | 1 << 11), read.into()].concat();
    let handler = "csrrs s11, 0x342, zero\naddi s9, zero, 1\nhalt: jal zero, halt\n";
    let words = [tables(&[(1, PAGE, 0xc3)]), vec![(PAGE + 8, 0x1234)]].concat();
    assert_eq!(run(&[(RAM_BASE.0, start), (HANDLER, handler.into())], &words), (0x1234, 5));
}

#[test]
fn a_changed_mapping_is_used_after_a_fence() {
    // S-mode reads page 1, writes another entry for it, fences, and reads again.
    let second = PAGE + 0x1000;
    let code = [
        "lui a0, 1\nld s10, 0(a0)\n".into(),
        load("t1", second >> 12 << 10 | 0xcf),
        load("t2", LEVEL_0),
        "sd t1, 8(t2)\nsfence.vma a0, zero\nld s11, 0(a0)\naddi s9, zero, 1\nhalt: jal zero, halt\n".into(),
    ]
    .concat();
    let start = [prologue(), paging(), to_supervisor(HANDLER + 0x800)].concat();
    let words = [tables(&[(1, PAGE, 0xcf)]), vec![(PAGE, 1), (second, 2)]].concat();
    let pieces = [(RAM_BASE.0, start), (HANDLER, REPORT.into()), (HANDLER + 0x800, code)];
    assert_eq!(run(&pieces, &words), (1, 2));
}

#[test]
fn code_that_is_overwritten_through_another_mapping_runs_as_written() {
    // Page 1 (executable) and page 2 (writable) are the same memory: "addi s10, zero, 1; jalr zero, 0(ra)" is called,
    // its first instruction replaced by "addi s10, zero, 2", and called again.
    let first =
        u64::from_le_bytes(assemble("addi s10, zero, 1\njalr zero, 0(ra)").unwrap().try_into().unwrap());
    let patch = u32::from_le_bytes(assemble("addi s10, zero, 2").unwrap().try_into().unwrap());
    let code = [
        "lui a0, 1\nlui a1, 2\njalr ra, 0(a0)\naddi s11, s10, 0\n".into(),
        load("t1", patch.into()),
        "sw t1, 0(a1)\nfence.i\njalr ra, 0(a0)\naddi s9, zero, 1\nhalt: jal zero, halt\n".into(),
    ]
    .concat();
    let start = [prologue(), paging(), to_supervisor(HANDLER + 0x800)].concat();
    let words = [tables(&[(1, PAGE, 0xcb), (2, PAGE, 0xc7)]), vec![(PAGE, first)]].concat();
    let pieces = [(RAM_BASE.0, start), (HANDLER, REPORT.into()), (HANDLER + 0x800, code)];
    assert_eq!(run(&pieces, &words), (2, 1));
}

#[test]
fn software_and_external_interrupts_reach_machine_mode() {
    // A write to msip of hart 0; the handler reports.
    let msip = [
        prologue(),
        "addi t0, zero, 8\ncsrrw zero, 0x304, t0\ncsrrwi zero, 0x300, 8\n".into(),
        load("t1", 0x200_0000),
        "addi t0, zero, 1\nsw t0, 0(t1)\nwait: jal zero, wait\n".into(),
    ]
    .concat();
    assert_eq!(run(&[(RAM_BASE.0, msip), (HANDLER, REPORT.into())], &[]), (1 << 63 | 3, 0));

    // The serial port's empty interrupt (source 10), enabled in the PLIC for M-mode; the handler claims it.
    let uart = [
        prologue(),
        load("t1", 0xc00_0028),
        "addi t0, zero, 1\nsw t0, 0(t1)\n".into(),
        load("t1", 0xc00_2000),
        "addi t0, zero, 1024\nsw t0, 0(t1)\n".into(),
        load("t1", 0x1000_0000),
        "addi t0, zero, 2\nsb t0, 1(t1)\n".into(),
        load("t0", 0x800),
        "csrrw zero, 0x304, t0\ncsrrwi zero, 0x300, 8\nwait: wfi\njal zero, wait\n".into(),
    ]
    .concat();
    let claim = [
        "csrrs s10, 0x342, zero\n".into(),
        load("t1", 0xc20_0004),
        "lw s11, 0(t1)\naddi s9, zero, 1\nhalt: jal zero, halt\n".into(),
    ]
    .concat();
    assert_eq!(run(&[(RAM_BASE.0, uart), (HANDLER, claim)], &[]), (1 << 63 | 11, 10));
}

#[test]
fn physical_memory_protection_stops_supervisor_code() {
    // Entry 0 protects PAGE (NAPOT, 4 KiB, no rights), entry 1 opens everything: S-mode's store there is refused.
    let start = [
        prologue(),
        "addi t0, zero, -1\nsrli t0, t0, 10\ncsrrw zero, 0x3b1, t0\n".into(),
        csr(0x3b0, PAGE >> 2 | 0x1ff),
        csr(0x3a0, 0x1f18),
        to_supervisor(HANDLER + 0x800),
    ]
    .concat();
    let code = [load("a0", PAGE), "sd a0, -8(a0)\nsd a0, 16(a0)\n".into()].concat();
    let pieces = [(RAM_BASE.0, start), (HANDLER, REPORT.into()), (HANDLER + 0x800, code)];
    assert_eq!(run(&pieces, &[]), (7, PAGE + 16));
}

/// A small generator: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn random_programs_end_nobody_else() {
    // Every instruction of the table with random operands, from M-mode down, with page tables in reach: whatever
    // happens is the guest's own business. Devices are hit by chance through x2 and x3.
    for seed in 1..=60 {
        let mut random = Random(seed << 32 | 0x9e37_79b9);
        let insns: Vec<u32> = (0..2048)
            .map(|_| {
                let row = &ROWS[random.next() as usize % ROWS.len()];
                row.bits | random.next() as u32 & !row.mask
            })
            .collect();
        let mut machine = testing::machine(&insns);
        for (at, word) in tables(&[(0, PAGE, 0xcf), (1, RAM_BASE.0, 0xdf)]) {
            machine.cpu.ram.write(Gpa(at), &word.to_le_bytes()).unwrap();
        }
        let pointers = [RAM_BASE.0, 0x1000_0000, 0xc00_0000, 0x200_0000, 0x1000, ROOT >> 12 | 8 << 60];
        for number in 1..32 {
            let slot = regs::x(number).0 as usize;
            machine.cpu.slots[slot] = pointers[random.next() as usize % pointers.len()];
        }
        machine.cpu.guest.state.mtvec = RAM_BASE.0;
        machine.cpu.guest.state.stvec = RAM_BASE.0;
        for _ in 0..50 {
            machine.run(200);
            // Off the beaten track: whatever the pc is now, some code goes on elsewhere.
            let at = (RAM_BASE.0 + random.next() % 8192) & !1;
            machine.cpu.pc = c2w_engine::addr::Gva(at);
        }
        let state = HartState::from(machine.cpu.guest.clone());
        assert!(Riscv64::try_from(state.clone()).is_ok(), "a running hart got into {state:?}");
    }
}

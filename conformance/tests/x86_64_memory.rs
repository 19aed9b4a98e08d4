//! Code and data that are in each other's way: self-modifying code, one page under two addresses, instructions and
//! locked accesses that cross into pages which they may not use. Programs with what the manual says they end in.

use c2w_conformance::x86_64::system::{
    CODE, Code, DATA, End, Finished, HANDLERS, LEAVES, Program, STACK, TABLES,
};

const HLT: u8 = 0xf4;
/// The second entry of the first level: all of RAM once more.
const ALIAS: u64 = 1 << 39;
const RAX: usize = 0;
const RSI: usize = 6;

fn program(code: &[u8]) -> Program {
    let mut program = Program::new(String::new(), Code::Long, 0, code);
    program.put_word(TABLES + 8, (TABLES + 0x1000) | 7);
    program
}

/// Rights of a page of RAM: bits of its last entry.
fn set_page(program: &mut Program, page: u64, bits: u64) {
    program.put_word(LEAVES + 8 * (page >> 12), page | bits);
}

fn word(finished: &Finished, at: u64) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&finished.memory[at as usize..at as usize + 8]);
    u64::from_le_bytes(bytes)
}

/// The vector of the exception that ended a program, its error code, and the address of its instruction.
fn page_fault(finished: &Finished) -> (u64, u64, u64, u64) {
    let vector = finished.rip.wrapping_sub(HANDLERS) / 16;
    let rsp = finished.gpr[4];
    (vector, word(finished, rsp), word(finished, rsp + 8), finished.control[1])
}

#[test]
fn code_that_changes_what_follows_in_its_block() {
    // mov byte [rip+1], 0x55; mov al, 1; hlt
    let done = program(&[0xc6, 0x05, 1, 0, 0, 0, 0x55, 0xb0, 1, HLT]).run();
    assert_eq!((done.end, done.gpr[RAX]), (End::Halt, 0x55));
}

#[test]
fn code_that_changes_the_next_block() {
    // mov byte [rip+3], 0x55; jmp +0; mov al, 1; hlt
    let done = program(&[0xc6, 0x05, 3, 0, 0, 0, 0x55, 0xeb, 0, 0xb0, 1, HLT]).run();
    assert_eq!((done.end, done.gpr[RAX]), (End::Halt, 0x55));
}

#[test]
fn code_that_was_run_is_changed_through_another_address() {
    // call L; mov byte [rsi], 0x55; call L; hlt; L: mov al, 1; ret
    let code = [0xe8, 9, 0, 0, 0, 0xc6, 0x06, 0x55, 0xe8, 1, 0, 0, 0, HLT, 0xb0, 1, 0xc3];
    let mut program = program(&code);
    program.gpr[RSI] = ALIAS + CODE + 15;
    let done = program.run();
    assert_eq!((done.end, done.gpr[RAX]), (End::Halt, 0x55));
}

#[test]
fn code_runs_under_two_addresses() {
    // test rsi, rsi; je L; inc eax; hlt; L: mov rsi, ALIAS + CODE; inc eax; jmp rsi
    let mut code = vec![0x48, 0x85, 0xf6, 0x74, 3, 0xff, 0xc0, HLT, 0x48, 0xbe];
    code.extend((ALIAS + CODE).to_le_bytes());
    code.extend([0xff, 0xc0, 0xff, 0xe6]);
    let done = program(&code).run();
    assert_eq!((done.end, done.gpr[RAX], done.rip), (End::Halt, 2, ALIAS + CODE + 8));
}

#[test]
fn an_instruction_that_ends_in_a_page_without_rights() {
    const NX: u64 = 1 << 63;
    // Not present; not executable.
    for (bits, error) in [(0, 0x10), (3 | NX, 0x11)] {
        // jmp rsi, to mov eax, 0x11223344 with two bytes in the first page.
        let mut program = program(&[0xff, 0xe6]);
        program.gpr[RSI] = DATA + 0xffe;
        program.put(DATA + 0xffe, &[0xb8, 0x44, 0x33, 0x22, 0x11, HLT]);
        set_page(&mut program, DATA + 0x1000, bits);
        let done = program.run();
        assert_eq!(page_fault(&done), (14, error, DATA + 0xffe, DATA + 0x1000));
        assert_eq!(done.gpr[RAX], 0);
    }
}

#[test]
fn an_instruction_that_crosses_into_another_page() {
    let mut program = program(&[0xff, 0xe6]);
    program.gpr[RSI] = DATA + 0xffe;
    program.put(DATA + 0xffe, &[0xb8, 0x44]);
    // The page behind is another one than in RAM.
    program.put_word(LEAVES + 8 * ((DATA >> 12) + 1), 0x2_0003);
    program.put(0x2_0000, &[0x33, 0x22, 0x11, HLT]);
    let done = program.run();
    assert_eq!((done.end, done.gpr[RAX]), (End::Halt, 0x1122_3344));
}

#[test]
fn a_locked_access_that_crosses_pages() {
    // lock add [rsi], eax; hlt
    let code = [0xf0, 0x01, 0x06, HLT];
    let mut program = program(&code);
    program.gpr[RAX] = 0x0101_0101;
    program.gpr[RSI] = DATA + 0xffe;
    program.put(DATA + 0xffe, &[0xff, 0, 0xff, 0]);
    let done = program.run();
    assert_eq!(done.end, End::Halt);
    assert_eq!(word(&done, DATA + 0xffe), 0x00ff_00ff + 0x0101_0101);
}

#[test]
fn a_locked_access_that_may_not_write_its_second_page() {
    let mut program = program(&[0xf0, 0x01, 0x06, HLT]);
    program.gpr[RAX] = 0x0101_0101;
    program.gpr[RSI] = DATA + 0xffe;
    program.put(DATA + 0xffe, &[0xff, 0, 0xff, 0]);
    set_page(&mut program, DATA + 0x1000, 1);
    let done = program.run();
    assert_eq!(page_fault(&done), (14, 3, CODE, DATA + 0x1000));
    assert_eq!(word(&done, DATA + 0xffe), 0x00ff_00ff);
    assert!(done.gpr[4] < STACK);
}

//! Alignment checks, instruction by instruction.

use crate::x86_64::control::CR0_AM;
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::{RAX, RSP};
use crate::x86_64::segment::Segment;
use crate::x86_64::state::State;
use crate::x86_64::testing::{cpu_with, set, step};
use crate::x86_64::{flags, mode, trap};
use c2w_engine::cpu::Cpu;

const DATA: u64 = 0x1_0000;
const PAGE_END: u64 = DATA + 0x1000;

/// A vCPU at a privilege level whose RFLAGS.AC is set.
fn checking(mut state: State, cr0: u64) -> Cpu<X86_64> {
    state.cr0 |= cr0;
    let mut cpu = cpu_with(state);
    flags::set_rflags(&mut cpu, flags::AC);
    mode::refresh(&mut cpu);
    cpu
}

/// Whether an instruction raises #AC with this address in RAX and RSP; otherwise it does what it is for.
fn is_refused(cpu: &mut Cpu<X86_64>, code: &[u8], address: u64) -> bool {
    set(cpu, RAX, address);
    set(cpu, RSP, address);
    match step(cpu, code) {
        Ok(_) => false,
        Err(trap) => {
            assert_eq!(trap, trap::plain(trap::ALIGNMENT), "{code:02x?}");
            true
        }
    }
}

#[test]
fn accesses_are_aligned_to_their_size() {
    // Code: the alignment it needs.
    let cases: &[(&str, &[u8], u64)] = &[
        ("mov al, [rax]", &[0x8a, 0x00], 1),
        ("mov ax, [rax]", &[0x66, 0x8b, 0x00], 2),
        ("mov ecx, [rax]", &[0x8b, 0x08], 4),
        ("mov rcx, [rax]", &[0x48, 0x8b, 0x08], 8),
        ("mov [rax], rcx", &[0x48, 0x89, 0x08], 8),
        ("add [rax], ecx", &[0x01, 0x08], 4),
        ("lock add [rax], ecx", &[0xf0, 0x01, 0x08], 4),
        ("lock cmpxchg8b [rax]", &[0xf0, 0x0f, 0xc7, 0x08], 8),
        ("bts [rax], ecx", &[0x0f, 0xab, 0x08], 4),
        ("push rcx", &[0x51], 8),
        ("pop rcx", &[0x59], 8),
        ("push cx", &[0x66, 0x51], 2),
        ("ret", &[0xc3], 8),
        ("call $ + 5", &[0xe8, 0, 0, 0, 0], 8),
        ("enter 0, 0", &[0xc8, 0, 0, 0], 8),
        ("pushfq", &[0x9c], 8),
        ("movups xmm0, [rax]", &[0x0f, 0x10, 0x00], 16),
        ("movups [rax], xmm0", &[0x0f, 0x11, 0x00], 16),
        ("movsd xmm0, [rax]", &[0xf2, 0x0f, 0x10, 0x00], 8),
        ("movss xmm0, [rax]", &[0xf3, 0x0f, 0x10, 0x00], 4),
        ("pmovzxbd xmm0, [rax]", &[0x66, 0x0f, 0x38, 0x31, 0x00], 4),
        ("movq mm0, [rax]", &[0x0f, 0x6f, 0x00], 8),
        ("fld tbyte [rax]", &[0xdb, 0x28], 8),
        ("fld qword [rax]", &[0xdd, 0x00], 8),
        ("fnstcw [rax]", &[0xd9, 0x38], 2),
        ("fnstenv [rax]", &[0xd9, 0x30], 4),
        ("fnsave [rax]", &[0xdd, 0x30], 4),
        ("sgdt [rax]", &[0x0f, 0x01, 0x00], 4),
        ("mov rcx, fs:[rax]", &[0x64, 0x48, 0x8b, 0x08], 8),
        ("lea rcx, [rax]", &[0x48, 0x8d, 0x08], 1),
        ("prefetcht0 [rax]", &[0x0f, 0x18, 0x08], 1),
        ("nop [rax]", &[0x0f, 0x1f, 0x00], 1),
    ];
    for &(name, code, alignment) in cases {
        let mut cpu = checking(State::flat_64(3), CR0_AM);
        for offset in 0..16 {
            let expected = !offset_is_fine(offset, alignment);
            assert_eq!(is_refused(&mut cpu, code, DATA + 64 + offset), expected, "{name} at {offset}");
        }
    }
}

fn offset_is_fine(offset: u64, alignment: u64) -> bool {
    offset.is_multiple_of(alignment)
}

#[test]
fn accesses_that_cross_pages_are_checked_as_a_whole() {
    // Both parts are aligned by themselves.
    let mut cpu = checking(State::flat_64(3), CR0_AM);
    assert!(is_refused(&mut cpu, &[0x48, 0x8b, 0x08], PAGE_END - 4));
    assert!(is_refused(&mut cpu, &[0x8b, 0x08], PAGE_END - 2));
    assert!(is_refused(&mut cpu, &[0x0f, 0x10, 0x00], PAGE_END - 8));
    // lodsd: an element of a string, whose address is RSI.
    let mut cpu = checking(State::flat_64(3), CR0_AM);
    for (offset, refused) in [(0, false), (PAGE_END - 2 - DATA, true)] {
        set(&mut cpu, crate::x86_64::regs::RSI, DATA + offset);
        set(&mut cpu, crate::x86_64::regs::RCX, 1);
        assert_eq!(step(&mut cpu, &[0xf3, 0xad]).is_err(), refused);
        set(&mut cpu, crate::x86_64::regs::RSI, DATA + offset);
        assert_eq!(step(&mut cpu, &[0xad]).is_err(), refused);
    }
}

#[test]
fn only_user_code_that_asks_for_it_is_checked() {
    let load = &[0x8b, 0x08];
    assert!(!is_refused(&mut checking(State::flat_64(0), CR0_AM), load, DATA + 1));
    assert!(!is_refused(&mut checking(State::flat_64(3), 0), load, DATA + 1));
    let mut cpu = checking(State::flat_64(3), CR0_AM);
    assert!(is_refused(&mut cpu, load, DATA + 1));
    // popfq clears AC: with the next instruction it is over.
    set(&mut cpu, RSP, DATA);
    step(&mut cpu, &[0x9d]).expect("the stack is aligned");
    assert!(!is_refused(&mut cpu, load, DATA + 1));
}

#[test]
fn code_of_32_bits_is_checked_by_linear_addresses() {
    let mut state = State::flat_64(3);
    state.segments[1] = Segment::code_32(0x23, 3);
    let mut cpu = checking(state, CR0_AM);
    set(&mut cpu, crate::x86_64::regs::DS_BASE, 2);
    mode::refresh(&mut cpu);
    assert!(is_refused(&mut cpu, &[0x8b, 0x08], DATA));
    assert!(!is_refused(&mut cpu, &[0x8b, 0x08], DATA + 2));
}

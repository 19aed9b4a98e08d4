//! Instructions in segments that are not flat.

use crate::x86_64::decode::decode;
use crate::x86_64::flags;
use crate::x86_64::guest::X86_64;
use crate::x86_64::mode;
use crate::x86_64::regs::{self, RAX, RBP, RBX, RCX, RDI, RSI, RSP};
use crate::x86_64::segment::{Attributes, Segment, SegmentRegister};
use crate::x86_64::state::State;
use crate::x86_64::testing::{cpu_with, get, set, word, write_words};
use crate::x86_64::trap::{self, vector};
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::BlockEnd;
use c2w_engine::emit::Slot;
use c2w_engine::guest::{Guest, TrapCause};

const CODE_BASE: u64 = 0x8000;
const STACK_BASE: u64 = 0x1_0000;
const DATA_BASE: u64 = 0x1_4000;
const EXTRA_BASE: u64 = 0x1_8000;
/// Where in the code segment the instructions are.
const EIP: u64 = 0x100;

const fn segment(limit: u32, attributes: u16) -> Segment {
    Segment { selector: 8, limit, attributes: Attributes(attributes) }
}

/// A vCPU in 32-bit code: readable code of 64 KiB, 4 KiB of stack, 256 bytes of read-only data in DS, data from 4 KiB on
/// (expand-down) in ES, nothing in FS.
fn cpu() -> Cpu<X86_64> {
    let mut state = State::flat_64(0);
    use SegmentRegister::{Cs, Ds, Es, Fs, Ss};
    let segments = [
        (Cs, segment(0xffff, 0xc09b), CODE_BASE),
        (Ss, segment(0xfff, 0xc093), STACK_BASE),
        (Ds, segment(0xff, 0xc091), DATA_BASE),
        (Es, segment(0xfff, 0xc097), EXTRA_BASE),
        (Fs, segment(0, 0), 0),
    ];
    for (register, segment, _) in segments {
        state.segments[register as usize] = segment;
    }
    let mut cpu = cpu_with(state);
    for (register, _, base) in segments {
        set(&mut cpu, register.base_slot(), base);
    }
    mode::refresh(&mut cpu);
    cpu
}

/// Runs one instruction.
fn run(cpu: &mut Cpu<X86_64>, code: &[u8]) -> Result<Gva, TrapCause> {
    let decoded = decode(code, cpu.mode()).expect("the encoding is complete");
    assert_eq!(usize::from(decoded.len_bytes), code.len(), "{code:02x?}");
    match X86_64::run_block(cpu, Gva(CODE_BASE + EIP), code.len() as u64, &[decoded.insn], &[0]) {
        BlockEnd::Next(next) => Ok(next),
        BlockEnd::Trapped { trap, .. } => Err(trap.cause),
        end => panic!("{end:?}"),
    }
}

/// What an instruction changes.
enum Effect {
    /// A register.
    Register(Slot, u64),
    /// The 64 bits at a linear address.
    Memory(u64, u64),
    /// The instruction pointer, from the base of CS.
    Pointer(u64),
    /// It faults.
    Fault(TrapCause),
}

const GP: TrapCause = trap::PROTECTION;
const SS: TrapCause = trap::fault_with(vector::SS, 0);
/// What memory holds at the start of each segment, and at the end of the data.
const START: u64 = 0x1122_3344_5566_7788;
const END: u64 = 0x99aa_bbcc_ddee_ff00;

#[test]
fn limits_and_types() {
    use Effect::{Fault, Memory, Pointer, Register};
    type Row = (&'static str, &'static [u8], &'static [(Slot, u64)], Effect);
    const VALUE: (Slot, u64) = (RAX, 0xdead_beef);
    let rows: &[Row] = &[
        ("mov eax, [ebx]", &[0x8b, 0x03], &[(RBX, 0xfc)], Register(RAX, END >> 32)),
        ("beyond the limit", &[0x8b, 0x03], &[(RBX, 0xfd)], Fault(GP)),
        ("offsets have 32 bits", &[0x8b, 0x43, 4], &[(RBX, 0xffff_fffc)], Register(RAX, START & 0xffff_ffff)),
        ("read-only data", &[0x89, 0x03], &[(RBX, 0), VALUE], Fault(GP)),
        ("read-modify-write of it", &[0x01, 0x03], &[(RBX, 0), VALUE], Fault(GP)),
        ("cmp [ebx], eax", &[0x39, 0x03], &[(RBX, 0), VALUE], Register(RAX, 0xdead_beef)),
        (
            "expand-down",
            &[0x26, 0x89, 0x03],
            &[(RBX, 0x1000), VALUE],
            Memory(EXTRA_BASE + 0x1000, 0xdead_beef),
        ),
        ("below its start", &[0x26, 0x89, 0x03], &[(RBX, 0xfff), VALUE], Fault(GP)),
        ("code is readable", &[0x2e, 0x8b, 0x03], &[(RBX, 0)], Register(RAX, START & 0xffff_ffff)),
        ("but not writable", &[0x2e, 0x89, 0x03], &[(RBX, 0), VALUE], Fault(GP)),
        ("no segment", &[0x64, 0x8b, 0x03], &[(RBX, 0)], Fault(GP)),
        ("lea asks no segment", &[0x64, 0x8d, 0x43, 1], &[(RBX, 9)], Register(RAX, 10)),
        ("mov eax, [ebp]", &[0x8b, 0x45, 0], &[(RBP, 0)], Register(RAX, START & 0xffff_ffff)),
        ("beyond the stack", &[0x8b, 0x45, 0], &[(RBP, 0xffd)], Fault(SS)),
        ("push eax", &[0x50], &[(RSP, 0x804), VALUE], Memory(STACK_BASE + 0x800, 0xdead_beef)),
        ("push beyond the limit", &[0x50], &[(RSP, 0x1004), VALUE], Fault(SS)),
        ("push below 0", &[0x50], &[(RSP, 2), VALUE], Fault(SS)),
        ("pop eax", &[0x58], &[(RSP, 0)], Register(RSP, 4)),
        ("pop beyond the limit", &[0x58], &[(RSP, 0xffe)], Fault(SS)),
        ("leave", &[0xc9], &[(RBP, 0)], Register(RBP, START & 0xffff_ffff)),
        ("call", &[0xe8, 0, 1, 0, 0], &[(RSP, 0x804)], Memory(STACK_BASE + 0x800, EIP + 5)),
        ("call goes there", &[0xe8, 0, 1, 0, 0], &[(RSP, 0x804)], Pointer(EIP + 0x105)),
        ("call beyond the limit", &[0xe8, 0, 0, 1, 0], &[(RSP, 0x804)], Fault(GP)),
        ("jmp", &[0xeb, 0x10], &[], Pointer(EIP + 0x12)),
        ("jmp beyond the limit", &[0xe9, 0, 0, 1, 0], &[], Fault(GP)),
        ("16-bit jmp", &[0x66, 0xe9, 0xf0, 0xfe], &[], Pointer(0xfff4)),
        ("jmp eax", &[0xff, 0xe0], &[(RAX, 0x20)], Pointer(0x20)),
        ("jmp eax beyond the limit", &[0xff, 0xe0], &[(RAX, 0x1_0000)], Fault(GP)),
        ("jecxz taken", &[0xe3, 0x10], &[(RCX, 0)], Pointer(EIP + 0x12)),
        ("jecxz not taken", &[0xe3, 0x10], &[(RCX, 1)], Pointer(EIP + 2)),
        ("ret beyond the limit", &[0xc3], &[(RSP, 0)], Fault(GP)),
        ("lodsb", &[0xac], &[(RSI, 0xff)], Register(RSI, 0x100)),
        ("lodsw beyond the limit", &[0x66, 0xad], &[(RSI, 0xff)], Fault(GP)),
        ("stosd", &[0xab], &[(RDI, 0x1000), VALUE], Memory(EXTRA_BASE + 0x1000, 0xdead_beef)),
        ("stosd below its start", &[0xab], &[(RDI, 0xffd), VALUE], Fault(GP)),
        ("movsb", &[0xa4], &[(RSI, 0), (RDI, 0x1000)], Memory(EXTRA_BASE + 0x1000, 0x88)),
        ("movsb from the stack", &[0x36, 0xa4], &[(RSI, 0x1000), (RDI, 0x1000)], Fault(SS)),
        (
            "rep movsb",
            &[0xf3, 0xa4],
            &[(RCX, 3), (RSI, 0), (RDI, 0x1000)],
            Memory(EXTRA_BASE + 0x1000, 0x66_7788),
        ),
    ];
    for (name, code, registers, effect) in rows {
        let mut cpu = cpu();
        for base in [CODE_BASE, STACK_BASE, DATA_BASE] {
            write_words(&mut cpu, base, &[START]);
        }
        write_words(&mut cpu, DATA_BASE + 0xf8, &[END]);
        registers.iter().for_each(|&(slot, value)| set(&mut cpu, slot, value));
        let result = run(&mut cpu, code);
        match *effect {
            Fault(cause) => {
                assert_eq!(result, Err(cause), "{name}");
                for &(slot, value) in *registers {
                    assert_eq!(get(&cpu, slot), value, "{name}: {}", regs::name(slot));
                }
            }
            Pointer(pointer) => assert_eq!(result, Ok(Gva(CODE_BASE + pointer)), "{name}"),
            Register(slot, value) => {
                assert_eq!(result, Ok(Gva(CODE_BASE + EIP + code.len() as u64)), "{name}");
                assert_eq!(get(&cpu, slot), value, "{name}");
            }
            Memory(at, value) => {
                assert!(result.is_ok(), "{name}: {result:?}");
                assert_eq!(word(&cpu, at), value, "{name}");
            }
        }
    }
}

#[test]
fn a_repeated_instruction_stops_where_its_segment_ends() {
    let mut cpu = cpu();
    flags::set_rflags(&mut cpu, flags::DF);
    for (slot, value) in [(RCX, 5), (RDI, 0x1001), (RAX, 0x55)] {
        set(&mut cpu, slot, value);
    }
    assert_eq!(run(&mut cpu, &[0xf3, 0xaa]), Err(GP));
    assert_eq!((get(&cpu, RCX), get(&cpu, RDI)), (3, 0xfff));
    assert_eq!(word(&cpu, EXTRA_BASE + 0xffc), 0x5555_0000_0000);
}

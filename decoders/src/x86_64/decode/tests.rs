//! Lengths: the limit of 15 bytes, and what is undefined within it.

use crate::x86_64::decode::decode;
use crate::x86_64::insn::Op;
use crate::x86_64::mode::ModeBits;
use crate::x86_64::trap;
use c2w_engine::guest::{Mode, TrapCause};

/// The exception that an encoding decodes to, if it does, and its length; zeros follow.
fn raised(prefix: u8, count: usize, rest: &[u8], mode: ModeBits) -> (Option<TrapCause>, u8) {
    let mut bytes = vec![prefix; count];
    bytes.extend(rest);
    bytes.resize(32, 0);
    let decoded = decode(&bytes, Mode(mode.bits())).expect("there are enough bytes");
    let insn = decoded.insn;
    ((insn.op == Op::Raise).then_some(TrapCause(insn.imm as u32)), decoded.len_bytes)
}

#[test]
fn nothing_is_longer_than_15_bytes() {
    let (long, protected) = (ModeBits::SSE, ModeBits::SSE.union(ModeBits::CODE_32));
    let (fine, undefined, protection) = (None, Some(trap::UNDEFINED), Some(trap::PROTECTION));
    const DS: u8 = 0x3e;
    const OPERAND_SIZE: u8 = 0x66;
    const LOCK: u8 = 0xf0;
    const REX: u8 = 0x41;
    // A prefix, so many of it, and what is behind: the exception with as many, and with one more.
    let cases: &[(&str, ModeBits, u8, usize, &[u8], _, _)] = &[
        ("nop", long, DS, 14, &[0x90], fine, protection),
        ("or [rdi], imm32", long, DS, 9, &[0x81, 0x0f, 1, 2, 3, 4], fine, protection),
        ("or [rdi], imm16", long, OPERAND_SIZE, 11, &[0x81, 0x0f, 1, 2], fine, protection),
        ("lock or [rdi], imm32", long, LOCK, 9, &[0x81, 0x0f, 1, 2, 3, 4], fine, protection),
        ("lock or edi, imm32", long, LOCK, 9, &[0x81, 0xcf, 1, 2, 3, 4], undefined, protection),
        ("lock or di, imm16", long, OPERAND_SIZE, 10, &[LOCK, 0x81, 0xcf, 1, 2], undefined, protection),
        ("lock rex or r15d, imm32", long, LOCK, 8, &[REX, 0x81, 0xcf, 1, 2, 3, 4], undefined, protection),
        ("rex without effect, lock or", long, REX, 8, &[LOCK, 0x81, 0xcf, 1, 2, 3, 4], undefined, protection),
        ("inc ecx is none in 32-bit code", protected, LOCK, 14, &[REX], undefined, protection),
        ("lock mov", protected, LOCK, 9, &[0xc7, 0x07, 1, 2, 3, 4], undefined, protection),
        ("ud2", long, DS, 13, &[0x0f, 0x0b], undefined, protection),
        ("paddb xmm0, xmm1", long, OPERAND_SIZE, 12, &[0x0f, 0xfc, 0xc1], fine, protection),
    ];
    for &(name, mode, prefix, count, rest, at_limit, beyond) in cases {
        assert_eq!(raised(prefix, count, rest, mode), (at_limit, 15), "{name}");
        assert_eq!(raised(prefix, count + 1, rest, mode), (beyond, 15), "{name}, too long");
    }
}

#[test]
fn what_may_go_on_needs_the_next_page() {
    let mode = Mode(ModeBits::SSE.bits());
    for bytes in [&[0x81][..], &[0x3e; 14], &[0xf0, 0x81, 0xcf, 1, 2, 3]] {
        assert!(decode(bytes, mode).is_none(), "{bytes:02x?}");
    }
}

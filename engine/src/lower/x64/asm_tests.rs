//! What the assembler writes, as a disassembler reads it.

use super::asm::{Alu, Asm, Cc, Fixed, Group3, Mem, Reg, Shift, Xmm};
use crate::addr::Width::{self, W8, W16, W32, W64};
use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use proptest::collection;
use proptest::prelude::*;

/// The instructions of code, a line each.
fn text(write: impl FnOnce(&mut Asm)) -> String {
    let mut asm = Asm::default();
    write(&mut asm);
    let mut decoder = Decoder::with_ip(64, asm.finish(), 0x1000, DecoderOptions::NONE);
    let mut formatter = NasmFormatter::new();
    formatter.options_mut().set_space_after_operand_separator(true);
    let mut lines = Vec::new();
    while decoder.can_decode() {
        let mut line = String::new();
        formatter.format(&decoder.decode(), &mut line);
        lines.push(line);
    }
    lines.join("; ")
}

const BASES: [(Reg, &str); 5] =
    [(Reg::RBX, "rbx"), (Reg::RBP, "rbp"), (Reg::RSP, "rsp"), (Reg::R12, "r12"), (Reg::R13, "r13")];

#[test]
fn every_form_of_address() {
    for (base, name) in BASES {
        for (disp, shown) in [(0, ""), (8, "+8"), (-128, "-80h"), (0x1234, "+1234h")] {
            let got = text(|asm| asm.load(W64, Reg::RAX, Mem::at(base, disp)));
            assert_eq!(got, format!("mov rax, [{name}{shown}]"));
            let got = text(|asm| asm.load(W64, Reg::R9, Mem::sum(base, Reg::R14, disp)));
            assert_eq!(got, format!("mov r9, [{name}+r14{shown}]"));
        }
    }
}

#[test]
fn widths_and_byte_registers() {
    let names = |w: Width| match w {
        W8 => ["sil", "r8b"],
        W16 => ["si", "r8w"],
        W32 => ["esi", "r8d"],
        W64 => ["rsi", "r8"],
    };
    for w in Width::ALL {
        let [a, b] = names(w);
        let at = Mem::at(Reg::RBX, 8);
        for (got, want) in [
            (text(|asm| asm.alu(Alu::Sub, w, Reg::RSI, Reg::R8)), format!("sub {a}, {b}")),
            (text(|asm| asm.alu_imm(Alu::Xor, w, Reg::R8, 5)), format!("xor {b}, 5")),
            (text(|asm| asm.alu_mem(Alu::Or, w, at, Reg::RSI)), format!("or [rbx+8], {a}")),
            (text(|asm| asm.test(w, Reg::RSI, Reg::R8)), format!("test {a}, {b}")),
            (text(|asm| asm.store(w, at, Reg::RSI)), format!("mov [rbx+8], {a}")),
            (text(|asm| asm.shift_imm(Shift::Rol, w, Reg::R8, 3)), format!("rol {b}, 3")),
            (text(|asm| asm.shift_cl(Shift::Sar, w, Reg::RSI)), format!("sar {a}, cl")),
            (text(|asm| asm.group3(Group3::Idiv, w, Reg::RSI)), format!("idiv {a}")),
        ] {
            assert_eq!(got, want);
        }
    }
}

#[test]
fn constants_take_the_shortest_form() {
    for (value, want) in [
        (7, "mov eax, 7"),
        (0xffff_ffff, "mov eax, 0FFFFFFFFh"),
        (u64::MAX, "mov rax, 0FFFFFFFFFFFFFFFFh"),
        (0x1_0000_0000, "mov rax, 100000000h"),
    ] {
        assert_eq!(text(|asm| asm.mov_imm(Reg::RAX, value)), want);
    }
    let len = |value| {
        let mut asm = Asm::default();
        asm.mov_imm(Reg::RAX, value);
        asm.len()
    };
    assert_eq!([len(7), len(u64::MAX), len(1 << 32)], [5, 7, 10]);
    assert_eq!(text(|asm| asm.alu_imm(Alu::And, W64, Reg::RCX, -4096)), "and rcx, 0FFFFFFFFFFFFF000h");
    // RAX has a form of its own.
    assert_eq!(text(|asm| asm.alu_imm(Alu::And, W64, Reg::RAX, -4096)), "and rax, 0FFFFFFFFFFFFF000h");
    assert_eq!(text(|asm| asm.alu_imm(Alu::Cmp, W32, Reg::RAX, 4096)), "cmp eax, 1000h");
    assert_eq!(text(|asm| asm.store_imm(W16, Mem::at(Reg::RBX, 0), -1)), "mov word [rbx], 0FFFFh");
}

#[test]
fn extensions_and_conditions() {
    for (got, want) in [
        (text(|asm| asm.zext(W8, Reg::RDX, Reg::RSI)), "movzx edx, sil"),
        (text(|asm| asm.zext(W32, Reg::R9, Reg::RSI)), "mov r9d, esi"),
        (text(|asm| asm.sext(W8, Reg::RDX, Reg::RDI)), "movsx rdx, dil"),
        (text(|asm| asm.sext(W32, Reg::RDX, Reg::R10)), "movsxd rdx, r10d"),
        (text(|asm| asm.setcc(Cc::L, Reg::RDI)), "setl dil"),
        (text(|asm| asm.cmov(Cc::AE, Reg::R8, Reg::RBP)), "cmovae r8, rbp"),
        (text(|asm| asm.lea(W32, Reg::RAX, Mem::sum(Reg::RBP, Reg::R13, 0))), "lea eax, [rbp+r13]"),
        (text(|asm| asm.imul_imm(W64, Reg::RAX, Reg::R9, 10)), "imul rax, r9, 0Ah"),
        (text(|asm| asm.bswap(W64, Reg::R11)), "bswap r11"),
        (text(|asm| asm.popcnt(W32, Reg::R8, Reg::RAX)), "popcnt r8d, eax"),
        (text(|asm| asm.crc32(W8, Reg::RAX, Reg::RSI)), "crc32 eax, sil"),
        (text(|asm| asm.crc32(W16, Reg::RAX, Reg::R8)), "crc32 eax, r8w"),
        (text(|asm| asm.crc32(W32, Reg::R9, Reg::RDX)), "crc32 r9d, edx"),
        (text(|asm| asm.crc32(W64, Reg::RAX, Reg::R8)), "crc32 rax, r8"),
        (text(|asm| asm.jmp_indirect(Mem::at(Reg::RBX, 16))), "jmp qword [rbx+10h]"),
        (text(|asm| asm.call_indirect(Mem::at(Reg::RBX, 16))), "call qword [rbx+10h]"),
        (text(|asm| asm.note(7)), "test eax, 7"),
        // As if the code were at the start of its memory, which is at 0x1000 here.
        (text(|asm| asm.jmp_fixed(Fixed(0x100))), "jmp 0000000000001100h"),
        (text(|asm| asm.call_fixed(Fixed(0x100))), "call 0000000000001100h"),
    ] {
        assert_eq!(got, want);
    }
}

#[test]
fn jumps_lead_to_their_labels() {
    let got = text(|asm| {
        let (back, on) = (asm.label(), asm.label());
        asm.bind(back);
        asm.jcc(Cc::NE, on);
        asm.jmp(back);
        asm.bind(on);
        asm.ret();
    });
    assert_eq!(got, "jne near 000000000000100Bh; jmp 0000000000001000h; ret");
}

/// An instruction of [`jumps_are_short_where_they_can_be`].
#[derive(Clone, Copy, Debug)]
enum Item {
    /// One of five bytes, with a note.
    Note,
    /// Of three bytes.
    Fill,
    /// A jump to an item, on a condition or not.
    Jump { to: usize, cc: Option<Cc> },
    /// One that can be patched.
    Patched { to: usize },
    /// A call of fixed code.
    Call,
}

fn item(count: usize) -> impl Strategy<Value = Item> {
    prop_oneof![
        1 => Just(Item::Note),
        5 => Just(Item::Fill),
        2 => (0..count).prop_map(|to| Item::Jump { to, cc: None }),
        3 => (0..count).prop_map(|to| Item::Jump { to, cc: Some(Cc::NE) }),
        1 => (0..count).prop_map(|to| Item::Patched { to }),
        1 => Just(Item::Call),
    ]
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    (1usize..120).prop_flat_map(|count| collection::vec(item(count), count))
}

proptest! {
    #[test]
    fn jumps_are_short_where_they_can_be(items in items()) {
        const BASE: u64 = 0x1000;
        let mut asm = Asm::default();
        let labels: Vec<_> = items.iter().map(|_| asm.label()).collect();
        let (mut places, mut patched) = (Vec::new(), Vec::new());
        for (number, (&item, &label)) in items.iter().zip(&labels).enumerate() {
            asm.bind(label);
            places.push(asm.len());
            match item {
                Item::Note => asm.note(number as u32),
                Item::Fill => asm.mov(Reg::RAX, Reg::RCX),
                Item::Jump { to, cc: None } => asm.jmp(labels[to]),
                Item::Jump { to, cc: Some(cc) } => asm.jcc(cc, labels[to]),
                Item::Patched { to } => patched.push(asm.jmp_patched(labels[to])),
                Item::Call => asm.call_fixed(Fixed(7)),
            }
        }
        let finished = asm.finish_short();
        let (code, notes, fixed) = (finished.code.to_vec(), finished.notes.to_vec(), finished.fixed.to_vec());
        let places: Vec<u64> = places.iter().map(|&place| asm.moved(place) as u64).collect();
        let mut patched = patched.iter().map(|&place| asm.moved(place) as u64);
        let (mut notes, mut fixed) = (notes.iter(), fixed.iter());
        let mut decoder = Decoder::with_ip(64, &code, BASE, DecoderOptions::NONE);
        for (&item, &place) in items.iter().zip(&places) {
            let insn = decoder.decode();
            prop_assert_eq!(insn.ip(), BASE + place);
            match item {
                Item::Note => prop_assert_eq!(u64::from(*notes.next().unwrap()), place + 1),
                Item::Fill => prop_assert_eq!(insn.len(), 3),
                Item::Jump { to, .. } => {
                    prop_assert_eq!(insn.near_branch_target(), BASE + places[to]);
                    let distance = places[to].wrapping_sub(place + insn.len() as u64) as i64;
                    prop_assert_eq!(insn.len() == 2, i8::try_from(distance).is_ok());
                }
                Item::Patched { to } => {
                    prop_assert_eq!(insn.near_branch_target(), BASE + places[to]);
                    prop_assert_eq!((patched.next(), insn.len()), (Some(place + 1), 5));
                }
                Item::Call => {
                    prop_assert_eq!(insn.near_branch_target(), BASE + 7);
                    prop_assert_eq!(u64::from(*fixed.next().unwrap()), place + 1);
                }
            }
        }
        prop_assert!(!decoder.can_decode());
    }
}

#[test]
fn rotations_into_another_register() {
    for (to, from, want) in [
        (Reg::RAX, Reg::RBP, "rorx eax, ebp, 7"),
        (Reg::RDI, Reg::R13, "rorx edi, r13d, 7"),
        (Reg::R9, Reg::RSI, "rorx r9d, esi, 7"),
        (Reg::R8, Reg::R12, "rorx r8d, r12d, 7"),
    ] {
        assert_eq!(text(|asm| asm.rorx32(to, from, 7)), want);
    }
}

#[test]
fn fused_multiply_adds() {
    for (to, a, b) in [(0, 1, 2), (15, 1, 2), (0, 15, 2), (0, 1, 15), (9, 10, 11)] {
        let text = text(|asm| asm.fused(true, 0xb9, Xmm(to), Xmm(a), Xmm(b)));
        assert_eq!(text, format!("vfmadd231sd xmm{to}, xmm{a}, xmm{b}"));
    }
    for (base, name) in BASES {
        let got = text(|asm| asm.fused(false, 0xbf, Xmm(8), Xmm(3), Mem::at(base, 0x1234)));
        assert_eq!(got, format!("vfnmsub231ss xmm8, xmm3, [{name}+1234h]"));
    }
    let got = text(|asm| asm.fused(false, 0xbb, Xmm(0), Xmm(3), Mem::sum(Reg::RBX, Reg::R14, 8)));
    assert_eq!(got, "vfmsub231ss xmm0, xmm3, [rbx+r14+8]");
    let got = text(|asm| asm.fused(true, 0xbd, Xmm(0), Xmm(3), Mem::at(Reg::RBX, 0)));
    assert_eq!(got, "vfnmadd231sd xmm0, xmm3, [rbx]");
}

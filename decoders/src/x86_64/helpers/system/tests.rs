//! System instructions one by one, by their encodings: who may execute them, and what they leave behind.

use super::*;
use crate::x86_64::control::{CR4_DE, EFER_SCE};
use crate::x86_64::regs::{INTERRUPT_WAITS, KERNEL_GS_BASE, NO_SHADOW, RDI, RSI, RSP, STI_SHADOW};
use crate::x86_64::segment::Attributes;
use crate::x86_64::state::State;
use crate::x86_64::testing::{CODE, STACK, cpu, cpu_with, step, word, write, write_words};

const GDT: u64 = 0x1000;
const DATA: u64 = 0x4000;

const UD: Trap = trap::plain(trap::UNDEFINED);
const GP: Trap = trap::protection(0);

/// A vCPU at a privilege level, with RAX at [`DATA`].
fn at_level(cpl: u8) -> Cpu<X86_64> {
    let mut cpu = cpu_with(State::flat_64(cpl));
    set(&mut cpu, RAX, DATA);
    set(&mut cpu, RSP, STACK);
    cpu
}

/// A vCPU in 32-bit protected mode.
fn protected(cpl: u8) -> Cpu<X86_64> {
    use crate::x86_64::control::{EFER_LMA, EFER_LME};
    use crate::x86_64::segment::Segment;
    let mut state = State::flat_64(cpl);
    state.efer &= !(EFER_LMA | EFER_LME);
    state.segments[SegmentRegister::Cs as usize] = Segment::code_32(0x30 | u16::from(cpl), cpl);
    let mut cpu = cpu_with(state);
    set(&mut cpu, RSP, STACK);
    cpu
}

#[test]
fn privileged_instructions() {
    let encodings: &[&[u8]] = &[
        &[0xf4],                         // hlt
        &[0xfa],                         // cli
        &[0xfb],                         // sti
        &[0x0f, 0x06],                   // clts
        &[0x0f, 0x08],                   // invd
        &[0x0f, 0x09],                   // wbinvd
        &[0xf3, 0x0f, 0x09],             // wbnoinvd
        &[0x0f, 0x01, 0x38],             // invlpg [rax]
        &[0x66, 0x0f, 0x38, 0x82, 0x00], // invpcid rax, [rax]
        &[0x0f, 0x01, 0x10],             // lgdt [rax]
        &[0x0f, 0x01, 0x18],             // lidt [rax]
        &[0x0f, 0x00, 0xd0],             // lldt ax
        &[0x0f, 0x00, 0xd8],             // ltr ax
        &[0x0f, 0x01, 0xf0],             // lmsw ax
        &[0x0f, 0x20, 0xc0],             // mov rax, cr0
        &[0x0f, 0x22, 0xc0],             // mov cr0, rax
        &[0x44, 0x0f, 0x22, 0xc0],       // mov cr8, rax
        &[0x0f, 0x21, 0xc0],             // mov rax, dr0
        &[0x0f, 0x23, 0xc0],             // mov dr0, rax
        &[0x0f, 0x32],                   // rdmsr
        &[0x0f, 0x30],                   // wrmsr
        &[0x0f, 0x33],                   // rdpmc
        &[0x0f, 0x01, 0xf8],             // swapgs
        &[0x48, 0x0f, 0x07],             // sysretq
        &[0x48, 0x0f, 0x35],             // sysexitq
        &[0x0f, 0x01, 0xd1],             // xsetbv
        &[0xec],                         // in al, dx
        &[0xe7, 0x80],                   // out 0x80, eax
        &[0x6c],                         // insb
        &[0x6f],                         // outsd
    ];
    for &code in encodings {
        for cpl in [1, 3] {
            let mut cpu = at_level(cpl);
            cpu.guest.cr4 |= CR4_OSXSAVE;
            assert_eq!(step(&mut cpu, code), Err(GP), "{code:x?} at level {cpl}");
        }
    }
    for code in [[0x0f, 0x01, 0xca], [0x0f, 0x01, 0xcb]] {
        for cpl in [1, 3] {
            assert_eq!(step(&mut at_level(cpl), &code), Err(UD), "{code:x?} at level {cpl}");
        }
    }
}

#[test]
fn what_is_not_there() {
    let encodings: &[&[u8]] = &[
        &[0x0f, 0x20, 0xc8],             // mov rax, cr1
        &[0x0f, 0x22, 0xe8],             // mov cr5, rax
        &[0x44, 0x0f, 0x20, 0xc8],       // mov rax, cr9
        &[0x44, 0x0f, 0x21, 0xc0],       // mov rax, dr8
        &[0x8e, 0xc8],                   // mov cs, ax
        &[0x8c, 0xf0],                   // mov ax, segment register 6
        &[0x0f, 0x01, 0xc8],             // monitor
        &[0x0f, 0x01, 0xc9],             // mwait
        &[0x0f, 0x01, 0xc1],             // vmcall
        &[0x0f, 0x01, 0xd9],             // vmmcall
        &[0x0f, 0xaa],                   // rsm
        &[0x0f, 0x37],                   // getsec
        &[0x0f, 0xc7, 0x28],             // xsaves [rax]
        &[0xf3, 0x0f, 0xc7, 0xf8],       // rdpid rax
        &[0x66, 0x0f, 0x38, 0x80, 0x00], // invept
        &[0x0f, 0x01, 0xee],             // rdpkru
        &[0xf0, 0xfa],                   // lock cli
        &[0xce],                         // into
        &[0x9a, 0, 0, 0, 0, 8, 0],       // call far
        &[0x0f, 0x01, 0xd0],             // xgetbv without CR4.OSXSAVE
        &[0x0f, 0x01, 0xd1],             // xsetbv without it
        &[0xf3, 0x48, 0x0f, 0xae, 0xc0], // rdfsbase without CR4.FSGSBASE
        &[0xf3, 0x48, 0x0f, 0xae, 0xd8], // wrgsbase without it
    ];
    for &code in encodings {
        assert_eq!(step(&mut at_level(0), code), Err(UD), "{code:x?}");
    }
    // SYSCALL, SYSRET and SWAPGS belong to 64-bit mode.
    for code in [&[0x0f, 0x05][..], &[0x0f, 0x07], &[0x0f, 0x01, 0xf8]] {
        assert_eq!(step(&mut protected(0), code), Err(UD), "{code:x?}");
    }
    let mut cpu = at_level(0);
    cpu.guest.efer &= !EFER_SCE;
    assert_eq!(step(&mut cpu, &[0x0f, 0x05]), Err(UD));
    cpu.guest.cr4 |= CR4_DE;
    assert_eq!(step(&mut cpu, &[0x0f, 0x21, 0xe0]), Err(UD));
}

/// One instruction of each extension that CPUID advertises.
#[test]
fn what_is_advertised_is_there() {
    let encodings: &[(&str, &[u8])] = &[
        ("sse3", &[0xf2, 0x0f, 0xd0, 0xc1]),
        ("pclmulqdq", &[0x66, 0x0f, 0x3a, 0x44, 0xc1, 0x00]),
        ("ssse3", &[0x66, 0x0f, 0x38, 0x00, 0xc1]),
        ("cx16", &[0x48, 0x0f, 0xc7, 0x08]),
        ("sse4_1", &[0x66, 0x0f, 0x38, 0x17, 0xc1]),
        ("sse4_2", &[0x66, 0x0f, 0x3a, 0x63, 0xc1, 0x00]),
        ("movbe", &[0x0f, 0x38, 0xf0, 0x00]),
        ("popcnt", &[0xf3, 0x0f, 0xb8, 0xc1]),
        ("aes", &[0x66, 0x0f, 0x38, 0xdc, 0xc1]),
        ("xsave", &[0x0f, 0xae, 0x20]),
        ("xsavec", &[0x0f, 0xc7, 0x20]),
        ("xsaveopt", &[0x0f, 0xae, 0x30]),
        ("rdrand", &[0x0f, 0xc7, 0xf0]),
        ("rdseed", &[0x0f, 0xc7, 0xf8]),
        ("fsgsbase", &[0xf3, 0x48, 0x0f, 0xae, 0xc0]),
        ("clflush", &[0x0f, 0xae, 0x38]),
        ("clflushopt", &[0x66, 0x0f, 0xae, 0x38]),
        ("sha", &[0x0f, 0x38, 0xc9, 0xc1]),
        ("lahf", &[0x9f]),
        ("prefetchw", &[0x0f, 0x0d, 0x08]),
        ("rdtscp", &[0x0f, 0x01, 0xf9]),
        ("fxsr", &[0x0f, 0xae, 0x00]),
        ("mmx", &[0x0f, 0xfc, 0xc1]),
        ("cmov", &[0x0f, 0x44, 0xc1]),
        ("crc32", &[0xf2, 0x0f, 0x38, 0xf1, 0xc1]),
    ];
    for (name, code) in encodings {
        let mut cpu = at_level(0);
        cpu.guest.cr4 |= CR4_OSXSAVE | CR4_FSGSBASE;
        mode::refresh(&mut cpu);
        assert_ne!(step(&mut cpu, code), Err(UD), "{name}");
    }
}

#[test]
fn software_interrupts_say_how_long_they_are() {
    use crate::x86_64::trap::{Kind, NOT_BY_PROGRAM, cause, vector};
    let software = |number, length| Err(Trap::new(cause(Kind::Software, number), length));
    let mut cpu = at_level(3);
    assert_eq!(step(&mut cpu, &[0xcd, 0x80]), software(0x80, 2));
    assert_eq!(step(&mut cpu, &[0xcc]), software(vector::BP, 1));
    assert_eq!(step(&mut cpu, &[0xf1]), software(vector::DB, 1 | NOT_BY_PROGRAM));
    let mut cpu = protected(3);
    assert_eq!(step(&mut cpu, &[0xce]), Ok(CODE + 1));
    flags::set_rflags(&mut cpu, flags::OF);
    assert_eq!(step(&mut cpu, &[0xce]), software(vector::OF, 1));
}

#[test]
fn popf_changes_what_the_level_may() {
    use flags::{AC, ARITHMETIC, DF, FIXED, ID, IF, IOPL, NT, TF};
    const ALL: u64 = ARITHMETIC | AC | DF | FIXED | ID | IF | IOPL | NT | TF;
    // (level, old flags, code, popped, new flags)
    let cases: &[(u8, u64, &[u8], u64, u64)] = &[
        (0, 0, &[0x9d], u64::MAX, ALL),
        (0, ALL, &[0x9d], 0, FIXED),
        (0, 0, &[0x66, 0x9d], u64::MAX, ALL & 0xffff),
        (3, 0, &[0x9d], u64::MAX, ALL & !(IF | IOPL)),
        (3, IOPL, &[0x9d], u64::MAX, ALL),
        (3, IF | 1 << 12, &[0x9d], 0, IF | 1 << 12 | FIXED),
    ];
    for &(cpl, old, code, popped, new) in cases {
        let mut cpu = at_level(cpl);
        flags::set_rflags(&mut cpu, old);
        write_words(&mut cpu, STACK, &[popped]);
        assert_eq!(step(&mut cpu, code), Ok(CODE + code.len() as u64));
        assert_eq!(flags::rflags(&mut cpu), new, "{cpl} {old:#x} {code:x?} {popped:#x}");
        assert_eq!(get(&cpu, RSP), STACK + if code.len() == 2 { 2 } else { 8 });
        assert_eq!(step(&mut cpu, &[0x9c]), Ok(CODE + 1));
        assert_eq!(word(&cpu, get(&cpu, RSP)), new);
    }
}

#[test]
fn cli_and_sti_obey_iopl() {
    let mut cpu = at_level(3);
    flags::set_rflags(&mut cpu, flags::IOPL);
    assert_eq!(step(&mut cpu, &[0xfb]), Ok(CODE + 1));
    assert_eq!(flags::rflags(&mut cpu) & flags::IF, flags::IF);
    assert_eq!(cpu.guest.shadow_at, Some(cpu.retired));
    assert_eq!(step(&mut cpu, &[0xfa]), Ok(CODE + 1));
    assert_eq!(flags::rflags(&mut cpu) & flags::IF, 0);
}

#[test]
fn at_level_0_cli_and_sti_obey_nobody() {
    let mut cpu = at_level(0);
    assert_eq!(step(&mut cpu, &[0xfb]), Ok(CODE + 1));
    assert_eq!(flags::rflags(&mut cpu) & flags::IF, flags::IF);
    assert_eq!(get(&cpu, STI_SHADOW), CODE + 1);
    assert!(!cpu.needs_look());
    // A second one casts no shadow.
    assert_eq!(step(&mut cpu, &[0xfb]), Ok(CODE + 1));
    assert_eq!(get(&cpu, STI_SHADOW), NO_SHADOW);
    assert_eq!(step(&mut cpu, &[0xfa]), Ok(CODE + 1));
    assert_eq!(flags::rflags(&mut cpu) & flags::IF, 0);
    set(&mut cpu, INTERRUPT_WAITS, 1);
    assert_eq!(step(&mut cpu, &[0xfb]), Ok(CODE + 1));
    assert!(cpu.needs_look());
}

#[test]
fn table_registers() {
    let mut cpu = at_level(0);
    write(&mut cpu, DATA, &[0x34, 0x12, 0, 0, 0, 0, 0, 0x80, 0xff, 0xff]);
    assert_eq!(step(&mut cpu, &[0x0f, 0x01, 0x10]), Ok(CODE + 3));
    let table = TableRegister { base: 0xffff_8000_0000_0000, limit: 0x1234 };
    assert_eq!(cpu.guest.gdtr, table);
    set(&mut cpu, RAX, DATA + 0x20);
    assert_eq!(step(&mut cpu, &[0x0f, 0x01, 0x00]), Ok(CODE + 3));
    assert_eq!(word(&cpu, DATA + 0x20) & 0xffff, 0x1234);
    assert_eq!(word(&cpu, DATA + 0x22), 0xffff_8000_0000_0000);
    // A base that is not canonical.
    write(&mut cpu, DATA + 0x20, &[0x34, 0x12, 0, 0, 0, 0, 0, 0x80, 0, 0]);
    assert_eq!(step(&mut cpu, &[0x0f, 0x01, 0x18]), Err(GP));
    // 16-bit operands: 24 bits of the base.
    let mut cpu = protected(0);
    set(&mut cpu, RAX, DATA);
    write(&mut cpu, DATA, &[0xff, 0x07, 0x78, 0x56, 0x34, 0x12]);
    assert_eq!(step(&mut cpu, &[0x66, 0x0f, 0x01, 0x18]), Ok(CODE + 4));
    assert_eq!(cpu.guest.idtr, TableRegister { base: 0x34_5678, limit: 0x7ff });
    assert_eq!(step(&mut cpu, &[0x0f, 0x01, 0x18]), Ok(CODE + 3));
    assert_eq!(cpu.guest.idtr.base, 0x1234_5678);
}

#[test]
fn umip_hides_the_tables_from_user_mode() {
    // sgdt [rax], sidt [rax], sldt eax, str eax, smsw eax
    let encodings =
        [[0x0f, 0x01, 0x00], [0x0f, 0x01, 0x08], [0x0f, 0x00, 0xc0], [0x0f, 0x00, 0xc8], [0x0f, 0x01, 0xe0]];
    for code in encodings {
        let mut cpu = at_level(3);
        assert_eq!(step(&mut cpu, &code), Ok(CODE + 3), "{code:x?}");
        let mut cpu = at_level(3);
        cpu.guest.cr4 |= CR4_UMIP;
        assert_eq!(step(&mut cpu, &code), Err(GP), "{code:x?}");
    }
}

/// A GDT: 64-bit code, data, user's data, absent data, an LDT, a TSS, user's conforming code that cannot be read.
fn with_gdt(mut cpu: Cpu<X86_64>) -> Cpu<X86_64> {
    let table = [
        0,
        0x00af_9a00_0000_ffff,
        0x00cf_9200_0000_ffff,
        0x00cf_f200_0000_ffff,
        0x00cf_1200_0000_ffff,
        0x1200_8234_5678_0fff,
        0xffff_8000,
        0x0000_8900_3000_0067,
        0,
        0x00cf_9c00_0000_ffff,
        0x0010_f100_0000_1234,
    ];
    write_words(&mut cpu, GDT, &table);
    cpu.guest.gdtr = TableRegister { base: GDT, limit: 8 * table.len() as u16 - 1 };
    cpu
}

#[test]
fn system_segments() {
    // (lldt or ltr, selector, result)
    const LLDT: [u8; 3] = [0x0f, 0x00, 0xd0];
    const LTR: [u8; 3] = [0x0f, 0x00, 0xd8];
    let cases: &[([u8; 3], u64, Result<u64, Trap>)] = &[
        (LLDT, 0x28, Ok(CODE + 3)),
        (LLDT, 0, Ok(CODE + 3)),
        (LLDT, 0x10, Err(trap::protection(0x10))),
        (LLDT, 0x38, Err(trap::protection(0x38))),
        (LLDT, 0x2c, Err(trap::protection(0x2c))),
        (LLDT, 0x100, Err(trap::protection(0x100))),
        (LTR, 0x38, Ok(CODE + 3)),
        (LTR, 0, Err(GP)),
        (LTR, 0x28, Err(trap::protection(0x28))),
    ];
    for &(code, selector, expected) in cases {
        let mut cpu = with_gdt(at_level(0));
        set(&mut cpu, RAX, selector);
        assert_eq!(step(&mut cpu, &code), expected, "{code:x?} {selector:#x}");
    }
    let mut cpu = with_gdt(at_level(0));
    set(&mut cpu, RAX, 0x28);
    step(&mut cpu, &LLDT).expect("it is an LDT");
    let attributes = Attributes(0x82);
    let ldtr = SystemSegment { selector: 0x28, base: 0xffff_8000_1234_5678, limit: 0xfff, attributes };
    assert_eq!(cpu.guest.ldtr, ldtr);
    set(&mut cpu, RAX, 0x38);
    step(&mut cpu, &LTR).expect("it is a TSS");
    let attributes = Attributes(0x8b);
    assert_eq!(cpu.guest.tr, SystemSegment { selector: 0x38, base: 0x3000, limit: 0x67, attributes });
    assert_eq!(word(&cpu, GDT + 0x38), 0x0000_8b00_3000_0067);
    // It is in use now.
    assert_eq!(step(&mut cpu, &LTR), Err(trap::protection(0x38)));
}

#[test]
fn questions_about_selectors() {
    // (level, selector, LAR, LSL, VERR, VERW)
    type Case = (u8, u64, Option<u64>, Option<u64>, bool, bool);
    let cases: &[Case] = &[
        (0, 0x08, Some(0x00a0_9a00), Some(0xffff_ffff), true, false),
        (0, 0x10, Some(0x00c0_9200), Some(0xffff_ffff), true, true),
        (0, 0x13, None, None, false, false),
        (3, 0x10, None, None, false, false),
        (3, 0x1b, Some(0x00c0_f200), Some(0xffff_ffff), true, true),
        (0, 0x28, Some(0x0000_8200), Some(0xfff), false, false),
        (3, 0x28, None, None, false, false),
        (3, 0x48, Some(0x00c0_9c00), Some(0xffff_ffff), false, false),
        (0, 0, None, None, false, false),
        (0, 0x200, None, None, false, false),
    ];
    for &(cpl, selector, rights, limit, readable, writable) in cases {
        let mut cpu = with_gdt(at_level(cpl));
        set(&mut cpu, RAX, selector);
        let mut ask = |code: &[u8]| {
            set(&mut cpu, RBX, 0x55aa);
            step(&mut cpu, code).expect("questions do not fault");
            let yes = flags::rflags(&mut cpu) & flags::ZF != 0;
            (yes, get(&cpu, RBX))
        };
        let answer = |value: Option<u64>| (value.is_some(), value.unwrap_or(0x55aa));
        let text = format!("level {cpl}, {selector:#x}");
        assert_eq!(ask(&[0x0f, 0x02, 0xd8]), answer(rights), "{text}");
        assert_eq!(ask(&[0x66, 0x0f, 0x02, 0xd8]), answer(rights.map(|value| value & 0xffff)), "{text}");
        assert_eq!(ask(&[0x0f, 0x03, 0xd8]), answer(limit), "{text}");
        assert_eq!(ask(&[0x0f, 0x00, 0xe0]).0, readable, "{text}");
        assert_eq!(ask(&[0x0f, 0x00, 0xe8]).0, writable, "{text}");
    }
}

#[test]
fn segment_registers() {
    let mut cpu = with_gdt(at_level(0));
    // mov ss, ax holds interrupts off; mov eax, ss reads it back.
    set(&mut cpu, RAX, 0x10);
    assert_eq!(step(&mut cpu, &[0x8e, 0xd0]), Ok(CODE + 2));
    assert_eq!((cpu.guest.shadow_at, cpu.guest.shadow_debug), (Some(cpu.retired), true));
    set(&mut cpu, RAX, u64::MAX);
    assert_eq!(step(&mut cpu, &[0x8c, 0xd0]), Ok(CODE + 2));
    assert_eq!(get(&cpu, RAX), 0x10);
    set(&mut cpu, RAX, u64::MAX);
    assert_eq!(step(&mut cpu, &[0x66, 0x8c, 0xd0]), Ok(CODE + 3));
    assert_eq!(get(&cpu, RAX), 0xffff_ffff_ffff_0010);
    // Absent and beyond the end.
    for (selector, expected) in [(0x20, trap::not_present(0x20)), (0x200, trap::protection(0x200))] {
        set(&mut cpu, RAX, selector);
        assert_eq!(step(&mut cpu, &[0x8e, 0xd8]), Err(expected));
    }
    // push fs; pop gs
    set(&mut cpu, RAX, 0x18);
    step(&mut cpu, &[0x8e, 0xe0]).expect("fs takes user's data");
    step(&mut cpu, &[0x0f, 0xa0]).expect("the stack is there");
    assert_eq!((get(&cpu, RSP), word(&cpu, STACK - 8)), (STACK - 8, 0x18));
    step(&mut cpu, &[0x0f, 0xa9]).expect("gs takes user's data");
    assert_eq!(cpu.guest.segment(SegmentRegister::Gs).selector, 0x18);
    assert_eq!(get(&cpu, RSP), STACK);
    // lss esp, [rax] does not hold interrupts off.
    cpu.guest.shadow_at = None;
    set(&mut cpu, RAX, DATA);
    write(&mut cpu, DATA, &[0x78, 0x56, 0x34, 0x12, 0x10, 0]);
    assert_eq!(step(&mut cpu, &[0x0f, 0xb2, 0x20]), Ok(CODE + 3));
    assert_eq!((get(&cpu, RSP), cpu.guest.shadow_at), (0x1234_5678, None));
}

#[test]
fn bases_and_swapgs() {
    let mut cpu = at_level(0);
    cpu.guest.cr4 |= CR4_FSGSBASE;
    set(&mut cpu, KERNEL_GS_BASE, 0xffff_8000_0000_0000);
    set(&mut cpu, RAX, 0x1_2345_6789);
    step(&mut cpu, &[0xf3, 0x48, 0x0f, 0xae, 0xd8]).expect("wrgsbase rax");
    step(&mut cpu, &[0x0f, 0x01, 0xf8]).expect("swapgs");
    assert_eq!(get(&cpu, KERNEL_GS_BASE), 0x1_2345_6789);
    step(&mut cpu, &[0xf3, 0x48, 0x0f, 0xae, 0xc8]).expect("rdgsbase rax");
    assert_eq!(get(&cpu, RAX), 0xffff_8000_0000_0000);
    step(&mut cpu, &[0xf3, 0x0f, 0xae, 0xd0]).expect("wrfsbase eax");
    step(&mut cpu, &[0xf3, 0x48, 0x0f, 0xae, 0xc0]).expect("rdfsbase rax");
    assert_eq!(get(&cpu, RAX), 0);
    set(&mut cpu, RAX, 1 << 47);
    assert_eq!(step(&mut cpu, &[0xf3, 0x48, 0x0f, 0xae, 0xd8]), Err(GP));
}

#[test]
fn arpl_raises_the_level() {
    for (old, least, new, raised) in [(0x1238, 3, 0x123b, true), (0x123b, 1, 0x123b, false)] {
        let mut cpu = protected(0);
        set(&mut cpu, RAX, old);
        set(&mut cpu, RBX, least);
        assert_eq!(step(&mut cpu, &[0x63, 0xd8]), Ok(CODE + 2));
        assert_eq!(get(&cpu, RAX), new);
        assert_eq!(flags::rflags(&mut cpu) & flags::ZF != 0, raised);
    }
}

#[test]
fn the_time_stamp_counter_is_guest_time() {
    let mut cpu = at_level(3);
    cpu.retired = 1000;
    cpu.guest.msrs.tsc_adjust = 1 << 32;
    cpu.guest.msrs.tsc_aux = 7;
    let now_ns = cpu.now_ns();
    step(&mut cpu, &[0x0f, 0x01, 0xf9]).expect("rdtscp");
    assert_eq!((get_pair(&cpu), get(&cpu, RDX), get(&cpu, RCX)), (now_ns + (1 << 32), 1, 7));
    cpu.guest.cr4 |= CR4_TSD;
    assert_eq!(step(&mut cpu, &[0x0f, 0x31]), Err(GP));
}

#[test]
fn ports_by_bitmap() {
    let mut cpu = at_level(3);
    let attributes = Attributes(0x8b);
    cpu.guest.tr = SystemSegment { selector: 0x38, base: 0x3000, limit: 0x68 + 0x10, attributes };
    write(&mut cpu, 0x3066, &[0x68, 0]);
    // Ports 0x20 and 0x21 are closed.
    write(&mut cpu, 0x3068, &[0, 0, 0, 0, 3]);
    // (port, opcode of IN, allowed)
    let cases = [
        (0x1f, 0xec, true),
        (0x20, 0xec, false),
        (0x22, 0xec, true),
        (0x1e, 0xed, false),
        (0x1c, 0xed, true),
        (0x7f, 0xec, true),
        (0x88, 0xec, false),
        (0xffff, 0xec, false),
    ];
    for (port, opcode, allowed) in cases {
        set(&mut cpu, RDX, port);
        let expected = if allowed { Ok(CODE + 1) } else { Err(GP) };
        assert_eq!(step(&mut cpu, &[opcode]), expected, "port {port:#x}");
    }
}

#[test]
fn strings_of_ports() {
    let mut cpu = at_level(0);
    set(&mut cpu, RCX, 3);
    set(&mut cpu, RDX, 0xfff0);
    set(&mut cpu, RDI, DATA);
    let insw = [0x66, 0xf3, 0x6d];
    assert_eq!(step(&mut cpu, &insw), Ok(CODE));
    assert_eq!(step(&mut cpu, &insw), Ok(CODE));
    assert_eq!(step(&mut cpu, &insw), Ok(CODE + 3));
    assert_eq!(step(&mut cpu, &insw), Ok(CODE + 3));
    assert_eq!((get(&cpu, RCX), get(&cpu, RDI)), (0, DATA + 6));
    assert_eq!(word(&cpu, DATA), 0xffff_ffff_ffff);
    // outsb goes down with DF.
    set(&mut cpu, RSI, DATA);
    flags::set_rflags(&mut cpu, flags::DF);
    assert_eq!(step(&mut cpu, &[0x6e]), Ok(CODE + 1));
    assert_eq!(get(&cpu, RSI), DATA - 1);
}

#[test]
fn halting_waits() {
    let mut cpu = cpu();
    assert_eq!(step(&mut cpu, &[0xf4]), Ok(CODE + 1));
    assert!(cpu.is_waiting());
}

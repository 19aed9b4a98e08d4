//! Families of random system-level programs.

use super::system::{CODE, Code, DATA, GDT, HANDLERS, IDT, Program, TABLES, USER_STACK, handler, selector};
use crate::riscv64::random::Random;
use c2w_decoders::x86_64::{control, flags};

/// A family.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Makes one of its programs.
    pub make: fn(&mut Random) -> Program,
}

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family { name: "paging", make: paging },
    Family { name: "gates", make: gates },
    Family { name: "segments", make: segments },
    Family { name: "descriptors", make: descriptors },
    Family { name: "far", make: far },
    Family { name: "privileges", make: privileges },
    Family { name: "debug", make: debug },
    Family { name: "syscall", make: syscall },
];

const HLT: u8 = 0xf4;
const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RSP: usize = 4;
const RSI: usize = 6;

fn coin(random: &mut Random) -> bool {
    random.below(2) == 0
}

fn privilege(random: &mut Random) -> u8 {
    if coin(random) { 3 } else { 0 }
}

fn code_size(random: &mut Random) -> Code {
    random.pick(&[Code::Long, Code::Compatibility, Code::Protected])
}

/// Accesses to a page that has random rights on every level, and pages of all sizes.
fn paging(random: &mut Random) -> Program {
    /// The second entry of the first level leads to tables of their own.
    const ADDRESS: u64 = 1 << 39 | DATA;
    const OWN: u64 = TABLES + 0x4000;
    const NX: u64 = 1 << 63;
    let cpl = privilege(random);
    let access: (&str, &[u8]) = random.pick(&[
        ("read", &[0x8a, 0x06, HLT][..]),
        ("write", &[0x88, 0x06, HLT]),
        ("add", &[0x00, 0x06, HLT]),
        ("jump", &[0xff, 0xe6]),
        ("push", &[0x48, 0x89, 0xf4, 0x50, HLT]),
    ]);
    let mut program = Program::new(String::new(), Code::Long, cpl, access.1);
    let entry = |random: &mut Random| {
        // Mostly all is allowed on one level.
        let mut bits = 7;
        if random.below(3) == 0 {
            bits = u64::from(random.below(8) != 0) | random.below(4) << 1;
            bits |= u64::from(random.below(4) == 0) * NX;
        }
        bits | random.below(2) << 5 | random.below(2) << 6
    };
    let size = random.below(4);
    let levels = match size {
        0 => 2,
        1 => 3,
        _ => 4,
    };
    for level in 0..levels {
        let mut bits = entry(random);
        let last = level == levels - 1;
        let table = OWN + 0x1000 * (level.max(1) - 1);
        let (at, target) = match level {
            0 => (TABLES + 8, OWN),
            3 => (table + 8 * (DATA >> 12), DATA),
            _ if last => (table, 0),
            _ => (table, OWN + 0x1000 * level),
        };
        if last && level != 3 {
            bits |= 1 << 7;
        }
        program.put_word(at, target | bits);
    }
    program.put(DATA, &[HLT; 64]);
    program.gpr[RSI] = ADDRESS + random.below(32);
    program.gpr[RAX] = random.draw();
    if coin(random) {
        program.state.cr0 &= !control::CR0_WP;
    }
    if random.below(4) == 0 {
        program.state.efer &= !control::EFER_NXE;
    }
    let rights: Vec<String> = (0..levels).map(|level| level.to_string()).collect();
    program.name = format!(
        "{} of {:#x} at privilege {cpl}, cr0 {:#x} efer {:#x}, {} levels, entries {}",
        access.0,
        program.gpr[RSI],
        program.state.cr0,
        program.state.efer,
        rights.len(),
        entries(&program)
    );
    program
}

/// The last entries that a program wrote to page tables.
fn entries(program: &Program) -> String {
    let last: Vec<String> = program
        .memory
        .iter()
        .filter(|(at, bytes)| *at >= TABLES + 8 && *at < TABLES + 0x8000 && bytes.len() == 8)
        .filter(|(at, _)| *at >= TABLES + 0x4000 || *at == TABLES + 8)
        .map(|(_, bytes)| bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    last.join(" ")
}

/// A descriptor that is mostly of use.
fn descriptor(random: &mut Random) -> u64 {
    let kind = match random.below(4) {
        0 => random.below(32),
        1 => 0x12 | random.below(16),
        _ => random.pick(&[0x12, 0x13, 0x16, 0x1a, 0x1b, 0x1e]),
    };
    let present = u64::from(random.below(8) != 0);
    let dpl = if coin(random) { random.pick(&[0, 3]) } else { random.below(4) };
    let (long, big) = random.pick(&[(0, 1), (1, 0), (0, 1), (1, 0), (0, 0), (1, 1)]);
    let limit = if random.below(4) == 0 { random.below(0x10_0000) } else { 0xf_ffff };
    let granular = u64::from(random.below(4) != 0);
    limit & 0xffff
        | kind << 40
        | dpl << 45
        | present << 47
        | (limit >> 16) << 48
        | long << 53
        | big << 54
        | granular << 55
}

/// A selector of a descriptor that was just written, or another.
fn selector_of(random: &mut Random, program: &mut Program) -> u16 {
    let free = descriptor(random);
    program.put_word(GDT + u64::from(selector::FREE), free);
    let rpl = random.pick(&[0, 3, 0, 3, 1, 2]);
    let selectors = [
        0,
        4,
        selector::CODE_64,
        selector::DATA,
        selector::USER_CODE_64 & !3,
        selector::USER_DATA & !3,
        selector::CODE_32,
        selector::USER_CODE_32 & !3,
        selector::TSS,
        0x100,
        0xfff8,
    ];
    let selector = if random.below(3) == 0 { random.pick(&selectors) } else { selector::FREE };
    program.name = format!("{} selector {:#x} descriptor {free:#018x}", program.name, selector | rpl);
    selector | rpl
}

/// Exceptions and software interrupts through gates of all kinds.
fn gates(random: &mut Random) -> Program {
    let (code, cpl) = (code_size(random), privilege(random));
    let causes: [(&str, u64, &[u8]); 5] = [
        ("int 0x40", 0x40, &[0xcd, 0x40, HLT]),
        ("int3", 3, &[0xcc, HLT]),
        ("ud2", 6, &[0x0f, 0x0b]),
        ("div by 0", 0, &[0x31, 0xc9, 0xf7, 0xf1]),
        ("hlt or #GP", 13, &[HLT]),
    ];
    let (name, vector, bytes) = random.pick(&causes);
    let mut program = Program::new(String::new(), code, cpl, bytes);
    let kind = if random.below(3) == 0 {
        random.below(256)
    } else {
        random.pick(&[0x8e, 0xee, 0x8f, 0xef, 0x0e, 0xae, 0xce])
    };
    let stack = if code == Code::Protected || coin(random) { 0 } else { random.below(3) };
    program.set_gate(code, vector, kind, handler(vector), stack);
    if random.below(3) == 0 {
        let target = selector_of(random, &mut program);
        let gate_bytes = if code == Code::Protected { 8 } else { 16 };
        program.put(IDT + gate_bytes * vector + 2, &target.to_le_bytes());
    }
    program.rflags |= random.draw() & (flags::ARITHMETIC | flags::DF | flags::AC | flags::ID | flags::IOPL);
    program.rflags &= if cpl == 3 || coin(random) { !0 } else { !flags::NT };
    program.gpr[RSP] -= random.below(16);
    program.name = format!("{code:?} privilege {cpl}: {name}, gate {kind:#x} ist {stack}{}", program.name);
    program
}

/// MOV to segment registers, and POP.
fn segments(random: &mut Random) -> Program {
    let (code, cpl) = (code_size(random), privilege(random));
    // ES, SS, DS, FS, GS.
    let register = random.pick(&[0u8, 2, 3, 4, 5]);
    let mut program = Program::new(String::new(), code, cpl, &[0x8e, 0xc0 | register << 3, HLT]);
    let selector = selector_of(random, &mut program);
    program.gpr[RAX] = u64::from(selector);
    program.name = format!("{code:?} privilege {cpl}: mov segment {register}, ax;{}", program.name);
    program
}

/// LAR, LSL, VERR, VERW.
fn descriptors(random: &mut Random) -> Program {
    let (code, cpl) = (code_size(random), privilege(random));
    let tests: [(&str, &[u8]); 4] = [
        ("lar", &[0x0f, 0x02, 0xc8, HLT]),
        ("lsl", &[0x0f, 0x03, 0xc8, HLT]),
        ("verr", &[0x0f, 0x00, 0xe0, HLT]),
        ("verw", &[0x0f, 0x00, 0xe8, HLT]),
    ];
    let (name, bytes) = random.pick(&tests);
    let mut program = Program::new(String::new(), code, cpl, bytes);
    let selector = selector_of(random, &mut program);
    program.gpr[RAX] = u64::from(selector);
    program.gpr[RCX] = 0x1122_3344_5566_7788;
    program.name = format!("{code:?} privilege {cpl}: {name} cx, ax;{}", program.name);
    program
}

/// Far jumps, calls and returns, and IRET.
fn far(random: &mut Random) -> Program {
    let (code, cpl) = (code_size(random), privilege(random));
    let wide = code == Code::Long;
    let kinds: [(&str, &[u8], &[u8]); 4] = [
        ("jmp far", &[0xff, 0x2e], &[0xff, 0x2e]),
        ("call far", &[0xff, 0x1e], &[0xff, 0x1e]),
        ("retf", &[0x48, 0xcb], &[0xcb]),
        ("iret", &[0x48, 0xcf], &[0xcf]),
    ];
    let (name, long, short) = random.pick(&kinds);
    let mut program = Program::new(String::new(), code, cpl, if wide { long } else { short });
    let target = CODE + 0x100;
    program.put(target, &[HLT]);
    let first = selector_of(random, &mut program);
    let stack_selector = match random.below(4) {
        0 => selector::DATA,
        1 => 0,
        _ => selector::USER_DATA,
    } | random.pick(&[0, 3]);
    let returned = flags::FIXED | random.draw() & (flags::ARITHMETIC | flags::DF | flags::IOPL | flags::AC);
    let words = [target, u64::from(first), returned, USER_STACK - 64, u64::from(stack_selector)];
    // What RETF takes has no flags between.
    let words = if name == "retf" { vec![words[0], words[1], words[3], words[4]] } else { words.to_vec() };
    let width = if wide { 8 } else { 4 };
    let mut stack: Vec<u8> = Vec::new();
    for word in words {
        stack.extend(&word.to_le_bytes()[..width]);
    }
    program.gpr[RSP] -= 0x100;
    program.put(program.gpr[RSP], &stack);
    // The operand in memory: a 32-bit offset and a selector.
    program.gpr[RSI] = DATA;
    program.put(DATA, &(target as u32).to_le_bytes());
    program.put(DATA + 4, &first.to_le_bytes());
    program.name = format!(
        "{code:?} privilege {cpl}: {name}, ss {stack_selector:#x} flags {returned:#x};{}",
        program.name
    );
    program
}

/// What needs privileges: flags, ports, control registers.
fn privileges(random: &mut Random) -> Program {
    let (code, cpl) = (code_size(random), privilege(random));
    let tries: [(&str, &[u8]); 12] = [
        ("cli", &[0xfa, HLT]),
        ("sti", &[0xfb, 0x90, HLT]),
        ("popf", &[0x9d, 0x9c, HLT]),
        ("pushf", &[0x9c, HLT]),
        ("clts", &[0x0f, 0x06, HLT]),
        ("mov eax, cr0", &[0x0f, 0x20, 0xc0, HLT]),
        ("smsw eax", &[0x0f, 0x01, 0xe0, HLT]),
        ("sldt eax", &[0x0f, 0x00, 0xc0, HLT]),
        ("str eax", &[0x0f, 0x00, 0xc8, HLT]),
        ("lldt ax", &[0x0f, 0x00, 0xd0, HLT]),
        ("ltr ax", &[0x0f, 0x00, 0xd8, HLT]),
        ("invlpg [esi]", &[0x0f, 0x01, 0x3e, HLT]),
    ];
    let (name, bytes) = random.pick(&tries);
    let mut program = Program::new(String::new(), code, cpl, bytes);
    program.rflags |= random.draw() & (flags::ARITHMETIC | flags::DF | flags::IOPL | flags::AC | flags::ID);
    let selector = selector_of(random, &mut program);
    program.gpr[RAX] = u64::from(selector);
    program.gpr[RSI] = DATA;
    program.gpr[RSP] -= 64;
    let popped = random.draw() & 0x3f_7fd5 & !(flags::TF | flags::VM | flags::RF);
    program.put_word(program.gpr[RSP], popped);
    program.name = format!(
        "{code:?} privilege {cpl}: {name}, flags {:#x}, popped {popped:#x};{}",
        program.rflags, program.name
    );
    program
}

/// Single step and breakpoints on code and data.
fn debug(random: &mut Random) -> Program {
    let cpl = privilege(random);
    // nop; mov [rsi], al; mov al, [rsi+3]; nop; hlt
    let bytes = [0x90, 0x88, 0x06, 0x8a, 0x46, 0x03, 0x90, HLT];
    let mut program = Program::new(String::new(), Code::Long, cpl, &bytes);
    program.gpr[RSI] = DATA + 8;
    let debug = &mut program.state.debug;
    for number in 0..4 {
        let kind = random.pick(&[0, 1, 3, 3]);
        let len = if kind == 0 { 0 } else { random.pick(&[0, 1, 3]) };
        let address = if kind == 0 { CODE + random.below(8) } else { DATA + 4 + random.below(12) };
        debug.address[number] = address & !len;
        if random.below(3) == 0 {
            debug.control |=
                (kind | len << 2) << (16 + 4 * number) | 1 << (2 * number + random.below(2) as usize);
        }
    }
    if random.below(3) == 0 {
        program.rflags |= flags::TF;
    }
    program.name = format!(
        "privilege {cpl}: flags {:#x} dr7 {:#x} addresses {:x?}",
        program.rflags, program.state.debug.control, program.state.debug.address
    );
    program
}

/// SYSCALL from user mode, and SYSRET to it.
fn syscall(random: &mut Random) -> Program {
    let returning = coin(random);
    let enabled = random.below(8) != 0;
    let cpl = if random.below(4) == 0 { privilege(random) } else { 3 * u8::from(!returning) };
    let code =
        if returning { Code::Long } else { random.pick(&[Code::Long, Code::Long, Code::Compatibility]) };
    let bytes: &[u8] = match (returning, coin(random)) {
        (false, _) => &[0x0f, 0x05],
        (true, true) => &[0x48, 0x0f, 0x07],
        (true, false) => &[0x0f, 0x07],
    };
    let mut program = Program::new(String::new(), code, cpl, bytes);
    let msrs = &mut program.state.msrs;
    // Supervisor's selectors from CODE_64 on; the user's 32-bit code would be 8 below its data.
    msrs.star = u64::from(selector::CODE_64) << 32 | (u64::from(selector::DATA) | 3) << 48;
    msrs.lstar = HANDLERS + 0xfa0;
    msrs.cstar = HANDLERS + 0xfb0;
    msrs.fmask = random.draw() & 0x3f_7fd5;
    if !enabled {
        program.state.efer &= !control::EFER_SCE;
    }
    program.gpr[RCX] = CODE + 0x100;
    program.gpr[11] = random.draw() & 0x3f_7fd5 & !(flags::TF | flags::VM);
    program.gpr[RDX] = random.draw();
    program.put(CODE + 0x100, &[HLT]);
    program.rflags |= random.draw() & (flags::ARITHMETIC | flags::DF | flags::AC | flags::ID);
    program.name = format!(
        "{code:?} privilege {cpl}: {bytes:02x?}, enabled {enabled}, flags {:#x} r11 {:#x} fmask {:#x}",
        program.rflags, program.gpr[11], program.state.msrs.fmask
    );
    program
}

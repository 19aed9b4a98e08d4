//! Control instructions: FNINIT, FNCLEX, FLDCW, and the environment and state in the formats of protected mode
//! (SDM 1 8.1.10), of 14 and 94 bytes or of 28 and 108.
//!
//! Selectors of the instruction and data pointers are not kept: CPUID says so (leaf 7, EBX bit 13). They read as zero.

use super::memory::{put, u16_at, u32_at, u64_at, write};
use super::unit::{BUSY, ERROR_SUMMARY, EXCEPTIONS, Unit};
use crate::x86_64::guest::X86_64;
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{Class, F80, classify};
use c2w_engine::guest::Trap;

/// Bits of the control word that can be written; bit 6 always reads as one and the others as zero.
pub const CONTROL_BITS: u16 = 0x1f3f;
const CONTROL_FIXED: u16 = 0x40;

/// Bytes of the longer environment.
const LONG: usize = 28;
/// Bytes of the shorter environment.
const SHORT: usize = 14;
/// Bytes of a register in memory.
const REGISTER: usize = 10;
/// Bytes of the longest state.
const MOST: usize = LONG + 8 * REGISTER;

/// The control word that results from writing one.
pub(super) fn control_word(written: u16) -> u16 {
    written & CONTROL_BITS | CONTROL_FIXED
}

/// FNINIT.
pub(super) fn init(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    Unit::of(cpu).init();
    Ok(0)
}

/// FNCLEX: exception flags and stack fault (SDM 2A, FCLEX).
pub(super) fn clear(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    const STACK_FAULT: u16 = 1 << 6;
    let mut unit = Unit::of(cpu);
    let status = unit.status() & !(EXCEPTIONS | STACK_FAULT | ERROR_SUMMARY | BUSY);
    let control = unit.control();
    unit.set_words(control, status);
    Ok(0)
}

/// FLDCW.
pub(super) fn load_control(cpu: &mut Cpu<X86_64>, [word, ..]: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    let status = unit.status();
    unit.set_words(control_word(word as u16), status);
    Ok(0)
}

/// The tag word in its long form: two bits for each register (SDM 1 8.1.7).
fn tag_word(unit: &Unit<'_>) -> u16 {
    let tag = |number: u8| {
        if unit.tags() >> number & 1 == 0 {
            return 3;
        }
        match classify::<F80>(unit.register(number)) {
            Class::PositiveNormal | Class::NegativeNormal => 0,
            Class::PositiveZero | Class::NegativeZero => 1,
            _ => 2,
        }
    };
    (0..8).map(|number| tag(number) << (2 * number)).sum()
}

/// The short form of a tag word.
fn tags_of(word: u16) -> u8 {
    (0..8).filter(|number| word >> (2 * number) & 3 != 3).map(|number| 1 << number).sum()
}

/// Writes the environment in the format of that length. Reserved halves of words are all ones.
pub(super) fn put_environment(unit: &Unit<'_>, len_bytes: usize, to: &mut [u8]) {
    let (opcode, instruction, data) = unit.pointers();
    let words = [unit.control(), unit.status(), tag_word(unit)];
    if len_bytes == SHORT {
        for (index, word) in words.into_iter().chain([instruction as u16, 0, data as u16, 0]).enumerate() {
            put(to, 2 * index, word.to_le_bytes());
        }
        return;
    }
    let wide = words.map(|word| 0xffff_0000 | u32::from(word));
    let rest = [instruction as u32, u32::from(opcode) << 16, data as u32, 0xffff_0000];
    for (index, word) in wide.into_iter().chain(rest).enumerate() {
        put(to, 4 * index, word.to_le_bytes());
    }
}

fn load_words(unit: &mut Unit<'_>, len_bytes: usize, from: &[u8]) {
    let size = len_bytes / 7;
    let word = |index: usize| u16_at(from, index * size);
    let pointers = if len_bytes == SHORT {
        (0, u64::from(word(3)), u64::from(word(5)))
    } else {
        (u16_at(from, 18), u64::from(u32_at(from, 12)), u64::from(u32_at(from, 20)))
    };
    unit.set_words(control_word(word(0)), word(1));
    unit.set_tags(tags_of(word(2)));
    unit.set_pointers(pointers);
}

/// FNSTENV: stores the environment, then masks every exception.
pub(super) fn store_environment(cpu: &mut Cpu<X86_64>, [at, len, ..]: [u64; 4]) -> Result<u64, Trap> {
    let len_bytes = (len as usize).min(LONG);
    let mut image = [0; LONG];
    put_environment(&Unit::of(cpu), len_bytes, &mut image);
    write(cpu, Gva(at), &image[..len_bytes])?;
    let mut unit = Unit::of(cpu);
    let (control, status) = (unit.control(), unit.status());
    unit.set_words(control | EXCEPTIONS, status);
    Ok(0)
}

/// FLDENV.
pub(super) fn load_environment(cpu: &mut Cpu<X86_64>, [at, len, ..]: [u64; 4]) -> Result<u64, Trap> {
    let len_bytes = (len as usize).min(LONG);
    let mut image = [0; LONG];
    cpu.read_bytes(Gva(at), &mut image[..len_bytes])?;
    load_words(&mut Unit::of(cpu), len_bytes, &image);
    Ok(0)
}

/// Bytes of the environment in a state of that length.
fn environment_bytes(state_bytes: usize) -> usize {
    if state_bytes == MOST { LONG } else { SHORT }
}

/// FNSAVE: stores environment and registers from the top of the stack on, then does what FNINIT does.
pub(super) fn save(cpu: &mut Cpu<X86_64>, [at, len, ..]: [u64; 4]) -> Result<u64, Trap> {
    let environment = environment_bytes(len as usize);
    let mut image = [0; MOST];
    let unit = Unit::of(cpu);
    put_environment(&unit, environment, &mut image);
    for index in 0..8 {
        let value = unit.register(unit.number(index)).to_le_bytes();
        let from = environment + REGISTER * usize::from(index);
        image[from..from + REGISTER].copy_from_slice(&value[..REGISTER]);
    }
    write(cpu, Gva(at), &image[..environment + 8 * REGISTER])?;
    Unit::of(cpu).init();
    Ok(0)
}

/// FRSTOR.
pub(super) fn restore(cpu: &mut Cpu<X86_64>, [at, len, ..]: [u64; 4]) -> Result<u64, Trap> {
    let environment = environment_bytes(len as usize);
    let mut image = [0; MOST];
    cpu.read_bytes(Gva(at), &mut image[..environment + 8 * REGISTER])?;
    let mut unit = Unit::of(cpu);
    load_words(&mut unit, environment, &image);
    for index in 0..8 {
        let from = environment + REGISTER * usize::from(index);
        let value = u128::from(u64_at(&image, from)) | u128::from(u16_at(&image, from + 8)) << 64;
        let number = unit.number(index);
        unit.set_register(number, value);
    }
    Ok(0)
}

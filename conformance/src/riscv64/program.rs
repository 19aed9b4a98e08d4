//! A program of instruction sequences, here and under QEMU alike: each runs from the registers and memory in its
//! block of data and leaves what became of them behind. It ends with write(1, data) and exit(0).

use super::random::{MEMORY, MEMORY_BYTES, REGISTERS, RESERVED, Sequence, assembled, decoded};
use c2w_decoders::riscv64::names;
use std::fmt::Write as _;

/// Bytes of a sequence's data block: registers before, memory, registers after.
pub const BLOCK_BYTES: usize = 3072;
/// Offset of the registers after.
const AFTER: usize = MEMORY + MEMORY_BYTES;

/// A program of sequences: the image, and where in it the blocks of data are.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Code and data.
    pub image: Vec<u8>,
    /// Offset of the first block of data.
    pub data: usize,
}

/// The program that runs `sequences`, one after the other. It may be at any address that is a multiple of a page.
pub fn program(sequences: &[Sequence]) -> Layout {
    let (load, save) = (load_registers(), save_registers());
    let code_len = |sequence: &Sequence| sequence.insns.iter().map(Vec::len).sum::<usize>();
    let total: usize =
        sequences.iter().map(|sequence| 8 + load.len() + code_len(sequence) + save.len()).sum();
    // The longest form of the end is well below a page.
    let data = (total + 256).next_multiple_of(0x1000);
    let mut image = Vec::with_capacity(data + sequences.len() * BLOCK_BYTES);
    for (index, sequence) in sequences.iter().enumerate() {
        let memory = data + index * BLOCK_BYTES + MEMORY;
        image.extend(assembled(&address("t6", memory as i64 - image.len() as i64)));
        image.extend_from_slice(&load);
        sequence.insns.iter().for_each(|insn| image.extend_from_slice(insn));
        image.extend_from_slice(&save);
    }
    let to_data = address("a1", data as i64 - image.len() as i64);
    let (high, low) = split((sequences.len() * BLOCK_BYTES) as i64);
    image.extend(assembled(&format!(
        "{to_data}
         addi a0, zero, 1
         lui a2, {high}
         addi a2, a2, {low}
         addi a7, zero, 64
         ecall
         addi a0, zero, 0
         addi a7, zero, 93
         ecall"
    )));
    image.resize(data, 0);
    for sequence in sequences {
        let end = image.len() + BLOCK_BYTES;
        image.extend_from_slice(&sequence.before);
        image.resize(end, 0);
    }
    Layout { image, data }
}

/// Upper immediate and signed low 12 bits that add up to `value`.
fn split(value: i64) -> (i64, i64) {
    let high = (value + 0x800) >> 12;
    (high, value - (high << 12))
}

/// Instructions that put the address `distance` bytes from here into a register.
fn address(register: &str, distance: i64) -> String {
    let (high, low) = split(distance);
    format!("auipc {register}, {high}\naddi {register}, {register}, {low}")
}

/// Offset of a register in a block, from where the reserved registers point. `fcsr` has the place of x0.
fn place(from: usize, register: usize) -> i64 {
    (from + 8 * register) as i64 - MEMORY as i64
}

fn load_registers() -> Vec<u8> {
    let mut text = String::new();
    let _ = writeln!(text, "ld ra, {}(t6)\ncsrrw zero, 3, ra", place(0, 0));
    for number in 0..32 {
        let _ = writeln!(text, "fld {}, {}(t6)", names::F[number], place(0, 32 + number));
    }
    for number in (1..32).filter(|number| !RESERVED.contains(&(*number as u64))) {
        let _ = writeln!(text, "ld {}, {}(t6)", names::X[number], place(0, number));
    }
    text.push_str("addi sp, t6, 0\naddi s0, t6, 0\n");
    assembled(&text)
}

fn save_registers() -> Vec<u8> {
    let mut text = String::new();
    for number in 1..32 {
        let _ = writeln!(text, "sd {}, {}(t6)", names::X[number], place(AFTER, number));
    }
    for number in 0..32 {
        let _ = writeln!(text, "fsd {}, {}(t6)", names::F[number], place(AFTER, 32 + number));
    }
    let _ = writeln!(text, "csrrs ra, 3, zero\nsd ra, {}(t6)", place(AFTER, 0));
    assembled(&text)
}

/// How two runs of a sequence differ: its instructions, the registers before, and what is not the same after.
/// `None` if they agree.
pub fn difference(sequence: &Sequence, ours: &[u8], theirs: &[u8]) -> Option<String> {
    if ours == theirs {
        return None;
    }
    let word = |bytes: &[u8], index: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[8 * index..8 * index + 8]);
        u64::from_le_bytes(word)
    };
    let name = |index: usize| match index {
        0 => "fcsr".to_owned(),
        1..32 => names::X[index].to_owned(),
        32..64 => names::F[index - 32].to_owned(),
        _ => format!("word {index}"),
    };
    let mut text = String::new();
    for insn in &sequence.insns {
        let mut rest = insn.as_slice();
        while !rest.is_empty() {
            let insn = decoded(rest);
            let _ = writeln!(text, "    {:08x}  {insn}", insn.raw);
            rest = &rest[usize::from(insn.len_bytes())..];
        }
    }
    for index in 0..REGISTERS {
        let name = name(index);
        if index == 0 || text.contains(&name) {
            let _ = writeln!(text, "    before  {name:5} {:#018x}", word(&sequence.before, index));
        }
    }
    for index in MEMORY / 8..BLOCK_BYTES / 8 {
        let (a, b) = (word(ours, index), word(theirs, index));
        if a != b {
            let place = if index >= AFTER / 8 {
                name(index - AFTER / 8)
            } else {
                format!("memory {:#x}", 8 * index - MEMORY)
            };
            let _ = writeln!(text, "    {place}: {a:#x}, QEMU {b:#x}");
        }
    }
    Some(text)
}

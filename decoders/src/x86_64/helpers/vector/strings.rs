//! PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM (SDM 2B 4.1).

use crate::x86_64::flags::{CF, OF, SF, ZF};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::{RAX, RCX, RDX, vector};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// Bit of the first argument: lengths are in RAX and RDX.
pub const EXPLICIT: u64 = 1 << 16;
/// Lengths are 64 bits wide, else 32.
pub const WIDE: u64 = 1 << 17;
/// The result is a mask in XMM0, else an index in ECX.
pub const MASK: u64 = 1 << 18;

/// What the immediate says.
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    fn lane_bits(self) -> u32 {
        if self.0 & 1 == 0 { 8 } else { 16 }
    }

    fn is_signed(self) -> bool {
        self.0 & 2 != 0
    }

    /// Most lanes.
    fn lanes(self) -> usize {
        128 / self.lane_bits() as usize
    }
}

/// A string: lanes, extended to 32 bits as they are compared, and how many of them count.
struct Text {
    lanes: [i32; 16],
    len: usize,
}

impl Text {
    /// The lanes before the first zero, or as many as an explicit length says.
    fn new(low: u64, high: u64, control: Control, explicit_len: Option<usize>) -> Self {
        let vector = u128::from(high) << 64 | u128::from(low);
        let bytes = vector.to_le_bytes();
        let word = |n: usize| if n < 8 { (vector >> (16 * n)) as u16 } else { 0 };
        let lanes: [i32; 16] = match (control.lane_bits(), control.is_signed()) {
            (8, false) => bytes.map(i32::from),
            (8, true) => bytes.map(|byte| (byte as i8).into()),
            (_, false) => core::array::from_fn(|n| word(n).into()),
            (_, true) => core::array::from_fn(|n| (word(n) as i16).into()),
        };
        let most = control.lanes();
        let implicit = || lanes[..most].iter().position(|&lane| lane == 0).unwrap_or(most);
        Self { lanes, len: explicit_len.map_or_else(implicit, |len| len.min(most)) }
    }

    fn valid(&self) -> &[i32] {
        &self.lanes[..self.len]
    }
}

/// The lowest `count` bits, at most 16.
fn ones(count: usize) -> u32 {
    (1 << count) - 1
}

/// A bit for each lane of `b` for which the comparison holds: the first intermediate result.
fn compare(control: Control, a: &Text, b: &Text) -> u32 {
    let set = |holds: &dyn Fn(i32) -> bool| {
        (0..).zip(b.valid()).fold(0u32, |bits, (n, &lane)| bits | u32::from(holds(lane)) << n)
    };
    let lanes = control.lanes();
    match control.0 >> 2 & 3 {
        // Equal to any.
        0 => set(&|lane| a.valid().contains(&lane)),
        // In a range.
        1 => set(&|lane| a.valid().chunks_exact(2).any(|range| range[0] <= lane && lane <= range[1])),
        // Equal to the one at its place: past both ends, lanes are equal.
        2 => {
            let (both, neither) = (ones(a.len.min(b.len)), !ones(a.len.max(b.len)));
            let equal = (0..16).fold(0, |bits, n| bits | u32::from(a.lanes[n] == b.lanes[n]) << n);
            equal & both | neither
        }
        // `a`, or as much of it as there is room for, starts here.
        _ => (0..lanes).fold(0, |bits, start| {
            let needed = a.len.min(lanes - start);
            let holds = b.valid().get(start..start + needed).is_some_and(|part| part == &a.lanes[..needed]);
            bits | u32::from(holds || needed == 0) << start
        }),
    }
}

/// (slot of the first operand | immediate << 8 | flags above, second operand): writes the result, gives the flags.
pub fn compare_strings(cpu: &mut Cpu<X86_64>, [what, low, high, _]: [u64; 4]) -> Result<u64, Trap> {
    let control = Control((what >> 8) as u8);
    let explicit_len = |cpu: &Cpu<X86_64>, slot: u8| {
        let value = cpu.slots[usize::from(slot)];
        let len = if what & WIDE != 0 {
            (value as i64).unsigned_abs()
        } else {
            (value as i32).unsigned_abs().into()
        };
        (what & EXPLICIT != 0).then_some(len.min(16) as usize)
    };
    let first = usize::from(what as u8);
    let a = Text::new(cpu.slots[first], cpu.slots[first + 1], control, explicit_len(cpu, RAX.0));
    let b = Text::new(low, high, control, explicit_len(cpu, RDX.0));
    let lanes = control.lanes();
    let all = ones(lanes);
    let found = compare(control, &a, &b) & all;
    let found = match control.0 >> 4 & 3 {
        1 => !found & all,
        3 => found ^ ones(b.len),
        _ => found,
    };
    let last = control.0 & 1 << 6 != 0;
    if what & MASK == 0 {
        let index = match (found, last) {
            (0, _) => lanes as u32,
            (_, false) => found.trailing_zeros(),
            (_, true) => 31 - found.leading_zeros(),
        };
        cpu.slots[usize::from(RCX.0)] = index.into();
    } else {
        let mask = if last { widen(found, control) } else { found.into() };
        let to = usize::from(vector(0).0);
        cpu.slots[to] = mask as u64;
        cpu.slots[to + 1] = (mask >> 64) as u64;
    }
    let flags = [(found != 0, CF), (b.len < lanes, ZF), (a.len < lanes, SF), (found & 1 != 0, OF)];
    Ok(flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag))
}

/// A lane of ones for each bit.
fn widen(bits: u32, control: Control) -> u128 {
    let lane_bits = control.lane_bits();
    let lane = u128::MAX >> (128 - lane_bits);
    (0..control.lanes() as u32)
        .filter(|n| bits >> n & 1 != 0)
        .fold(0, |mask, n| mask | lane << (n * lane_bits))
}

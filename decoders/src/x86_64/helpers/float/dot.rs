//! Dot products (SSE4.1).

use super::lanes::{Lane, build, destination, read, write};
use super::mxcsr::exactly;
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp;
use c2w_engine::guest::Trap;

/// DPPS, DPPD: products of the elements that bits 4 and up of the immediate name, added pairwise, to where the low bits
/// say. Each layer of operations ends with the exceptions of its own (SDM 2A, DPPS).
pub(super) fn dot<F: Lane, const N: usize>(
    cpu: &mut Cpu<X86_64>,
    [to, lo, hi, _]: [u64; 4],
) -> Result<u64, Trap> {
    let (slot, immediate) = destination(to);
    let (a, b) = (read(cpu, slot), [lo, hi]);
    let mut terms: [F::Bits; N] = exactly(cpu, |env| {
        std::array::from_fn(|i| match immediate >> (4 + i) & 1 {
            0 => F::Bits::default(),
            _ => fp::mul::<F>(env, F::at(a, i), F::at(b, i)),
        })
    })?;
    let mut count = N;
    while count > 1 {
        count /= 2;
        terms = exactly(cpu, |env| {
            std::array::from_fn(|i| match i < count {
                true => fp::add::<F>(env, terms[2 * i], terms[2 * i + 1]),
                false => F::Bits::default(),
            })
        })?;
    }
    let result = build::<F>(|i| if immediate >> i & 1 != 0 { terms[0] } else { F::Bits::default() });
    write(cpu, slot, result);
    Ok(0)
}

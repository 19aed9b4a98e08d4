//! Sums, products, quotients, roots, minima and maxima.

use super::lanes::{Lane, Operation, build, destination, read, vectors};
use super::mxcsr::exactly;
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{self, Env, Extremum, soft};
use c2w_engine::guest::Trap;

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident: |$env:ident, $a:pat_param, $b:ident| $quick:expr, $exact:expr;)*) => {$(
        $(#[$doc])*
        pub(super) enum $name {}

        impl<F: Lane> Operation<F> for $name {
            #[inline(always)]
            fn quick($env: &mut Env, $a: F::Bits, $b: F::Bits) -> Option<F::Bits> {
                $quick
            }

            fn exact($env: &mut Env, $a: F::Bits, $b: F::Bits) -> F::Bits {
                $exact
            }
        }
    )*};
}

operations! {
    /// `a + b`.
    Add: |env, a, b| F::try_add(env, a, b), soft::add::<F>(env, a, b);
    /// `a - b`.
    Sub: |env, a, b| F::try_sub(env, a, b), soft::sub::<F>(env, a, b);
    /// `a x b`.
    Mul: |env, a, b| F::try_mul(env, a, b), soft::mul::<F>(env, a, b);
    /// `a / b`.
    Div: |env, a, b| F::try_div(env, a, b), soft::div::<F>(env, a, b);
    /// The square root of `b`.
    Sqrt: |env, _, b| F::try_sqrt(env, b), soft::sqrt::<F>(env, b);
    /// `a` if it is less than `b`, else `b`.
    Min: |_env, a, b| F::try_less(a, b).map(|less| if less { a } else { b }),
        fp::extremum_or_second::<F>(_env, Extremum::Min, a, b);
    /// `a` if it is greater than `b`, else `b`.
    Max: |_env, a, b| F::try_less(b, a).map(|less| if less { a } else { b }),
        fp::extremum_or_second::<F>(_env, Extremum::Max, a, b);
}

/// ADDSUBPS, ADDSUBPD.
pub(super) fn add_sub<F: Lane>(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let (a, b) = (read(cpu, slot), [lo, hi]);
    let result = exactly(cpu, |env| {
        build::<F>(|i| {
            let operation = if i % 2 == 0 { fp::sub::<F> } else { fp::add::<F> };
            operation(env, F::at(a, i), F::at(b, i))
        })
    })?;
    super::lanes::write(cpu, slot, result);
    Ok(0)
}

/// HADDPS and its kin: the results of the destination's neighbours, then of the source's.
pub(super) fn horizontal<O: Operation<F>, F: Lane>(
    cpu: &mut Cpu<X86_64>,
    [to, lo, hi, _]: [u64; 4],
) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let (a, b) = (read(cpu, slot), [lo, hi]);
    let element = |index: usize| if index < F::COUNT { F::at(a, index) } else { F::at(b, index - F::COUNT) };
    let (even, odd) = (build::<F>(|i| element(2 * i)), build::<F>(|i| element(2 * i + 1)));
    vectors::<O, F>(cpu, slot, even, odd)
}

//! Helpers of floating-point instructions on vector registers.
//!
//! Those of scalar instructions get the low halves of destination and source and an immediate, and give the new low
//! half of the destination. Those of packed instructions get the first slot of the destination, with an immediate in
//! bits 8 to 15, and the two halves of the source, and write the destination, which is also the first operand of what
//! has two. All keep the exceptions in MXCSR and raise #XM for unmasked ones ([`mxcsr`]).

mod arithmetic;
mod compare;
mod convert;
mod dot;
mod estimate;
mod lanes;
pub mod mxcsr;
#[cfg(test)]
mod tests;

pub use mxcsr::BITS as MXCSR_BITS;

use super::{REGISTERS, TRAPPING, helpers};
use crate::x86_64::guest::X86_64;
use arithmetic::{Add, Div, Max, Min, Mul, Sqrt, Sub};
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{F32, F64};
use c2w_engine::guest::HelperEffects;
use c2w_engine::guest::Trap;
use lanes::{packed, scalar};

/// Runs a helper.
pub fn run(cpu: &mut Cpu<X86_64>, helper: Helper, args: [u64; 4]) -> Result<u64, Trap> {
    call(cpu, helper as u16, args)
}

helpers! { super::FIRST_FLOAT;
    /// (value): writes MXCSR; #GP for reserved bits.
    LoadMxcsr = "load_mxcsr", TRAPPING, mxcsr::load;
    /// Sums.
    Addps = "addps", TRAPPING, packed::<Add, F32>;
    /// Sums.
    Addpd = "addpd", TRAPPING, packed::<Add, F64>;
    /// Sum.
    Addss = "addss", TRAPPING, scalar::<Add, F32>;
    /// Sum.
    Addsd = "addsd", TRAPPING, scalar::<Add, F64>;
    /// Differences.
    Subps = "subps", TRAPPING, packed::<Sub, F32>;
    /// Differences.
    Subpd = "subpd", TRAPPING, packed::<Sub, F64>;
    /// Difference.
    Subss = "subss", TRAPPING, scalar::<Sub, F32>;
    /// Difference.
    Subsd = "subsd", TRAPPING, scalar::<Sub, F64>;
    /// Products.
    Mulps = "mulps", TRAPPING, packed::<Mul, F32>;
    /// Products.
    Mulpd = "mulpd", TRAPPING, packed::<Mul, F64>;
    /// Product.
    Mulss = "mulss", TRAPPING, scalar::<Mul, F32>;
    /// Product.
    Mulsd = "mulsd", TRAPPING, scalar::<Mul, F64>;
    /// Quotients.
    Divps = "divps", TRAPPING, packed::<Div, F32>;
    /// Quotients.
    Divpd = "divpd", TRAPPING, packed::<Div, F64>;
    /// Quotient.
    Divss = "divss", TRAPPING, scalar::<Div, F32>;
    /// Quotient.
    Divsd = "divsd", TRAPPING, scalar::<Div, F64>;
    /// Square roots of the source.
    Sqrtps = "sqrtps", TRAPPING, packed::<Sqrt, F32>;
    /// Square roots of the source.
    Sqrtpd = "sqrtpd", TRAPPING, packed::<Sqrt, F64>;
    /// Square root of the source.
    Sqrtss = "sqrtss", TRAPPING, scalar::<Sqrt, F32>;
    /// Square root of the source.
    Sqrtsd = "sqrtsd", TRAPPING, scalar::<Sqrt, F64>;
    /// The lesser ones.
    Minps = "minps", TRAPPING, packed::<Min, F32>;
    /// The lesser ones.
    Minpd = "minpd", TRAPPING, packed::<Min, F64>;
    /// The lesser one.
    Minss = "minss", TRAPPING, scalar::<Min, F32>;
    /// The lesser one.
    Minsd = "minsd", TRAPPING, scalar::<Min, F64>;
    /// The greater ones.
    Maxps = "maxps", TRAPPING, packed::<Max, F32>;
    /// The greater ones.
    Maxpd = "maxpd", TRAPPING, packed::<Max, F64>;
    /// The greater one.
    Maxss = "maxss", TRAPPING, scalar::<Max, F32>;
    /// The greater one.
    Maxsd = "maxsd", TRAPPING, scalar::<Max, F64>;
    /// Differences of even elements, sums of odd ones.
    Addsubps = "addsubps", TRAPPING, arithmetic::add_sub::<F32>;
    /// Difference of the low elements, sum of the high ones.
    Addsubpd = "addsubpd", TRAPPING, arithmetic::add_sub::<F64>;
    /// Sums of neighbours.
    Haddps = "haddps", TRAPPING, arithmetic::horizontal::<Add, F32>;
    /// Sums of neighbours.
    Haddpd = "haddpd", TRAPPING, arithmetic::horizontal::<Add, F64>;
    /// Differences of neighbours.
    Hsubps = "hsubps", TRAPPING, arithmetic::horizontal::<Sub, F32>;
    /// Differences of neighbours.
    Hsubpd = "hsubpd", TRAPPING, arithmetic::horizontal::<Sub, F64>;
    /// Dot product as the immediate says.
    Dpps = "dpps", TRAPPING, dot::dot::<F32, 4>;
    /// Dot product as the immediate says.
    Dppd = "dppd", TRAPPING, dot::dot::<F64, 2>;
    /// Approximate reciprocals.
    Rcpps = "rcpps", REGISTERS, estimate::reciprocals;
    /// Approximate reciprocal.
    Rcpss = "rcpss", HelperEffects::PURE, estimate::reciprocal;
    /// Approximate reciprocals of square roots.
    Rsqrtps = "rsqrtps", REGISTERS, estimate::reciprocal_roots;
    /// Approximate reciprocal of a square root.
    Rsqrtss = "rsqrtss", HelperEffects::PURE, estimate::reciprocal_root;
    /// Rounds to integers as the immediate says.
    Roundps = "roundps", TRAPPING, convert::packed_round::<F32>;
    /// Rounds to integers as the immediate says.
    Roundpd = "roundpd", TRAPPING, convert::packed_round::<F64>;
    /// Rounds to an integer as the immediate says.
    Roundss = "roundss", TRAPPING, convert::scalar_round::<F32>;
    /// Rounds to an integer as the immediate says.
    Roundsd = "roundsd", TRAPPING, convert::scalar_round::<F64>;
    /// Ones where the predicate in the immediate holds, else zeros.
    Cmpps = "cmpps", TRAPPING, compare::packed_mask::<F32>;
    /// Ones where the predicate in the immediate holds, else zeros.
    Cmppd = "cmppd", TRAPPING, compare::packed_mask::<F64>;
    /// Ones if the predicate in the immediate holds, else zeros.
    Cmpss = "cmpss", TRAPPING, compare::scalar_mask::<F32>;
    /// Ones if the predicate in the immediate holds, else zeros.
    Cmpsd = "cmpsd", TRAPPING, compare::scalar_mask::<F64>;
    /// (first, second): ZF, PF and CF of a comparison to which every NaN is invalid.
    Comiss = "comiss", TRAPPING, compare::flags::<F32, true>;
    /// (first, second): ZF, PF and CF of a comparison to which every NaN is invalid.
    Comisd = "comisd", TRAPPING, compare::flags::<F64, true>;
    /// (first, second): ZF, PF and CF of a comparison to which signalling NaNs are invalid.
    Ucomiss = "ucomiss", TRAPPING, compare::flags::<F32, false>;
    /// (first, second): ZF, PF and CF of a comparison to which signalling NaNs are invalid.
    Ucomisd = "ucomisd", TRAPPING, compare::flags::<F64, false>;
    /// Four 32-bit integers to singles.
    Cvtdq2ps = "cvtdq2ps", TRAPPING, convert::integers_to_singles;
    /// Four singles to 32-bit integers.
    Cvtps2dq = "cvtps2dq", TRAPPING, convert::singles_to_integers::<false>;
    /// The same, truncating.
    Cvttps2dq = "cvttps2dq", TRAPPING, convert::singles_to_integers::<true>;
    /// Two doubles to 32-bit integers; the high half becomes 0.
    Cvtpd2dq = "cvtpd2dq", TRAPPING, convert::doubles_to_integers::<false>;
    /// The same, truncating.
    Cvttpd2dq = "cvttpd2dq", TRAPPING, convert::doubles_to_integers::<true>;
    /// (destination, source low): two singles to doubles.
    Cvtps2pd = "cvtps2pd", TRAPPING, convert::singles_to_doubles;
    /// Two doubles to singles; the high half becomes 0.
    Cvtpd2ps = "cvtpd2ps", TRAPPING, convert::doubles_to_singles;
    /// Single to double.
    Cvtss2sd = "cvtss2sd", TRAPPING, convert::single_to_double;
    /// Double to single.
    Cvtsd2ss = "cvtsd2ss", TRAPPING, convert::double_to_single;
    /// 32-bit integer to single.
    Cvtsi2ss = "cvtsi2ss", TRAPPING, convert::integer_to_single;
    /// 64-bit integer to single.
    Cvtsi2ssWide = "cvtsi2ss_64", TRAPPING, convert::wide_integer_to_single;
    /// 32-bit integer to double, which is exact.
    Cvtsi2sd = "cvtsi2sd", HelperEffects::PURE, convert::integer_to_double;
    /// 64-bit integer to double.
    Cvtsi2sdWide = "cvtsi2sd_64", TRAPPING, convert::wide_integer_to_double;
    /// (source): single to 32-bit integer.
    Cvtss2si = "cvtss2si", TRAPPING, convert::to_integer::<F32, false>;
    /// (source): single to 64-bit integer.
    Cvtss2siWide = "cvtss2si_64", TRAPPING, convert::to_wide_integer::<F32, false>;
    /// (source): single to 32-bit integer, truncating.
    Cvttss2si = "cvttss2si", TRAPPING, convert::to_integer::<F32, true>;
    /// (source): single to 64-bit integer, truncating.
    Cvttss2siWide = "cvttss2si_64", TRAPPING, convert::to_wide_integer::<F32, true>;
    /// (source): double to 32-bit integer.
    Cvtsd2si = "cvtsd2si", TRAPPING, convert::to_integer::<F64, false>;
    /// (source): double to 64-bit integer.
    Cvtsd2siWide = "cvtsd2si_64", TRAPPING, convert::to_wide_integer::<F64, false>;
    /// (source): double to 32-bit integer, truncating.
    Cvttsd2si = "cvttsd2si", TRAPPING, convert::to_integer::<F64, true>;
    /// (source): double to 64-bit integer, truncating.
    Cvttsd2siWide = "cvttsd2si_64", TRAPPING, convert::to_wide_integer::<F64, true>;
    /// (source): two 32-bit integers in memory to singles.
    Cvtpi2ps = "cvtpi2ps", TRAPPING, convert::pair_to_singles;
    /// (source): two 32-bit integers in an MMX register to singles.
    Cvtpi2psMmx = "cvtpi2ps_mmx", TRAPPING, convert::mmx_to_singles;
    /// (source): two singles to 32-bit integers.
    Cvtps2pi = "cvtps2pi", TRAPPING, convert::singles_to_mmx::<false>;
    /// (source): two singles to 32-bit integers, truncating.
    Cvttps2pi = "cvttps2pi", TRAPPING, convert::singles_to_mmx::<true>;
    /// (source low, source high): two doubles to 32-bit integers.
    Cvtpd2pi = "cvtpd2pi", TRAPPING, convert::doubles_to_mmx::<false>;
    /// (source low, source high): two doubles to 32-bit integers, truncating.
    Cvttpd2pi = "cvttpd2pi", TRAPPING, convert::doubles_to_mmx::<true>;
}

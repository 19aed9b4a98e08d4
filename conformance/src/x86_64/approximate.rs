//! Results that the manual gives an error bound for instead of a value: within the bound they count as equal.

use super::state::Outcome;
use iced_x86::{Instruction, Mnemonic};

/// RCPPS and its kin: "|Relative Error| <= 1.5 * 2^-12" (SDM 2B). Both sides may use it up.
const RECIPROCAL: f64 = 2.0 * 1.5 / 4096.0;
/// Transcendental functions: "less than 1 ulp" (SDM 1 8.3.10). Both sides may use it up.
const ULPS: u128 = 2;
/// C1 tells whether the last bit was rounded up.
const C1: u16 = 1 << 9;
const STACK_FAULT: u16 = 1 << 6;

/// Makes results equal that may differ. `before` is the x87 status word that the instruction found.
pub fn forgive(insn: &Instruction, before: u16, want: &mut Outcome, got: &mut Outcome) {
    match insn.mnemonic() {
        Mnemonic::Rcpps | Mnemonic::Rcpss | Mnemonic::Rsqrtps | Mnemonic::Rsqrtss => {
            let number = insn.op0_register().number() & 15;
            for half in 0..2 {
                forgive_singles(&mut want.state.xmm[number][half], got.state.xmm[number][half], is_close);
            }
        }
        mnemonic if is_transcendental(mnemonic) => {
            for (want, got) in want.state.x87.registers.iter_mut().zip(&got.state.x87.registers) {
                if want != got && distance(*want, *got) <= ULPS {
                    *want = *got;
                }
            }
            // With a stack fault it is the direction of that.
            if want.state.x87.status & !before & STACK_FAULT == 0 {
                want.state.x87.status = want.state.x87.status & !C1 | got.state.x87.status & C1;
            }
        }
        _ => {}
    }
}

/// Instructions with the accuracy of transcendental ones.
pub fn is_transcendental(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        mnemonic,
        M::Fsin | M::Fcos | M::Fsincos | M::Fptan | M::Fpatan | M::F2xm1 | M::Fyl2x | M::Fyl2xp1
    )
}

/// Makes two pairs of single-precision numbers equal where a function says that they count as equal.
pub(super) fn forgive_singles(want: &mut u64, got: u64, counts_as_equal: impl Fn(f32, f32) -> bool) {
    for shift in [0, 32] {
        let (w, g) = (f32::from_bits((*want >> shift) as u32), f32::from_bits((got >> shift) as u32));
        if counts_as_equal(w, g) {
            *want = *want & !(0xffff_ffff << shift) | got & 0xffff_ffff << shift;
        }
    }
}

fn is_close(want: f32, got: f32) -> bool {
    let close = (f64::from(want) - f64::from(got)).abs() <= RECIPROCAL * f64::from(want).abs();
    want.is_normal() && got.is_normal() && close
}

/// How many representable numbers two of the same sign are apart.
fn distance(a: (u64, u16), b: (u64, u16)) -> u128 {
    const EXPONENT: u16 = 0x7fff;
    // Normal numbers have 2^63 significands for each exponent.
    let place = |(significand, exponent): (u64, u16)| {
        (u128::from(exponent & EXPONENT) << 63) + u128::from(significand & (u64::MAX >> 1))
    };
    let finite = |(_, exponent): (u64, u16)| exponent & EXPONENT != EXPONENT;
    if (a.1 ^ b.1) & !EXPONENT != 0 || !finite(a) || !finite(b) {
        return u128::MAX;
    }
    place(a).abs_diff(place(b))
}

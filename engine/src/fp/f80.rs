//! The double-extended format of x87, with its explicit leading bit (SDM volume 1, 4.2.2 and 8.2.2).

use super::env::Env;
use super::fast::Host;
use super::format::{Format, Kind, Parts, QUIET, TOP};

/// x87's 80-bit format, in the low bits of a `u128`: significand in 63..=0, biased exponent in 78..=64,
/// sign in 79. Results are rounded to [`Env::precision`]. Has no fused multiply-add.
#[derive(Clone, Copy, Debug)]
pub enum F80 {}

const BIASED_MAX: i32 = 0x7fff;

fn encode(sign: bool, biased: i32, significand: u64) -> u128 {
    u128::from(sign) << 79 | (biased as u128) << 64 | u128::from(significand)
}

impl Format for F80 {
    type Bits = u128;
    const PRECISION: u32 = 64;
    const EMAX: i32 = 16383;

    fn unpack(bits: u128) -> Parts {
        let sign = bits >> 79 & 1 != 0;
        let biased = (bits >> 64) as i32 & BIASED_MAX;
        let significand = bits as u64;
        let (kind, exponent) = match biased {
            0 if significand == 0 => return Parts::zero(sign),
            0 => {
                // Pseudo-denormals, with the leading bit set, have the value that it says.
                let shift = significand.leading_zeros();
                return Parts {
                    sign,
                    kind: Kind::Finite,
                    subnormal: true,
                    exponent: Self::EMIN - shift as i32,
                    significand: significand << shift,
                };
            }
            _ if significand & TOP == 0 => (Kind::Unsupported, i32::MAX),
            BIASED_MAX if significand == TOP => (Kind::Infinity, i32::MAX),
            BIASED_MAX if significand & QUIET != 0 => (Kind::QuietNan, i32::MAX),
            BIASED_MAX => (Kind::SignalingNan, i32::MAX),
            _ => (Kind::Finite, biased - Self::EMAX),
        };
        Parts { sign, kind, subnormal: false, exponent, significand }
    }

    fn finite(sign: bool, exponent: i32, significand: u64) -> u128 {
        let biased = if significand & TOP != 0 { exponent + Self::EMAX } else { 0 };
        encode(sign, biased, significand)
    }

    fn infinity(sign: bool) -> u128 {
        encode(sign, BIASED_MAX, TOP)
    }

    fn nan(sign: bool, significand: u64) -> u128 {
        encode(sign, BIASED_MAX, significand | TOP | QUIET)
    }

    fn digits(env: &Env) -> u32 {
        env.precision.digits()
    }
}

impl Host for F80 {}

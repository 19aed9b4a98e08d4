//! What every operation on vectors means, once: functions over the halves of 128 bits, the low one first.
//!
//! The interpreter calls these; every lowering is tested against them. What computes with floating-point numbers is not
//! here: it depends on the guest's environment of rounding and flags ([`crate::guest::Guest::vector_float`]).

mod aes;
pub mod boxed;
mod lanes;
mod ops;
mod places;
mod sha;

pub use ops::{VectorExtract, VectorInsert, VectorOp};

use super::eval::binary;
use super::ops::Binary;
use crate::addr::Width::W64;

/// 128 bits: the halves, the low one first.
pub type Vector = [u64; 2];

/// Bit of a comparison's result: less, or all bits are in the other; x86's carry flag.
pub const CARRY: u64 = 1;
/// Bit of a comparison's result: unordered; x86's parity flag.
pub const PARITY: u64 = 1 << 2;
/// Bit of a comparison's result: equal, or no common bits; x86's zero flag.
pub const ZERO: u64 = 1 << 6;

/// What a function gives for each place. A plain loop: compilers make instructions on vectors of it.
#[inline(always)]
fn each<T: Copy + Default, const N: usize>(f: impl Fn(usize) -> T) -> [T; N] {
    let mut all = [T::default(); N];
    for (n, to) in all.iter_mut().enumerate() {
        *to = f(n);
    }
    all
}

/// Bytes of a vector, lowest first.
#[inline(always)]
fn to_bytes(vector: Vector) -> [u8; 16] {
    (u128::from(vector[1]) << 64 | u128::from(vector[0])).to_le_bytes()
}

/// The vector of these bytes.
#[inline(always)]
fn from_bytes(bytes: [u8; 16]) -> Vector {
    let value = u128::from_le_bytes(bytes);
    [value as u64, (value >> 64) as u64]
}

/// An operation that is not one on floating-point numbers. `c` is the destination's old content.
///
/// # Panics
/// If it is one on floating-point numbers.
#[inline(always)]
pub fn vector(op: VectorOp, imm: u8, c: Vector, a: Vector, b: Vector) -> Vector {
    use VectorOp as Op;
    let count = u64::from(imm);
    match op {
        Op::Copy => b,
        Op::Movq => [b[0], 0],
        Op::Movss => [a[0] >> 32 << 32 | b[0] & 0xffff_ffff, a[1]],
        Op::Movsd => [b[0], a[1]],
        Op::Movhlps => [b[1], a[1]],
        Op::Movddup => [b[0], b[0]],
        Op::Movshdup => places::dwords(b, b, 0b11_11_01_01),
        Op::Movsldup => places::dwords(b, b, 0b10_10_00_00),
        Op::And => [a[0] & b[0], a[1] & b[1]],
        Op::Andn => [!a[0] & b[0], !a[1] & b[1]],
        Op::Or => [a[0] | b[0], a[1] | b[1]],
        Op::Xor => [a[0] ^ b[0], a[1] ^ b[1]],
        Op::Paddb => lanes::add_8(a, b),
        Op::Paddw => lanes::add_16(a, b),
        Op::Paddd => lanes::add_32(a, b),
        Op::Paddq => lanes::add_64(a, b),
        Op::Psubb => lanes::subtract_8(a, b),
        Op::Psubw => lanes::subtract_16(a, b),
        Op::Psubd => lanes::subtract_32(a, b),
        Op::Psubq => lanes::subtract_64(a, b),
        Op::Pcmpeqb => lanes::equal_8(a, b),
        Op::Pcmpeqw => lanes::equal_16(a, b),
        Op::Pcmpeqd => lanes::equal_32(a, b),
        Op::Pcmpeqq => lanes::equal_64(a, b),
        Op::Paddsb => lanes::add_signed_saturated_8(a, b),
        Op::Paddsw => lanes::add_signed_saturated_16(a, b),
        Op::Paddusb => lanes::add_saturated_8(a, b),
        Op::Paddusw => lanes::add_saturated_16(a, b),
        Op::Psubsb => lanes::subtract_signed_saturated_8(a, b),
        Op::Psubsw => lanes::subtract_signed_saturated_16(a, b),
        Op::Psubusb => lanes::subtract_saturated_8(a, b),
        Op::Psubusw => lanes::subtract_saturated_16(a, b),
        Op::Pmullw => lanes::multiply_16(a, b),
        Op::Pmulhw => lanes::multiply_high_signed_16(a, b),
        Op::Pmulhuw => lanes::multiply_high_16(a, b),
        Op::Pmulhrsw => lanes::multiply_rounded_16(a, b),
        Op::Pmaddwd => lanes::multiply_add_16(a, b),
        Op::Pmaddubsw => lanes::multiply_add_8(a, b),
        Op::Pmuludq => lanes::multiply_wide_32(a, b),
        Op::Pmuldq => lanes::multiply_wide_signed_32(a, b),
        Op::Pmulld => lanes::multiply_32(a, b),
        Op::Pcmpgtb => lanes::greater_8(a, b),
        Op::Pcmpgtw => lanes::greater_16(a, b),
        Op::Pcmpgtd => lanes::greater_32(a, b),
        Op::Pcmpgtq => lanes::greater_64(a, b),
        Op::Pminsb => lanes::least_signed_8(a, b),
        Op::Pminsw => lanes::least_signed_16(a, b),
        Op::Pminsd => lanes::least_signed_32(a, b),
        Op::Pminub => lanes::least_8(a, b),
        Op::Pminuw => lanes::least_16(a, b),
        Op::Pminud => lanes::least_32(a, b),
        Op::Pmaxsb => lanes::greatest_signed_8(a, b),
        Op::Pmaxsw => lanes::greatest_signed_16(a, b),
        Op::Pmaxsd => lanes::greatest_signed_32(a, b),
        Op::Pmaxub => lanes::greatest_8(a, b),
        Op::Pmaxuw => lanes::greatest_16(a, b),
        Op::Pmaxud => lanes::greatest_32(a, b),
        Op::Pavgb => lanes::average_8(a, b),
        Op::Pavgw => lanes::average_16(a, b),
        Op::Psadbw => lanes::sum_of_differences(a, b),
        Op::Pabsb => lanes::absolute_8(a, b),
        Op::Pabsw => lanes::absolute_16(a, b),
        Op::Pabsd => lanes::absolute_32(a, b),
        Op::Psignb => lanes::sign_8(a, b),
        Op::Psignw => lanes::sign_16(a, b),
        Op::Psignd => lanes::sign_32(a, b),
        Op::Packsswb => lanes::narrow_16_signed(a, b),
        Op::Packuswb => lanes::narrow_16(a, b),
        Op::Packssdw => lanes::narrow_32_signed(a, b),
        Op::Packusdw => lanes::narrow_32(a, b),
        Op::Phaddw => lanes::add_pairs_16(a, b),
        Op::Phaddd => lanes::add_pairs_32(a, b),
        Op::Phaddsw => lanes::add_pairs_saturated_16(a, b),
        Op::Phsubw => lanes::subtract_pairs_16(a, b),
        Op::Phsubd => lanes::subtract_pairs_32(a, b),
        Op::Phsubsw => lanes::subtract_pairs_saturated_16(a, b),
        Op::Psllw => lanes::shift_left_16(a, b[0]),
        Op::Pslld => lanes::shift_left_32(a, b[0]),
        Op::Psllq => lanes::shift_left_64(a, b[0]),
        Op::Psrlw => lanes::shift_right_16(a, b[0]),
        Op::Psrld => lanes::shift_right_32(a, b[0]),
        Op::Psrlq => lanes::shift_right_64(a, b[0]),
        Op::Psraw => lanes::shift_right_signed_16(a, b[0]),
        Op::Psrad => lanes::shift_right_signed_32(a, b[0]),
        Op::PsllwBy => lanes::shift_left_16(a, count),
        Op::PslldBy => lanes::shift_left_32(a, count),
        Op::PsllqBy => lanes::shift_left_64(a, count),
        Op::PsrlwBy => lanes::shift_right_16(a, count),
        Op::PsrldBy => lanes::shift_right_32(a, count),
        Op::PsrlqBy => lanes::shift_right_64(a, count),
        Op::PsrawBy => lanes::shift_right_signed_16(a, count),
        Op::PsradBy => lanes::shift_right_signed_32(a, count),
        Op::Pslldq => places::window(a, [0; 2], 16 - imm.min(16)),
        Op::Psrldq => places::window([0; 2], a, imm),
        Op::Pshufb => places::pick(a, b),
        Op::Pshufd => places::dwords(b, b, imm),
        Op::Pshuflw => [places::words(b[0], imm), b[1]],
        Op::Pshufhw => [b[0], places::words(b[1], imm)],
        Op::Shufps => places::dwords(a, b, imm),
        Op::Shufpd => [a[usize::from(imm & 1)], b[usize::from(imm >> 1 & 1)]],
        Op::Palignr => places::window(a, b, imm),
        Op::Punpcklbw => places::interleave_low_8(a, b),
        Op::Punpcklwd => places::interleave_low_16(a, b),
        Op::Punpckldq => places::interleave_low_32(a, b),
        Op::Punpcklqdq => [a[0], b[0]],
        Op::Punpckhbw => places::interleave_high_8(a, b),
        Op::Punpckhwd => places::interleave_high_16(a, b),
        Op::Punpckhdq => places::interleave_high_32(a, b),
        Op::Punpckhqdq => [a[1], b[1]],
        Op::Blendps => places::blend_known(a, b, imm, 32),
        Op::Blendpd => places::blend_known(a, b, imm, 64),
        Op::Pblendw => places::blend_known(a, b, imm, 16),
        Op::Pblendvb => places::blend_8(c, a, b),
        Op::Blendvps => places::blend_32(c, a, b),
        Op::Blendvpd => places::blend_64(c, a, b),
        Op::Insertps => places::insert_single(a, b, imm),
        Op::Pmovsxbw => places::extend_signed_8_16(b),
        Op::Pmovsxbd => places::extend_signed_8_32(b),
        Op::Pmovsxbq => places::extend_signed_8_64(b),
        Op::Pmovsxwd => places::extend_signed_16_32(b),
        Op::Pmovsxwq => places::extend_signed_16_64(b),
        Op::Pmovsxdq => places::extend_signed_32_64(b),
        Op::Pmovzxbw => places::extend_8_16(b),
        Op::Pmovzxbd => places::extend_8_32(b),
        Op::Pmovzxbq => places::extend_8_64(b),
        Op::Pmovzxwd => places::extend_16_32(b),
        Op::Pmovzxwq => places::extend_16_64(b),
        Op::Pmovzxdq => places::extend_32_64(b),
        Op::Phminposuw => places::least_with_place(b),
        Op::Mpsadbw => places::block_differences(a, b, imm),
        Op::Pclmulqdq => {
            let (a, b) = (a[usize::from(imm & 1)], b[usize::from(imm >> 4 & 1)]);
            [binary(Binary::ClMul, W64, a, b), binary(Binary::ClMulHigh, W64, a, b)]
        }
        Op::Aesenc => with_key(aes::encrypt, a, b),
        Op::Aesenclast => with_key(aes::encrypt_last, a, b),
        Op::Aesdec => with_key(aes::decrypt, a, b),
        Op::Aesdeclast => with_key(aes::decrypt_last, a, b),
        Op::Aesimc => b.map(aes::inverse_mix),
        Op::Aeskeygenassist => b.map(|half| aes::assist_key(half, count)),
        Op::Sha1rnds4 => on_words(a, b, |a, b| sha::sha1_rounds(a, b, imm)),
        Op::Sha1nexte => on_words(a, b, sha::sha1_next_e),
        Op::Sha1msg1 => on_words(a, b, sha::sha1_message_1),
        Op::Sha1msg2 => on_words(a, b, sha::sha1_message_2),
        Op::Sha256rnds2 => {
            on_words(c, a, |c, a| sha::sha256_rounds(c, a, [b[0] as u32, (b[0] >> 32) as u32]))
        }
        Op::Sha256msg1 => on_words(a, b, sha::sha256_message_1),
        Op::Sha256msg2 => on_words(a, b, sha::sha256_message_2),
        Op::Box32 => boxed::boxed(b[0]),
        Op::FmoveS => boxed::boxed(boxed::unboxed(b[0]).into()),
        Op::FnegS => boxed::boxed(u64::from(boxed::unboxed(b[0])) ^ 1 << 31),
        Op::FabsS => boxed::boxed(u64::from(boxed::unboxed(b[0])) & !(1 << 31)),
        Op::FnegD => [b[0] ^ 1 << 63, 0],
        Op::FabsD => [b[0] & !(1 << 63), 0],
        op => panic!("{} is the guest's", op.name()),
    }
}

/// A round of AES, then the round key.
#[inline(always)]
fn with_key(round: impl Fn(u64, u64) -> u64, a: Vector, b: Vector) -> Vector {
    [round(a[0], a[1]) ^ b[0], round(a[1], a[0]) ^ b[1]]
}

/// A function of four words each.
#[inline(always)]
fn on_words(a: Vector, b: Vector, f: impl Fn([u32; 4], [u32; 4]) -> [u32; 4]) -> Vector {
    lanes::join_32(f(lanes::split_32(a), lanes::split_32(b)))
}

/// An operation that puts a number into a vector and is not one on floating-point numbers.
///
/// # Panics
/// If it is one on floating-point numbers.
#[inline(always)]
pub fn vector_insert(op: VectorInsert, imm: u8, to: Vector, value: u64) -> Vector {
    match op {
        VectorInsert::Movd => [value & 0xffff_ffff, 0],
        VectorInsert::Movq => [value, 0],
        VectorInsert::Pinsrb => places::insert(to, value, imm, 8),
        VectorInsert::Pinsrw => places::insert(to, value, imm, 16),
        VectorInsert::Pinsrd => places::insert(to, value, imm, 32),
        VectorInsert::Pinsrq => places::insert(to, value, imm, 64),
        op => panic!("{} is the guest's", op.name()),
    }
}

/// An operation whose result is a number and that is not one on floating-point numbers.
///
/// # Panics
/// If it is one on floating-point numbers.
#[inline(always)]
pub fn vector_extract(op: VectorExtract, a: Vector, b: Vector) -> u64 {
    match op {
        VectorExtract::Pmovmskb => places::signs_8(b),
        VectorExtract::Movmskps => places::signs_32(b),
        VectorExtract::Movmskpd => places::signs_64(b),
        VectorExtract::Ptest => {
            let zero = (a[0] & b[0]) | (a[1] & b[1]) == 0;
            let carry = (!a[0] & b[0]) | (!a[1] & b[1]) == 0;
            (u64::from(zero) * ZERO) | (u64::from(carry) * CARRY)
        }
        op => panic!("{} is the guest's", op.name()),
    }
}

//! Helpers of instructions on MMX and vector registers.
//!
//! Most are functions of 64 bits: an MMX instruction says one once, an instruction on a vector for each of its halves.

mod aes;
mod bytes;
mod lanes;
mod masked_move;
mod sha;
pub mod strings;

use super::{REGISTERS, helpers};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::{HelperEffects, Trap};

const PURE: HelperEffects = HelperEffects::PURE;

/// Calls a macro with the operations that are functions `(first operand, second operand)` of 64 bits each: those of
/// lanes in the same place, and those whose result has the lanes of the first operand below those of the second.
macro_rules! pure_ops {
    ($then:ident) => {
        $then! {
            lanes {
                Paddsb "paddsb" lanes::add_signed_saturated_8;
                Paddsw "paddsw" lanes::add_signed_saturated_16;
                Paddusb "paddusb" lanes::add_saturated_8;
                Paddusw "paddusw" lanes::add_saturated_16;
                Psubsb "psubsb" lanes::subtract_signed_saturated_8;
                Psubsw "psubsw" lanes::subtract_signed_saturated_16;
                Psubusb "psubusb" lanes::subtract_saturated_8;
                Psubusw "psubusw" lanes::subtract_saturated_16;
                Pmullw "pmullw" lanes::multiply_16;
                Pmulhw "pmulhw" lanes::multiply_high_signed_16;
                Pmulhuw "pmulhuw" lanes::multiply_high_16;
                Pmulhrsw "pmulhrsw" lanes::multiply_rounded_16;
                Pmaddwd "pmaddwd" lanes::multiply_add_16;
                Pmaddubsw "pmaddubsw" lanes::multiply_add_8;
                Pmuludq "pmuludq" lanes::multiply_wide_32;
                Pmuldq "pmuldq" lanes::multiply_wide_signed_32;
                Pmulld "pmulld" lanes::multiply_32;
                Pcmpgtb "pcmpgtb" lanes::greater_8;
                Pcmpgtw "pcmpgtw" lanes::greater_16;
                Pcmpgtd "pcmpgtd" lanes::greater_32;
                Pcmpgtq "pcmpgtq" lanes::greater_64;
                Pminsb "pminsb" lanes::least_signed_8;
                Pminsw "pminsw" lanes::least_signed_16;
                Pminsd "pminsd" lanes::least_signed_32;
                Pminub "pminub" lanes::least_8;
                Pminuw "pminuw" lanes::least_16;
                Pminud "pminud" lanes::least_32;
                Pmaxsb "pmaxsb" lanes::greatest_signed_8;
                Pmaxsw "pmaxsw" lanes::greatest_signed_16;
                Pmaxsd "pmaxsd" lanes::greatest_signed_32;
                Pmaxub "pmaxub" lanes::greatest_8;
                Pmaxuw "pmaxuw" lanes::greatest_16;
                Pmaxud "pmaxud" lanes::greatest_32;
                Pavgb "pavgb" lanes::average_8;
                Pavgw "pavgw" lanes::average_16;
                Psadbw "psadbw" lanes::sum_of_differences;
                Pabsb "pabsb" lanes::absolute_8;
                Pabsw "pabsw" lanes::absolute_16;
                Pabsd "pabsd" lanes::absolute_32;
                Psignb "psignb" lanes::sign_8;
                Psignw "psignw" lanes::sign_16;
                Psignd "psignd" lanes::sign_32;
            }
            gathers {
                Packsswb "packsswb" lanes::narrow_16_signed;
                Packuswb "packuswb" lanes::narrow_16;
                Packssdw "packssdw" lanes::narrow_32_signed;
                Packusdw "packusdw" lanes::narrow_32;
                Phaddw "phaddw" lanes::add_pairs_16;
                Phaddd "phaddd" lanes::add_pairs_32;
                Phaddsw "phaddsw" lanes::add_pairs_saturated_16;
                Phsubw "phsubw" lanes::subtract_pairs_16;
                Phsubd "phsubd" lanes::subtract_pairs_32;
                Phsubsw "phsubsw" lanes::subtract_pairs_saturated_16;
            }
        }
    };
}
pub(in crate::x86_64) use pure_ops;

macro_rules! declare {
    (lanes { $($lane:ident $lane_text:literal $lane_function:path;)* }
     gathers { $($gather:ident $gather_text:literal $gather_function:path;)* }) => {
        helpers! { super::FIRST_VECTOR;
            /// (address, data slot | mask slot << 8, 8 or 16 bytes): stores the bytes whose mask byte is negative.
            MaskedMove = "masked_move", HelperEffects::ALL, masked_move::masked_move;
            /// (value, count): PSLLW of 64 bits.
            Psllw = "psllw", PURE, pure(lanes::shift_left_16);
            /// (value, count): PSLLD of 64 bits.
            Pslld = "pslld", PURE, pure(lanes::shift_left_32);
            /// (value, count): PSLLQ of 64 bits.
            Psllq = "psllq", PURE, pure(lanes::shift_left_64);
            /// (value, count): PSRLW of 64 bits.
            Psrlw = "psrlw", PURE, pure(lanes::shift_right_16);
            /// (value, count): PSRLD of 64 bits.
            Psrld = "psrld", PURE, pure(lanes::shift_right_32);
            /// (value, count): PSRLQ of 64 bits.
            Psrlq = "psrlq", PURE, pure(lanes::shift_right_64);
            /// (value, count): PSRAW of 64 bits.
            Psraw = "psraw", PURE, pure(lanes::shift_right_signed_16);
            /// (value, count): PSRAD of 64 bits.
            Psrad = "psrad", PURE, pure(lanes::shift_right_signed_32);
            /// (a, b): the bytes of the low halves by turns.
            Interleave8 = "interleave_8", PURE, pure(bytes::interleave_8);
            /// (a, b): the 16-bit lanes of the low halves by turns.
            Interleave16 = "interleave_16", PURE, pure(bytes::interleave_16);
            /// (value): the four low bytes, sign-extended to 16 bits each.
            SignExtend8 = "sign_extend_8", PURE, pure(|value, _| bytes::sign_extend_8(value));
            /// (low, high, places): the bytes of a vector at eight places (PSHUFB).
            Pick = "pick_bytes", PURE, |_: &mut Cpu<X86_64>, [low, high, places, _]: [u64; 4]| {
                Ok(bytes::pick(low, high, places))
            };
            /// (low, high, block, first): the sums of absolute differences between the four bytes of `block` and those
            /// from bytes `first` to `first` + 3 of a vector on (MPSADBW).
            Mpsadbw = "mpsadbw", PURE, |_: &mut Cpu<X86_64>, [low, high, block, first]: [u64; 4]| {
                Ok(bytes::block_differences(low, high, block, first))
            };
            /// (low, high): the least of eight 16-bit lanes, and its place above it.
            Phminposuw = "phminposuw", PURE, pure(bytes::least_with_place);
            /// (low, high): the low half of AESENC before the round key; the halves exchanged give the high one.
            Aesenc = "aesenc", PURE, pure(aes::encrypt);
            /// (low, high): AESENCLAST likewise.
            Aesenclast = "aesenclast", PURE, pure(aes::encrypt_last);
            /// (low, high): AESDEC likewise.
            Aesdec = "aesdec", PURE, pure(aes::decrypt);
            /// (low, high): AESDECLAST likewise.
            Aesdeclast = "aesdeclast", PURE, pure(aes::decrypt_last);
            /// (half): AESIMC of a half.
            Aesimc = "aesimc", PURE, pure(|half, _| aes::inverse_mix(half));
            /// (half, round constant): AESKEYGENASSIST of a half.
            Aeskeygenassist = "aeskeygenassist", PURE, pure(aes::assist_key);
            /// (destination | immediate << 8, source low, source high): SHA1RNDS4.
            Sha1rnds4 = "sha1rnds4", REGISTERS, on_words(sha::sha1_rounds);
            /// The same for SHA1NEXTE.
            Sha1nexte = "sha1nexte", REGISTERS, on_words(sha::sha1_next_e);
            /// The same for SHA1MSG1.
            Sha1msg1 = "sha1msg1", REGISTERS, on_words(sha::sha1_message_1);
            /// The same for SHA1MSG2.
            Sha1msg2 = "sha1msg2", REGISTERS, on_words(sha::sha1_message_2);
            /// The same for SHA256MSG1.
            Sha256msg1 = "sha256msg1", REGISTERS, on_words(sha::sha256_message_1);
            /// The same for SHA256MSG2.
            Sha256msg2 = "sha256msg2", REGISTERS, on_words(sha::sha256_message_2);
            /// The same for SHA256RNDS2.
            Sha256rnds2 = "sha256rnds2", REGISTERS, sha256_rounds;
            /// (first operand | immediate << 8 | flags of [`strings`], second operand low, high): compares strings, writes
            /// the index or mask; gives the arithmetic flags.
            CompareStrings = "compare_strings", REGISTERS, strings::compare_strings;
            $(
                #[doc = concat!("(a, b): ", $lane_text, " of 64 bits.")]
                $lane = $lane_text, PURE, pure($lane_function);
            )*
            $(
                #[doc = concat!("(a, b): ", $gather_text, " to 64 bits.")]
                $gather = $gather_text, PURE, pure($gather_function);
            )*
        }
    };
}
pure_ops!(declare);

/// The helper that is a function of two arguments.
#[inline(always)]
fn pure(f: impl Fn(u64, u64) -> u64) -> impl Fn(&mut Cpu<X86_64>, [u64; 4]) -> Result<u64, Trap> {
    move |_, [a, b, ..]| Ok(f(a, b))
}

/// The helper that computes a destination of four words from it, a source and an immediate.
#[inline(always)]
fn on_words(
    f: impl Fn([u32; 4], [u32; 4], u8) -> [u32; 4],
) -> impl Fn(&mut Cpu<X86_64>, [u64; 4]) -> Result<u64, Trap> {
    move |cpu, [to, low, high, _]| {
        let slot = usize::from(to as u8);
        let a = sha::words(cpu.slots[slot], cpu.slots[slot + 1]);
        let (low, high) = sha::halves(f(a, sha::words(low, high), (to >> 8) as u8));
        cpu.slots[slot] = low;
        cpu.slots[slot + 1] = high;
        Ok(0)
    }
}

/// SHA256RNDS2 takes words of the message from XMM0.
fn sha256_rounds(cpu: &mut Cpu<X86_64>, args: [u64; 4]) -> Result<u64, Trap> {
    let message = cpu.slots[usize::from(regs::vector(0).0)];
    let message = [message as u32, (message >> 32) as u32];
    on_words(|a, b, _| sha::sha256_rounds(a, b, message))(cpu, args)
}

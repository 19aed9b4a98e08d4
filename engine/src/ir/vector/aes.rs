//! The steps of AES on a state of four columns (FIPS 197, SDM 1 12.13), by tables that are computed when this is compiled.
//!
//! A state is two halves of two columns each. Output columns are made from the columns that follow them in a circle, so
//! that exchanging the halves of the input gives the other half of the output.

/// Product in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1.
const fn product(a: u8, b: u8) -> u8 {
    let (mut a, mut b, mut result) = (a, b, 0);
    while b != 0 {
        if b & 1 != 0 {
            result ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 };
        b >>= 1;
    }
    result
}

/// The substitution: the inverse, then an affine map (FIPS 197 5.1.1).
const SBOX: [u8; 256] = {
    let mut table = [0; 256];
    // All powers of a generator and of its inverse.
    let (mut power, mut inverse) = (1u8, 1u8);
    loop {
        table[power as usize] = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4)
            ^ 0x63;
        power = product(power, 3);
        inverse = product(inverse, 0xf6);
        if power == 1 {
            break;
        }
    }
    table[0] = 0x63;
    table
};

/// The inverse of the substitution.
const INVERSE_SBOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[SBOX[i] as usize] = i as u8;
        i += 1;
    }
    table
};

/// For every byte: what its substitute in row 0 adds to the mixed column, whose first column of the matrix is given.
const fn mixing(sbox: &[u8; 256], matrix: [u8; 4]) -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let substitute = sbox[i];
        table[i] = u32::from_le_bytes([
            product(substitute, matrix[0]),
            product(substitute, matrix[1]),
            product(substitute, matrix[2]),
            product(substitute, matrix[3]),
        ]);
        i += 1;
    }
    table
}

const MATRIX: [u8; 4] = [2, 1, 1, 3];
const INVERSE_MATRIX: [u8; 4] = [14, 9, 13, 11];

static ENCRYPT: [u32; 256] = mixing(&SBOX, MATRIX);
static DECRYPT: [u32; 256] = mixing(&INVERSE_SBOX, INVERSE_MATRIX);
static SUBSTITUTE: [u8; 256] = SBOX;
static INVERSE_SUBSTITUTE: [u8; 256] = INVERSE_SBOX;

/// The columns of a state.
fn columns(low: u64, high: u64) -> [u32; 4] {
    [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32]
}

/// Columns 0 and 1 of what `column` makes of the bytes that the shifted rows bring into each column. Row `r` comes from
/// `step * r` columns further on.
#[inline(always)]
fn two_columns(low: u64, high: u64, step: usize, column: impl Fn([usize; 4]) -> u32) -> u64 {
    let from = columns(low, high);
    let made = |first: usize| {
        column(core::array::from_fn(|row| (from[(first + step * row) % 4] >> (8 * row)) as usize & 0xff))
    };
    u64::from(made(0)) | u64::from(made(1)) << 32
}

/// A column mixed from its substituted bytes.
#[inline(always)]
fn mixed(table: &[u32; 256], [a, b, c, d]: [usize; 4]) -> u32 {
    table[a] ^ table[b].rotate_left(8) ^ table[c].rotate_left(16) ^ table[d].rotate_left(24)
}

/// A column of substituted bytes.
#[inline(always)]
fn substituted(table: &[u8; 256], bytes: [usize; 4]) -> u32 {
    u32::from_le_bytes(bytes.map(|byte| table[byte]))
}

/// AESENC without the round key: the low half, from the low and the high half.
pub fn encrypt(low: u64, high: u64) -> u64 {
    two_columns(low, high, 1, |bytes| mixed(&ENCRYPT, bytes))
}

/// AESENCLAST likewise.
pub fn encrypt_last(low: u64, high: u64) -> u64 {
    two_columns(low, high, 1, |bytes| substituted(&SUBSTITUTE, bytes))
}

/// AESDEC likewise.
pub fn decrypt(low: u64, high: u64) -> u64 {
    two_columns(low, high, 3, |bytes| mixed(&DECRYPT, bytes))
}

/// AESDECLAST likewise.
pub fn decrypt_last(low: u64, high: u64) -> u64 {
    two_columns(low, high, 3, |bytes| substituted(&INVERSE_SUBSTITUTE, bytes))
}

/// AESIMC of a half.
pub fn inverse_mix(half: u64) -> u64 {
    // The table substitutes first, which substituting before undoes.
    two_columns(half, half, 0, |bytes| mixed(&DECRYPT, bytes.map(|byte| SUBSTITUTE[byte].into())))
}

/// AESKEYGENASSIST of a half.
pub fn assist_key(half: u64, round_constant: u64) -> u64 {
    let word =
        u32::from_le_bytes(((half >> 32) as u32).to_le_bytes().map(|byte| SUBSTITUTE[usize::from(byte)]));
    u64::from(word) | u64::from(word.rotate_right(8) ^ round_constant as u32) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 appendix B: the first round, and the last one.
    #[test]
    fn rounds_of_the_standard() {
        let state = |text: u128| (text.swap_bytes() as u64, (text.swap_bytes() >> 64) as u64);
        let (low, high) = state(0x193de3be_a0f4e22b_9ac68d2a_e9f84808);
        let mixed = state(0x046681e5_e0cb199a_48f8d37a_2806264c);
        assert_eq!((encrypt(low, high), encrypt(high, low)), mixed);
        let (low, high) = state(0xeb598b1b_402ea1c3_f2381342_1e84e7d2);
        let shifted = state(0xe9317db5_090794af_895f3d2e_72cb322c);
        assert_eq!((encrypt_last(low, high), encrypt_last(high, low)), shifted);
        assert_eq!((decrypt_last(shifted.0, shifted.1), decrypt_last(shifted.1, shifted.0)), (low, high));
    }

    #[test]
    fn decryption_undoes_encryption() {
        let (low, high) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        let (mixed_low, mixed_high) = (encrypt(low, high), encrypt(high, low));
        let (low_half, high_half) = (inverse_mix(mixed_low), inverse_mix(mixed_high));
        assert_eq!((decrypt_last(low_half, high_half), decrypt_last(high_half, low_half)), (low, high));
        let (last_low, last_high) = (encrypt_last(low, high), encrypt_last(high, low));
        assert_eq!(decrypt(last_low, last_high), inverse_mix(low));
    }
}

//! Functions that move lanes of 64 bits to other places.

/// The bytes of the low halves of `a` and `b` by turns.
#[inline(always)]
pub fn interleave_8(a: u64, b: u64) -> u64 {
    spread_8(a) | spread_8(b) << 8
}

/// The 16-bit lanes of the low halves of `a` and `b` by turns.
#[inline(always)]
pub fn interleave_16(a: u64, b: u64) -> u64 {
    spread_16(a) | spread_16(b) << 16
}

/// The four low bytes, zero-extended to 16 bits each.
#[inline(always)]
fn spread_8(value: u64) -> u64 {
    let pairs = spread_16(value);
    (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff
}

/// The two low 16-bit lanes, zero-extended to 32 bits each.
#[inline(always)]
fn spread_16(value: u64) -> u64 {
    (value & 0xffff) | (value & 0xffff_0000) << 16
}

/// The four low bytes, sign-extended to 16 bits each.
#[inline(always)]
pub fn sign_extend_8(value: u64) -> u64 {
    let low = spread_8(value);
    let negative = low >> 7 & 0x0001_0001_0001_0001;
    low | negative * 0xff00
}

/// For each of eight places the byte there in `high:low`, counted modulo 16; 0 for negative places.
#[inline(always)]
pub fn pick(low: u64, high: u64, places: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&low.to_le_bytes());
    bytes[8..].copy_from_slice(&high.to_le_bytes());
    let picked = places.to_le_bytes().map(|place| match place {
        0..0x80 => bytes[usize::from(place & 15)],
        _ => 0,
    });
    u64::from_le_bytes(picked)
}

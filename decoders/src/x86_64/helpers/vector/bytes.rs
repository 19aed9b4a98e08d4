//! Functions of the bytes and 16-bit lanes of 64 bits or of a vector, across lanes.

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
    low | (negative * 0xff00)
}

/// For each of eight places the byte there in `high:low`, counted modulo 16; 0 for negative places.
#[inline(always)]
pub fn pick(low: u64, high: u64, places: u64) -> u64 {
    let bytes = join(low, high);
    let picked = places.to_le_bytes().map(|place| match place {
        0..0x80 => bytes[usize::from(place & 15)],
        _ => 0,
    });
    u64::from_le_bytes(picked)
}

/// The bytes of a vector.
#[inline(always)]
fn join(low: u64, high: u64) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

/// Four sums of absolute differences: between the four bytes of `block` and those of `high:low` from bytes `first`, its
/// successor and so on.
pub fn block_differences(low: u64, high: u64, block: u64, first: u64) -> u64 {
    let (bytes, block) = (join(low, high), (block as u32).to_le_bytes());
    (0..4).fold(0, |all, n| {
        let window = bytes.iter().skip(first as usize + n).zip(block);
        let sum: u64 = window.map(|(byte, other)| u64::from(byte.abs_diff(other))).sum();
        all | sum << (16 * n)
    })
}

/// The least of the eight 16-bit lanes of a vector in bits 0 to 15, the first place where it is in bits 16 to 18.
pub fn least_with_place(low: u64, high: u64) -> u64 {
    let lanes = u128::from(high) << 64 | u128::from(low);
    // Of equal lanes the one with the lower place is less.
    (0..8)
        .map(|n| u64::from((lanes >> (16 * n)) as u16) << 3 | n)
        .min()
        .map_or(0, |least| least >> 3 | (least & 7) << 16)
}

//! The steps of SHA-1 and SHA-256 (FIPS 180-4, SDM 2B and 2C under SHA1* and SHA256*).
//!
//! Operands are four words each, the first in the low bits: `a` is the first operand and destination, `b` the second.

/// Four words.
type Words = [u32; 4];

/// Constants of SHA-1 (FIPS 180-4 4.2.1).
const SHA1: Words = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];

fn choose(x: u32, y: u32, z: u32) -> u32 {
    x & y ^ !x & z
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    x & y ^ x & z ^ y & z
}

/// SHA1RNDS4: four rounds of those that the immediate names.
pub fn sha1_rounds([mut d, mut c, mut b, mut a]: Words, message: Words, which: u8) -> Words {
    // The first word of the message has E added already.
    let mut e = 0u32;
    for word in message.into_iter().rev() {
        let f = match which & 3 {
            0 => choose(b, c, d),
            2 => majority(b, c, d),
            _ => b ^ c ^ d,
        };
        let constant = SHA1[usize::from(which & 3)];
        let sum = f.wrapping_add(a.rotate_left(5)).wrapping_add(word).wrapping_add(e).wrapping_add(constant);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, sum);
    }
    [d, c, b, a]
}

/// SHA1NEXTE.
pub fn sha1_next_e(a: Words, [b0, b1, b2, b3]: Words) -> Words {
    [b0, b1, b2, b3.wrapping_add(a[3].rotate_left(30))]
}

/// SHA1MSG1.
pub fn sha1_message_1([w3, w2, w1, w0]: Words, [_, _, w5, w4]: Words) -> Words {
    [w5 ^ w3, w4 ^ w2, w3 ^ w1, w2 ^ w0]
}

/// SHA1MSG2.
pub fn sha1_message_2([a3, a2, a1, a0]: Words, [w15, w14, w13, _]: Words) -> Words {
    let w16 = (a0 ^ w13).rotate_left(1);
    [(a3 ^ w16).rotate_left(1), (a2 ^ w15).rotate_left(1), (a1 ^ w14).rotate_left(1), w16]
}

/// SHA256RNDS2: two rounds; `message` has the constants added already.
pub fn sha256_rounds([h, g, d, c]: Words, [f, e, b, a]: Words, message: [u32; 2]) -> Words {
    let mut state = [a, b, c, d, e, f, g, h];
    for word in message {
        let [a, b, c, d, e, f, g, h] = state;
        let sum_e = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sum_a = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let first = h.wrapping_add(sum_e).wrapping_add(choose(e, f, g)).wrapping_add(word);
        let second = sum_a.wrapping_add(majority(a, b, c));
        state = [first.wrapping_add(second), a, b, c, d.wrapping_add(first), e, f, g];
    }
    [state[5], state[4], state[1], state[0]]
}

/// SHA256MSG1.
pub fn sha256_message_1([w0, w1, w2, w3]: Words, [w4, ..]: Words) -> Words {
    let mix = |word: u32| word.rotate_right(7) ^ word.rotate_right(18) ^ word >> 3;
    [w0.wrapping_add(mix(w1)), w1.wrapping_add(mix(w2)), w2.wrapping_add(mix(w3)), w3.wrapping_add(mix(w4))]
}

/// SHA256MSG2.
pub fn sha256_message_2([a0, a1, a2, a3]: Words, [_, _, w14, w15]: Words) -> Words {
    let mix = |word: u32| word.rotate_right(17) ^ word.rotate_right(19) ^ word >> 10;
    let (w16, w17) = (a0.wrapping_add(mix(w14)), a1.wrapping_add(mix(w15)));
    [w16, w17, a2.wrapping_add(mix(w16)), a3.wrapping_add(mix(w17))]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The block of the message "abc" (FIPS 180-4's example).
    const ABC: [u32; 16] = [0x6162_6380, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24];

    fn reversed(words: &[u32]) -> Words {
        [words[3], words[2], words[1], words[0]]
    }

    #[test]
    fn sha1_of_abc() {
        let mut message: Vec<u32> = ABC.to_vec();
        for from in (0..64).step_by(4) {
            let at = |n: usize| reversed(&message[from + n..]);
            let mut next = sha1_message_1(at(0), at(4));
            for (word, other) in next.iter_mut().zip(at(8)) {
                *word ^= other;
            }
            let next = sha1_message_2(next, at(12));
            message.extend(next.iter().rev());
        }
        let start = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0u32];
        let mut state = reversed(&start);
        // E as SHA1NEXTE rotates it: the top word of an earlier state.
        let mut before = [0, 0, 0, start[4].rotate_right(30)];
        for group in 0..20 {
            let added = sha1_next_e(before, reversed(&message[4 * group..]));
            before = state;
            state = sha1_rounds(state, added, (group / 5) as u8);
        }
        let end = sha1_next_e(before, [0; 4])[3];
        let digest: Vec<u32> = state
            .iter()
            .rev()
            .chain([&end])
            .zip(start)
            .map(|(word, start)| word.wrapping_add(start))
            .collect();
        assert_eq!(digest, [0xa999_3e36, 0x4706_816a, 0xba3e_2571, 0x7850_c26c, 0x9cd0_d89d]);
    }

    #[test]
    fn sha256_of_abc() {
        // The cube roots of the first primes.
        let root = |prime: u32| {
            let (mut low, mut high) = (0u128, 1u128 << 40);
            while high - low > 1 {
                let middle = (low + high) / 2;
                if middle * middle * middle <= u128::from(prime) << 96 { low = middle } else { high = middle }
            }
            low as u32
        };
        let is_prime = |n: &u32| (2..*n).all(|d| !n.is_multiple_of(d));
        let constants: Vec<u32> = (2..).filter(is_prime).take(64).map(root).collect();
        let mut message: Vec<u32> = ABC.to_vec();
        for from in (0..48).step_by(4) {
            let at = |n: usize| -> Words { std::array::from_fn(|i| message[from + n + i]) };
            let mut next = sha256_message_1(at(0), at(4));
            for (word, other) in next.iter_mut().zip(at(9)) {
                *word = word.wrapping_add(other);
            }
            let next = sha256_message_2(next, at(12));
            message.extend(next);
        }
        let start = [
            0x6a09_e667,
            0xbb67_ae85,
            0x3c6e_f372,
            0xa54f_f53a,
            0x510e_527f,
            0x9b05_688c,
            0x1f83_d9ab,
            0x5be0_cd19u32,
        ];
        let [a, b, c, d, e, f, g, h] = start;
        let (mut abef, mut cdgh) = ([f, e, b, a], [h, g, d, c]);
        for round in (0..64).step_by(2) {
            let pair = [0, 1].map(|i| message[round + i].wrapping_add(constants[round + i]));
            (abef, cdgh) = (sha256_rounds(cdgh, abef, pair), abef);
        }
        let ([f, e, b, a], [h, g, d, c]) = (abef, cdgh);
        let digest: Vec<u32> = [a, b, c, d, e, f, g, h]
            .iter()
            .zip(start)
            .map(|(word, start)| word.wrapping_add(start))
            .collect();
        let want = [
            0xba78_16bf,
            0x8f01_cfea,
            0x4141_40de,
            0x5dae_2223,
            0xb003_61a3,
            0x9617_7a9c,
            0xb410_ff61,
            0xf200_15ad,
        ];
        assert_eq!(digest, want);
    }
}

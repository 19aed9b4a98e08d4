//! The 512-byte header block of a tar archive: its fields, nothing about what they mean together.

/// Bytes of a block; headers are one, data is padded to whole ones.
pub(super) const BLOCK_BYTES: usize = 512;

/// One header block, with a good checksum.
#[derive(Clone)]
pub(super) struct HeaderBlock(Box<[u8; BLOCK_BYTES]>);

/// Which dialect a header is in: they use the space behind byte 257 differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Before POSIX: nothing but the first 257 bytes.
    V7,
    /// POSIX.1: a name prefix, device numbers.
    Ustar,
    /// GNU before it took up pax: device numbers, sparse maps, no name prefix.
    Gnu,
    /// `star` before POSIX: ustar with a shorter prefix.
    Star,
}

/// What a block at a header's place is.
pub(super) enum Parsed {
    /// Only zeros: the end of the archive.
    Zeros,
    /// A header.
    Header(HeaderBlock),
    /// Anything else.
    Garbage,
}

impl HeaderBlock {
    pub(super) fn parse(block: [u8; BLOCK_BYTES]) -> Parsed {
        if block.iter().all(|&byte| byte == 0) {
            return Parsed::Zeros;
        }
        let header = HeaderBlock(Box::new(block));
        // The sum of all bytes with the checksum's own taken as spaces; some old systems summed
        // signed bytes.
        let summed = || block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]);
        let unsigned: i64 = summed().map(|&byte| i64::from(byte)).sum();
        let signed: i64 = summed().map(|&byte| i64::from(byte as i8)).sum();
        match header.number(148, 8) {
            Some(stored) if stored == unsigned || stored == signed => Parsed::Header(header),
            _ => Parsed::Garbage,
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        match &self.0[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            magic if magic.starts_with(b"ustar") && &self.0[508..512] == b"tar\0" => Dialect::Star,
            magic if magic.starts_with(b"ustar") => Dialect::Ustar,
            _ => Dialect::V7,
        }
    }

    pub(super) fn type_flag(&self) -> u8 {
        self.0[156]
    }

    /// The name with its prefix.
    pub(super) fn name(&self) -> Vec<u8> {
        let prefix = match self.dialect() {
            Dialect::Ustar => self.text(345, 155),
            Dialect::Star => self.text(345, 131),
            Dialect::V7 | Dialect::Gnu => b"",
        };
        let name = self.text(0, 100);
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(super) fn link_name(&self) -> Vec<u8> {
        self.text(157, 100).to_vec()
    }

    pub(super) fn mode(&self) -> Option<i64> {
        self.number(100, 8)
    }

    pub(super) fn uid(&self) -> Option<i64> {
        self.number(108, 8)
    }

    pub(super) fn gid(&self) -> Option<i64> {
        self.number(116, 8)
    }

    pub(super) fn size(&self) -> Option<i64> {
        self.number(124, 12)
    }

    pub(super) fn mtime(&self) -> Option<i64> {
        self.number(136, 12)
    }

    /// Major and minor device number.
    pub(super) fn device(&self) -> Option<(i64, i64)> {
        match self.dialect() {
            Dialect::V7 => Some((0, 0)),
            _ => Some((self.number(329, 8)?, self.number(337, 8)?)),
        }
    }

    /// GNU sparse header: the file's real size.
    pub(super) fn sparse_real_size(&self) -> Option<i64> {
        self.number(483, 12)
    }

    /// GNU sparse header: its (offset, length) pairs, and whether a block with more follows.
    pub(super) fn sparse_map(&self) -> Option<(Vec<(i64, i64)>, bool)> {
        Some((sparse_pairs(&self.0[386..482])?, self.0[482] != 0))
    }

    fn text(&self, at: usize, len: usize) -> &[u8] {
        until_nul(&self.0[at..at + len])
    }

    fn number(&self, at: usize, len: usize) -> Option<i64> {
        parse_number(&self.0[at..at + len])
    }
}

/// A block that continues a GNU sparse header: pairs, and whether another follows.
pub(super) fn sparse_continuation(block: &[u8; BLOCK_BYTES]) -> Option<(Vec<(i64, i64)>, bool)> {
    Some((sparse_pairs(&block[..504])?, block[504] != 0))
}

fn sparse_pairs(bytes: &[u8]) -> Option<Vec<(i64, i64)>> {
    let used = bytes.chunks_exact(24).take_while(|pair| pair[0] != 0);
    used.map(|pair| Some((parse_number(&pair[..12])?, parse_number(&pair[12..])?))).collect()
}

/// What stands before the first NUL.
pub(super) fn until_nul(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..len]
}

/// A numeric field: octal digits between spaces and NULs, or, with the first bit set, a big-endian
/// two's complement number in the remaining bits (GNU and star). An empty field is 0.
fn parse_number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        // Sign-extend from bit 6 of the first byte.
        let first = i128::from((field[0] << 1) as i8 >> 1);
        let value = field[1..]
            .iter()
            .try_fold(first, |value, &byte| value.checked_mul(256).map(|value| value | i128::from(byte)))?;
        return i64::try_from(value).ok();
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_every_notation() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o77777777)),
            (b"8\0\0\0\0\0\0\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\x02\0\0\0\0\0\0\0", Some(2 << 56)),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(parse_number(field), expected, "{:?}", field.escape_ascii().to_string());
        }
    }
}

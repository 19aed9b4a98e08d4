//! Pax extended headers (POSIX.1-2008, pax, "pax Extended Header"): records `LENGTH KEY=VALUE\n`.

use super::acl;
use crate::rootfs::tree::Time;

/// What the records of one header, or of all global ones so far, say.
#[derive(Clone, Debug, Default)]
pub(super) struct PaxRecords {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Time>,
    /// Extended attributes by full name.
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// `SCHILY.acl.access` and `SCHILY.acl.default`: ACLs as text.
    pub(super) acls: Vec<(&'static [u8], Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

/// The `GNU.sparse.*` records, versions 0.0, 0.1 and 1.0.
#[derive(Clone, Debug, Default)]
pub(super) struct PaxSparse {
    pub(super) major: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    /// Offsets and lengths, alternating, in the order given.
    pub(super) map: Vec<u64>,
    /// A map was given, perhaps an empty one.
    pub(super) has_map: bool,
}

/// Why records cannot be read.
pub(super) struct BadPax(pub(super) &'static str);

/// Regions a map may have; a longer one is refused.
pub(super) const MAX_REGIONS: usize = 1 << 20;

impl PaxRecords {
    /// Reads the data of one extended header over what is already known.
    pub(super) fn read(&mut self, mut data: &[u8]) -> Result<(), BadPax> {
        // Some writers pad with NULs.
        while !data.is_empty() && data[0] != 0 {
            let (key, value, rest) = split_record(data).ok_or(BadPax("a pax header is malformed"))?;
            self.record(key, value)?;
            data = rest;
        }
        Ok(())
    }

    /// Keeps what a global header may set for every later entry.
    pub(super) fn keep_global(&mut self) {
        *self = PaxRecords { uid: self.uid, gid: self.gid, mtime: self.mtime, ..PaxRecords::default() };
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), BadPax> {
        let number = || parse_decimal(value).ok_or(BadPax("a number in a pax header is malformed"));
        // An empty value takes back what an earlier header said.
        let text = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text,
            b"linkpath" => self.link_path = text,
            b"size" => self.size = if value.is_empty() { None } else { Some(number()?) },
            b"uid" => self.uid = if value.is_empty() { None } else { Some(number()?) },
            b"gid" => self.gid = if value.is_empty() { None } else { Some(number()?) },
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => {
                let time = parse_time(value);
                self.mtime = Some(time.ok_or(BadPax("a time in a pax header is malformed"))?);
            }
            b"SCHILY.acl.access" => self.acls.push((acl::ACCESS, value.to_vec())),
            b"SCHILY.acl.default" => self.acls.push((acl::DEFAULT, value.to_vec())),
            b"RHT.security.selinux" => self.xattrs.push((b"security.selinux".to_vec(), value.to_vec())),
            b"GNU.sparse.major" => self.sparse.major = Some(number()?),
            b"GNU.sparse.name" => self.sparse.name = text,
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = Some(number()?),
            b"GNU.sparse.numblocks" => self.sparse.has_map = true,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.push_map(number()?)?,
            b"GNU.sparse.map" => {
                self.sparse.has_map = true;
                for part in value.split(|&byte| byte == b',').filter(|part| !part.is_empty()) {
                    self.push_map(parse_decimal(part).ok_or(BadPax("a sparse map is malformed"))?)?;
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Ok(())
    }

    fn push_map(&mut self, value: u64) -> Result<(), BadPax> {
        if self.sparse.map.len() >= 2 * MAX_REGIONS {
            return Err(BadPax("a sparse map is too long"));
        }
        self.sparse.map.push(value);
        Ok(())
    }
}

/// Key, value and what follows the record.
fn split_record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|&byte| byte == b' ')?;
    let len = usize::try_from(parse_decimal(&data[..space])?).ok()?;
    let (record, rest) = data.split_at_checked(len)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some((&body[..equals], &body[equals + 1..], rest))
}

pub(super) fn parse_decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, &byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Seconds since 1970 with any number of decimals, perhaps negative: `-1.5`.
fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let secs = i64::try_from(parse_decimal(&digits[..dot])?).ok()?;
    let fraction = digits.get(dot + 1..).unwrap_or(b"");
    let mut nanos = 0;
    for place in 0..fraction.len().max(9) {
        let digit = *fraction.get(place).unwrap_or(&b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        if place < 9 {
            nanos = nanos * 10 + u32::from(digit - b'0');
        }
    }
    Some(match (negative, nanos) {
        (false, nanos) => Time { secs, nanos },
        (true, 0) => Time { secs: -secs, nanos: 0 },
        (true, nanos) => Time { secs: -secs - 1, nanos: 1_000_000_000 - nanos },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_down_and_may_be_negative() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1700000000.123456789", Some((1_700_000_000, 123_456_789))),
            ("5.1", Some((5, 100_000_000))),
            ("5.", Some((5, 0))),
            ("1.9999999999", Some((1, 999_999_999))),
            ("-1.5", Some((-2, 500_000_000))),
            ("-3", Some((-3, 0))),
            ("", None),
            (".5", None),
            ("1.x", None),
            ("99999999999999999999", None),
        ] {
            let time = parse_time(text.as_bytes()).map(|time| (time.secs, time.nanos));
            assert_eq!(time, expected, "{text}");
        }
    }

    #[test]
    fn records_are_split_by_their_length() {
        let mut records = PaxRecords::default();
        let data = b"13 path=a\n=b\n22 SCHILY.xattr.user.x=\0\n7 uid=\n";
        assert!(records.read(&data[..]).is_err(), "the second record's length is wrong");
        let mut records = PaxRecords::default();
        let data = b"13 path=a\n=b\n25 SCHILY.xattr.user.x=\0\n7 uid=\n".to_vec();
        assert!(records.read(&data).is_ok());
        assert_eq!(records.path.as_deref(), Some(&b"a\n=b"[..]));
        assert_eq!(records.xattrs, [(b"user.x".to_vec(), b"\0".to_vec())]);
        assert_eq!(records.uid, None);
        for bad in ["5 a=b", "4 a=b\n", "99 a=b\n", "x a=b\n", "6 a b\n", "0 a=b\n", "10 size=-1\n", " =\n"] {
            assert!(PaxRecords::default().read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

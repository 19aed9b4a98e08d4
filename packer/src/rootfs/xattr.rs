//! Extended attributes: those that EROFS can hold, and its name for each.
//!
//! EROFS stores a number for the name's prefix and the rest of the name (erofs_fs.h,
//! EROFS_XATTR_INDEX_*). Attributes outside these prefixes have no place in it; Linux would not
//! show them either.

use std::collections::BTreeMap;

/// Name prefixes with their numbers. An ACL's name is its prefix; the rest is empty.
const PREFIXES: [(&[u8], u8, bool); 5] = [
    (b"user.", 1, true),
    (b"system.posix_acl_access", 2, false),
    (b"system.posix_acl_default", 3, false),
    (b"trusted.", 4, true),
    (b"security.", 6, true),
];
/// Bytes of `erofs_xattr_ibody_header`.
pub(super) const HEADER_BYTES: usize = 12;
/// Bytes of `erofs_xattr_entry` before name and value.
pub(super) const ENTRY_BYTES: usize = 4;
/// `e_name_len` is a byte, `e_value_size` two.
const MAX_SUFFIX_BYTES: usize = 255;
const MAX_VALUE_BYTES: usize = 65535;
/// All attributes of one inode. The format allows 256 KiB; Linux lists 64 KiB of names.
const MAX_TOTAL_BYTES: usize = 192 << 10;

/// The attributes of one inode, by full name, all of them representable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Xattrs {
    by_name: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// Why an attribute cannot be kept.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum XattrError {
    /// Its name has a prefix that EROFS does not know.
    #[error("its kind cannot be stored")]
    UnknownPrefix,
    /// Its name or value is longer than EROFS allows.
    #[error("its name or value is too long")]
    TooLong,
    /// The inode has too many.
    #[error("the inode has too many attributes")]
    TooMany,
}

impl Xattrs {
    /// Adds or replaces an attribute.
    ///
    /// # Errors
    /// [`XattrError`] if it cannot be stored; nothing changes then.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), XattrError> {
        let (_, suffix) = split_name(name).ok_or(XattrError::UnknownPrefix)?;
        if suffix.len() > MAX_SUFFIX_BYTES || value.len() > MAX_VALUE_BYTES || suffix.contains(&0) {
            return Err(XattrError::TooLong);
        }
        let entry_bytes = entry_bytes(suffix.len(), value.len());
        if self.body_bytes() + HEADER_BYTES + entry_bytes > MAX_TOTAL_BYTES {
            return Err(XattrError::TooMany);
        }
        self.by_name.insert(name.into(), value.into());
        Ok(())
    }

    /// The value of an attribute.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.by_name.get(name).map(|value| &**value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Full names and values in byte order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.by_name.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Memory that they take, roughly.
    pub(super) fn cost_bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len() + 64).sum()
    }

    /// Bytes behind the inode on disk, a multiple of 4; none for no attribute.
    pub(super) fn body_bytes(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let entries = self.iter().filter_map(|(name, value)| Some((split_name(name)?.1, value)));
        HEADER_BYTES + entries.map(|(suffix, value)| entry_bytes(suffix.len(), value.len())).sum::<usize>()
    }

    /// The inode's `i_xattr_icount` (erofs_fs.h, erofs_xattr_ibody_size).
    pub(super) fn icount(&self) -> u16 {
        match self.body_bytes() {
            0 => 0,
            bytes => ((bytes - HEADER_BYTES) / 4 + 1) as u16,
        }
    }

    /// Appends exactly [`Xattrs::body_bytes`] bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        out.extend_from_slice(&[0; HEADER_BYTES]);
        for (name, value) in self.iter() {
            let Some((prefix, suffix)) = split_name(name) else { continue };
            out.extend_from_slice(&[suffix.len() as u8, prefix]);
            out.extend_from_slice(&(value.len() as u16).to_le_bytes());
            out.extend_from_slice(suffix);
            out.extend_from_slice(value);
            let padding = entry_bytes(suffix.len(), value.len()) - ENTRY_BYTES - suffix.len() - value.len();
            out.extend_from_slice(&[0; 3][..padding]);
        }
    }
}

/// Bytes of one entry with its padding.
pub(super) fn entry_bytes(suffix_bytes: usize, value_bytes: usize) -> usize {
    (ENTRY_BYTES + suffix_bytes + value_bytes).next_multiple_of(4)
}

/// The prefix with this number.
pub(super) fn prefix(number: u8) -> Option<&'static [u8]> {
    PREFIXES.iter().find(|(_, index, _)| *index == number).map(|(prefix, _, _)| *prefix)
}

/// Prefix number and rest of a name.
fn split_name(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|&(prefix, number, has_suffix)| {
        let suffix = name.strip_prefix(prefix)?;
        (suffix.is_empty() != has_suffix).then_some((number, suffix))
    })
}

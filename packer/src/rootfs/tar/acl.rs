//! POSIX ACLs from the text that tar archives carry to the binary form of the
//! `system.posix_acl_*` attributes (Linux `posix_acl_xattr.h`, version 2).

/// The attribute with the ACL that governs access to the file itself.
pub(super) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute with the ACL that files made in a directory get.
pub(super) const DEFAULT: &[u8] = b"system.posix_acl_default";
/// Bytes of an ACL with entries for owner, group and others only.
pub(super) const MINIMAL_BYTES: usize = 4 + 3 * 8;

/// The binary form of e.g. `user::rwx,user:1000:r--,group::r-x,mask::rwx,other::r--`; entries are
/// separated by commas or newlines. libarchive adds the number behind a name as a fourth field.
/// `None` if an entry is malformed or names a user or group without a number.
pub(super) fn parse(text: &[u8]) -> Option<Vec<u8>> {
    const VERSION: u32 = 2;
    const NO_ID: u32 = u32::MAX;
    let mut entries: Vec<(u16, u32, u16)> = Vec::new();
    for entry in text.split(|&byte| byte == b',' || byte == b'\n') {
        let entry = entry.split(|&byte| byte == b'#').next()?.trim_ascii();
        if entry.is_empty() {
            continue;
        }
        let fields: Vec<&[u8]> = entry.split(|&byte| byte == b':').collect();
        // "mask:rwx" and "other:r--" may leave the empty qualifier out.
        let (kind, qualifier, permissions, number) = match fields[..] {
            [kind @ (b"mask" | b"m" | b"other" | b"o"), permissions] => (kind, &b""[..], permissions, None),
            [kind, qualifier, permissions] => (kind, qualifier, permissions, None),
            [kind, qualifier, permissions, number] => (kind, qualifier, permissions, Some(number)),
            _ => return None,
        };
        let (unnamed_tag, named_tag) = match kind {
            b"user" | b"u" => (0x01, Some(0x02)),
            b"group" | b"g" => (0x04, Some(0x08)),
            b"mask" | b"m" => (0x10, None),
            b"other" | b"o" => (0x20, None),
            _ => return None,
        };
        let (tag, id) = if qualifier.is_empty() {
            (unnamed_tag, NO_ID)
        } else {
            let number = std::str::from_utf8(number.unwrap_or(qualifier)).ok()?;
            (named_tag?, number.parse().ok()?)
        };
        entries.push((tag, id, parse_permissions(permissions)?));
    }
    entries.sort_by_key(|&(tag, id, _)| (tag, id));
    let mut binary = VERSION.to_le_bytes().to_vec();
    for (tag, id, permissions) in entries {
        binary.extend_from_slice(&tag.to_le_bytes());
        binary.extend_from_slice(&permissions.to_le_bytes());
        binary.extend_from_slice(&id.to_le_bytes());
    }
    Some(binary)
}

fn parse_permissions(text: &[u8]) -> Option<u16> {
    text.iter().try_fold(0, |bits, letter| match letter {
        b'r' => Some(bits | 4),
        b'w' => Some(bits | 2),
        b'x' => Some(bits | 1),
        b'-' => Some(bits),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_what_setfacl_stores() {
        let binary = parse(b"user::rw-\nuser:1000:r--\ngroup::r--\nmask::rw-\nother::---\n").unwrap();
        let entries: Vec<(u16, u16, u32)> = binary[4..]
            .chunks_exact(8)
            .map(|entry| {
                (
                    u16::from_le_bytes([entry[0], entry[1]]),
                    u16::from_le_bytes([entry[2], entry[3]]),
                    u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]),
                )
            })
            .collect();
        let none = u32::MAX;
        assert_eq!(binary[..4], [2, 0, 0, 0]);
        assert_eq!(entries, [(1, 6, none), (2, 4, 1000), (4, 4, none), (16, 6, none), (32, 0, none)]);
        assert_eq!(parse(b"user:bob:r--:7").unwrap()[8..12], [7, 0, 0, 0]);
        for bad in ["user:bob:r--", "user:x", "a::r", "other:1:r", "user:1:2:3:4"] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}

//! A whole image as a tar archive: POSIX headers, and pax records for what does not fit into them.

use super::header::BLOCK_BYTES;
use crate::rootfs::erofs::{EntryKind, Inode, Nid, ReadAt, Reader, ReaderError};
use std::collections::HashMap;
use std::io::{self, Write};
use tar::EntryType;

const BUFFER_BYTES: usize = 1 << 20;
/// What the fields of a POSIX header hold: octal digits and a terminator.
const MAX_7_DIGITS: u64 = 0o7777777;
const MAX_11_DIGITS: u64 = 0o77777777777;
const NAME_BYTES: usize = 100;

/// Writes everything in the image to `out`, the root directory as `./`. Sockets, which no archive can
/// hold, are left out; returns how many.
///
/// # Errors
/// [`ReaderError`]; writing fails as [`ReaderError::Io`].
pub fn write_tar<R: ReadAt>(reader: &Reader<R>, out: &mut dyn Write) -> Result<u64, ReaderError> {
    let mut first_names: HashMap<Nid, Vec<u8>> = HashMap::new();
    let mut sockets = 0;
    reader.walk(|path, inode| {
        if inode.kind == EntryKind::Socket {
            sockets += 1;
            return Ok(());
        }
        let mut name = if path.is_empty() { b"./".to_vec() } else { path.to_vec() };
        if inode.kind == EntryKind::Directory && !path.is_empty() {
            name.push(b'/');
        }
        if inode.kind != EntryKind::Directory && inode.nlink > 1 {
            if let Some(first) = first_names.get(&inode.nid) {
                return write_header(reader, out, &name, inode, Some(first)).map_err(ReaderError::Io);
            }
            first_names.insert(inode.nid, path.to_vec());
        }
        write_header(reader, out, &name, inode, None)?;
        if inode.kind == EntryKind::File { write_data(reader, out, inode) } else { Ok(()) }
    })?;
    // POSIX: two blocks of zeros end an archive.
    out.write_all(&[0; 2 * BLOCK_BYTES])?;
    Ok(sockets)
}

/// The header of one entry with the pax header before it, if it needs one. With `first`, a hard link.
fn write_header<R: ReadAt>(
    reader: &Reader<R>,
    out: &mut dyn Write,
    name: &[u8],
    inode: &Inode,
    first: Option<&[u8]>,
) -> io::Result<()> {
    let read = |error| match error {
        ReaderError::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    };
    let mut records = Vec::new();
    let mut header = tar::Header::new_ustar();
    let target = match (first, inode.kind) {
        (Some(first), _) => first.to_vec(),
        (None, EntryKind::Symlink) => reader.read_link(inode).map_err(read)?,
        _ => Vec::new(),
    };
    let size = if first.is_none() && inode.kind == EntryKind::File { inode.size } else { 0 };
    let mut number = |key: &str, value: u64, most: u64| {
        if value > most {
            records.push((key.as_bytes().to_vec(), value.to_string().into_bytes()));
        }
        value.min(most)
    };
    header.set_uid(number("uid", inode.uid.into(), MAX_7_DIGITS));
    header.set_gid(number("gid", inode.gid.into(), MAX_7_DIGITS));
    header.set_size(number("size", size, MAX_11_DIGITS));
    let secs = u64::try_from(inode.mtime.secs).unwrap_or(0);
    header.set_mtime(secs.min(MAX_11_DIGITS));
    if inode.mtime.nanos != 0 || inode.mtime.secs < 0 || secs > MAX_11_DIGITS {
        records.push((b"mtime".to_vec(), decimal_time(inode.mtime.secs, inode.mtime.nanos).into_bytes()));
    }
    for (key, text) in [("path", name), ("linkpath", &target[..])] {
        if text.len() > NAME_BYTES {
            records.push((key.as_bytes().to_vec(), text.to_vec()));
        }
    }
    if first.is_none() {
        for (name, value) in reader.xattrs(inode).map_err(read)?.iter() {
            records.push(([b"SCHILY.xattr.", name].concat(), value.to_vec()));
        }
    }
    header.set_mode(inode.mode.into());
    header.set_entry_type(match (first, inode.kind) {
        (Some(_), _) => EntryType::Link,
        (None, EntryKind::Directory) => EntryType::Directory,
        (None, EntryKind::Symlink) => EntryType::Symlink,
        (None, EntryKind::CharDevice(_)) => EntryType::Char,
        (None, EntryKind::BlockDevice(_)) => EntryType::Block,
        (None, EntryKind::Fifo) => EntryType::Fifo,
        (None, EntryKind::File | EntryKind::Socket) => EntryType::Regular,
    });
    if let EntryKind::CharDevice(number) | EntryKind::BlockDevice(number) = inode.kind {
        header.set_device_major(number.major)?;
        header.set_device_minor(number.minor)?;
    }
    if !records.is_empty() {
        write_pax(out, &records)?;
    }
    if let Some(fields) = header.as_ustar_mut() {
        let (name, target) = (&name[..name.len().min(NAME_BYTES)], &target[..target.len().min(NAME_BYTES)]);
        fields.name[..name.len()].copy_from_slice(name);
        fields.linkname[..target.len()].copy_from_slice(target);
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

fn write_pax(out: &mut dyn Write, records: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_mode(0o644);
    header.set_size(data.len() as u64);
    if let Some(fields) = header.as_ustar_mut() {
        fields.name[..3].copy_from_slice(b"pax");
    }
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(&data)?;
    pad(out, data.len() as u64)
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while rest + len.to_string().len() != len {
        len = rest + len.to_string().len();
    }
    [format!("{len} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

/// Seconds with decimals, of a time that is rounded down.
fn decimal_time(secs: i64, nanos: u32) -> String {
    match (secs < 0, nanos) {
        (_, 0) => secs.to_string(),
        (false, nanos) => format!("{secs}.{nanos:09}"),
        (true, nanos) => format!("-{}.{:09}", -(secs + 1), 1_000_000_000 - nanos),
    }
}

fn write_data<R: ReadAt>(reader: &Reader<R>, out: &mut dyn Write, inode: &Inode) -> Result<(), ReaderError> {
    let mut buffer = vec![0; BUFFER_BYTES.min(inode.size as usize)];
    let mut done = 0;
    while done < inode.size {
        let count = reader.read_at(inode, done, &mut buffer)?;
        out.write_all(&buffer[..count])?;
        done += count as u64;
    }
    Ok(pad(out, inode.size)?)
}

fn pad(out: &mut dyn Write, len_bytes: u64) -> io::Result<()> {
    let rest = (len_bytes % BLOCK_BYTES as u64) as usize;
    if rest == 0 { Ok(()) } else { out.write_all(&[0; BLOCK_BYTES][rest..]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_themselves() {
        for value_bytes in [0, 1, 3, 4, 5, 90, 91, 92, 93, 94, 990, 991, 992, 993, 994] {
            let record = record(b"k", &vec![b'v'; value_bytes]);
            let text = String::from_utf8(record.clone()).unwrap();
            assert_eq!(text.split(' ').next().unwrap(), record.len().to_string());
        }
    }

    #[test]
    fn times_before_1970_round_down() {
        for (secs, nanos, expected) in [
            (5, 0, "5"),
            (5, 100_000_000, "5.100000000"),
            (-3, 0, "-3"),
            (-2, 500_000_000, "-1.500000000"),
            (-1, 999_999_999, "-0.000000001"),
        ] {
            assert_eq!(decimal_time(secs, nanos), expected);
        }
    }
}

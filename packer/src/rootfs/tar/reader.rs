//! The stream of entries in a tar archive.

use super::header::{BLOCK_BYTES, Dialect, HeaderBlock, Parsed, sparse_continuation, until_nul};
use super::pax::{BadPax, MAX_REGIONS, PaxRecords};
use super::sparse::{SparseMap, read_map};
use crate::rootfs::error::RootfsError;
use crate::rootfs::store::Region;
use crate::rootfs::tree::{DeviceNumber, Time};
use std::io::{self, Read};

/// Longest GNU long name that is read; the tree refuses far shorter ones.
const MAX_LONG_NAME_BYTES: u64 = 64 << 10;
/// Longest pax header: some attributes of 64 KiB each, and a sparse map.
const MAX_PAX_BYTES: u64 = 32 << 20;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its data follows.
    File,
    /// A file of which only these regions have data, and only they follow.
    SparseFile(Vec<Region>),
    /// Another name for an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry with all extensions applied.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Path as the archive gives it, not sanitised.
    pub path: Vec<u8>,
    /// Target of a link, as the archive gives it.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Length of the file in bytes, holes included.
    pub size: u64,
    /// Permission bits, 0 to 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Time,
    /// Extended attributes, full name and value, not checked.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// ACLs: attribute name and text.
    pub(super) acls: Vec<(&'static [u8], Vec<u8>)>,
}

/// Reads entries from a stream. The data of the current entry is read through this value's own
/// [`Read`]; what is left of it is skipped when the next entry is asked for.
#[derive(Debug)]
pub struct TarReader<R> {
    inner: R,
    /// Bytes consumed.
    position: u64,
    /// Bytes of the current entry's data not yet read, and zeros that follow them.
    data_left: u64,
    padding_left: u64,
    global: PaxRecords,
    /// Kinds of entries that were left out.
    skipped: Vec<u8>,
}

impl<R: Read> TarReader<R> {
    /// Starts at the beginning of an archive.
    pub fn new(inner: R) -> Self {
        TarReader {
            inner,
            position: 0,
            data_left: 0,
            padding_left: 0,
            global: PaxRecords::default(),
            skipped: Vec::new(),
        }
    }

    /// The next entry, or `None` at the end of the archive. At the end the stream is read to its
    /// own end, so that a compressed one checks its trailer.
    ///
    /// # Errors
    /// [`RootfsError::Archive`] for what is no tar archive, is cut short or malformed;
    /// [`RootfsError::Input`] from the stream.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, RootfsError> {
        let mut local = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        let mut is_extended = false;
        loop {
            self.skip_data()?;
            let header_at = self.position;
            let Some(header) = self.read_header()? else {
                return if is_extended {
                    Err(truncated("an entry, after its extended header"))
                } else {
                    Ok(None)
                };
            };
            let bad =
                |what: &str| RootfsError::Archive(format!("corrupt: {what} (header at byte {header_at})"));
            let size = header.size().and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| bad("an entry's size is malformed"))?;
            let flag = header.type_flag();
            is_extended = matches!(flag, b'L' | b'K' | b'x' | b'X');
            match flag {
                b'L' | b'K' => {
                    let data = self.read_extension(size, MAX_LONG_NAME_BYTES, &bad)?;
                    let name = Some(until_nul(&data).to_vec());
                    if flag == b'L' { long_name = name } else { long_link = name }
                }
                b'x' | b'X' => {
                    let data = self.read_extension(size, MAX_PAX_BYTES, &bad)?;
                    local.read(&data).map_err(|BadPax(what)| bad(what))?;
                }
                b'g' => {
                    let data = self.read_extension(size, MAX_PAX_BYTES, &bad)?;
                    self.global.read(&data).map_err(|BadPax(what)| bad(what))?;
                    self.global.keep_global();
                    local = self.global.clone();
                }
                b'M' => return Err(bad("it continues a file of another volume, which is not supported")),
                _ => {
                    self.set_data(local.size.unwrap_or(size));
                    let Some(kind) = plain_kind(&header, flag) else {
                        self.skipped.push(flag);
                        local = self.global.clone();
                        (long_name, long_link) = (None, None);
                        continue;
                    };
                    return self.entry(&header, kind, local, long_name, long_link, &bad).map(Some);
                }
            }
        }
    }

    /// Kinds of the entries left out so far: type flags that hold no file.
    pub fn skipped(&self) -> &[u8] {
        &self.skipped
    }

    fn entry(
        &mut self,
        header: &HeaderBlock,
        kind: EntryKind,
        mut pax: PaxRecords,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        bad: &dyn Fn(&str) -> RootfsError,
    ) -> Result<Entry, RootfsError> {
        let path = pax.sparse.name.take().or(pax.path.take()).or(long_name).unwrap_or_else(|| header.name());
        let link = pax.link_path.take().or(long_link).unwrap_or_else(|| header.link_name());
        let id = |pax: Option<u64>, header: Option<i64>| {
            pax.or(header.and_then(|id| u64::try_from(id).ok()))
                .and_then(|id| u32::try_from(id).ok())
                .filter(|&id| id != u32::MAX)
        };
        let uid = id(pax.uid, header.uid()).ok_or_else(|| bad("an owner is malformed or out of range"))?;
        let gid = id(pax.gid, header.gid()).ok_or_else(|| bad("a group is malformed or out of range"))?;
        let mtime = match pax.mtime {
            Some(time) => time,
            None => Time { secs: header.mtime().ok_or_else(|| bad("a time is malformed"))?, nanos: 0 },
        };
        let mode = (header.mode().ok_or_else(|| bad("a mode is malformed"))? & 0o7777) as u16;
        let mut kind = kind;
        let mut size = 0;
        match kind {
            EntryKind::File => {
                size = self.data_left;
                if let Some(map) = self.sparse_map(header, &pax, bad)? {
                    size = map.real_size;
                    kind = EntryKind::SparseFile(map.regions);
                } else if header.type_flag() != b'7'
                    && path.ends_with(b"/")
                    && header.dialect() == Dialect::V7
                {
                    // Before POSIX a directory was told by the slash alone.
                    kind = EntryKind::Directory;
                }
            }
            EntryKind::CharDevice(_) | EntryKind::BlockDevice(_) => {
                let number = header.device().and_then(|(major, minor)| {
                    Some(DeviceNumber {
                        major: u32::try_from(major).ok()?,
                        minor: u32::try_from(minor).ok()?,
                    })
                });
                let number = number.ok_or_else(|| bad("a device number is malformed"))?;
                kind = match kind {
                    EntryKind::CharDevice(_) => EntryKind::CharDevice(number),
                    _ => EntryKind::BlockDevice(number),
                };
            }
            _ => {}
        }
        if !matches!(kind, EntryKind::File | EntryKind::SparseFile(_)) && header.type_flag() != b'D' {
            // Their size field means nothing; no data follows (as Go's archive/tar reads them).
            self.set_data(0);
        }
        if size > i64::MAX as u64 {
            return Err(bad("an entry's size is malformed"));
        }
        Ok(Entry { path, link, kind, size, mode, uid, gid, mtime, xattrs: pax.xattrs, acls: pax.acls })
    }

    /// The map of a sparse file in whichever way the archive gives it; `None` for another file.
    fn sparse_map(
        &mut self,
        header: &HeaderBlock,
        pax: &PaxRecords,
        bad: &dyn Fn(&str) -> RootfsError,
    ) -> Result<Option<SparseMap>, RootfsError> {
        let malformed = || bad("a sparse file's map is malformed");
        let (real_size, pairs) = if header.type_flag() == b'S' && header.dialect() == Dialect::Gnu {
            let real_size = header.sparse_real_size().and_then(|size| u64::try_from(size).ok());
            (real_size.ok_or_else(malformed)?, self.read_gnu_map(header)?.ok_or_else(malformed)?)
        } else if pax.sparse.major == Some(1) {
            let real_size = pax.sparse.real_size.ok_or_else(malformed)?;
            let limit = self.data_left;
            let map =
                read_map(Read::take(&mut *self, limit)).map_err(|error| cut_short(error, "a sparse map"))?;
            let pairs = map.ok_or_else(malformed)?;
            (real_size, pairs)
        } else if pax.sparse.has_map || !pax.sparse.map.is_empty() {
            let (pairs, rest) = pax.sparse.map.as_chunks::<2>();
            let real_size = pax.sparse.real_size.filter(|_| rest.is_empty()).ok_or_else(malformed)?;
            (real_size, pairs.iter().map(|&[offset, len]| (offset, len)).collect())
        } else {
            return Ok(None);
        };
        SparseMap::new(real_size, &pairs, self.data_left).map(Some).ok_or_else(malformed)
    }

    fn read_gnu_map(&mut self, header: &HeaderBlock) -> Result<Option<Vec<(u64, u64)>>, RootfsError> {
        let Some((mut pairs, mut more)) = header.sparse_map() else { return Ok(None) };
        while more {
            let mut block = [0; BLOCK_BYTES];
            self.read_inner(&mut block)?;
            let Some((continued, again)) = sparse_continuation(&block) else { return Ok(None) };
            pairs.extend(continued);
            more = again;
            if pairs.len() > MAX_REGIONS {
                return Ok(None);
            }
        }
        let unsigned = |value: i64| u64::try_from(value).ok();
        Ok(pairs.into_iter().map(|(offset, len)| Some((unsigned(offset)?, unsigned(len)?))).collect())
    }

    /// A header block; `None` at the end.
    fn read_header(&mut self) -> Result<Option<HeaderBlock>, RootfsError> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(cut_short(error, "a header")),
            }
        }
        let at = self.position;
        self.position += filled as u64;
        if filled == 0 && at > 0 {
            // Many writers leave out the zeros at the end.
            return Ok(None);
        }
        if filled == 0 {
            return Err(RootfsError::Archive("empty, not a tar archive".to_string()));
        }
        if filled < BLOCK_BYTES {
            return Err(RootfsError::Archive(match at {
                0 => "not a tar archive".to_string(),
                _ => format!("truncated: it ends within a header, at byte {}", self.position),
            }));
        }
        match HeaderBlock::parse(block) {
            Parsed::Header(header) => Ok(Some(header)),
            Parsed::Zeros => {
                io::copy(&mut self.inner, &mut io::sink()).map_err(|error| cut_short(error, "its end"))?;
                Ok(None)
            }
            Parsed::Garbage if at == 0 => Err(RootfsError::Archive("not a tar archive".to_string())),
            Parsed::Garbage => {
                Err(RootfsError::Archive(format!("corrupt: a header's checksum is wrong, at byte {at}")))
            }
        }
    }

    fn read_extension(
        &mut self,
        size: u64,
        limit_bytes: u64,
        bad: &dyn Fn(&str) -> RootfsError,
    ) -> Result<Vec<u8>, RootfsError> {
        if size > limit_bytes {
            return Err(bad("an extended header is too long"));
        }
        self.set_data(size);
        let mut data = Vec::new();
        // Grows as data really arrives: the size alone is a stranger's word.
        Read::take(&mut *self, size).read_to_end(&mut data).map_err(|error| cut_short(error, "a header"))?;
        if data.len() as u64 != size {
            return Err(truncated("an extended header"));
        }
        Ok(data)
    }

    fn set_data(&mut self, size: u64) {
        self.data_left = size;
        self.padding_left = (BLOCK_BYTES as u64 - size % BLOCK_BYTES as u64) % BLOCK_BYTES as u64;
    }

    fn skip_data(&mut self) -> Result<(), RootfsError> {
        let wanted = self.data_left.saturating_add(self.padding_left);
        let copied = io::copy(&mut Read::take(&mut self.inner, wanted), &mut io::sink());
        let copied = copied.map_err(|error| cut_short(error, "an entry's data"))?;
        self.position += copied;
        if copied < wanted {
            return Err(truncated("an entry's data"));
        }
        (self.data_left, self.padding_left) = (0, 0);
        Ok(())
    }

    fn read_inner(&mut self, block: &mut [u8]) -> Result<(), RootfsError> {
        self.inner.read_exact(block).map_err(|error| cut_short(error, "a header"))?;
        self.position += block.len() as u64;
        Ok(())
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.data_left.min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        self.data_left -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

/// What a type flag stands for; `None` for what is no file of any kind.
fn plain_kind(header: &HeaderBlock, flag: u8) -> Option<EntryKind> {
    let none = DeviceNumber { major: 0, minor: 0 };
    Some(match flag {
        b'0' | 0 | b'7' => EntryKind::File,
        b'S' if header.dialect() == Dialect::Gnu => EntryKind::File,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice(none),
        b'4' => EntryKind::BlockDevice(none),
        // 'D' is GNU's directory with a list of names as data.
        b'5' | b'D' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        _ => return None,
    })
}

/// A stream that ended too early is a truncated archive; anything else is the stream's own error.
pub(super) fn cut_short(error: io::Error, what: &str) -> RootfsError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(what),
        _ => RootfsError::Input(error),
    }
}

fn truncated(what: &str) -> RootfsError {
    RootfsError::Archive(format!("truncated: it ends within {what}"))
}

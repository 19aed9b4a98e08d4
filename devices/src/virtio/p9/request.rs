//! From the bytes of a 9P2000.L message to a [`Request`]. Pure: looks at nothing but the bytes, refuses every
//! malformed message with the reason, and copies nothing.
//!
//! Layouts: the 9P2000 manual, section 5, and the 9P2000.L extension. Integers are little-endian; a string is a
//! 16-bit length and that many bytes.

use crate::backend::fs::{
    Access, Errno, LockKind, LockRange, Name, NameError, OpenFlags, SetAttr, SetTime, TARGET_MAX_BYTES,
    Timestamp,
};

/// Bytes of size, type and tag.
pub const HEADER_BYTES: usize = 7;
/// Most names in one `Twalk` (`MAXWELEM`).
pub const WALK_MAX_NAMES: usize = 16;
/// The fid number that means "none" (`NOFID`).
pub const NO_FID: u32 = u32::MAX;
/// Longest `client_id` of a lock: a Linux host name has 64 bytes.
const CLIENT_ID_MAX_BYTES: usize = 255;

/// Message type numbers. A reply's is one more than its request's.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the protocol's")]
    pub const RLERROR: u8 = 7;
    pub const TSTATFS: u8 = 8;
    pub const TLOPEN: u8 = 12;
    pub const TLCREATE: u8 = 14;
    pub const TSYMLINK: u8 = 16;
    pub const TMKNOD: u8 = 18;
    pub const TRENAME: u8 = 20;
    pub const TREADLINK: u8 = 22;
    pub const TGETATTR: u8 = 24;
    pub const TSETATTR: u8 = 26;
    pub const TXATTRWALK: u8 = 30;
    pub const TXATTRCREATE: u8 = 32;
    pub const TREADDIR: u8 = 40;
    pub const TFSYNC: u8 = 50;
    pub const TLOCK: u8 = 52;
    pub const TGETLOCK: u8 = 54;
    pub const TLINK: u8 = 70;
    pub const TMKDIR: u8 = 72;
    pub const TRENAMEAT: u8 = 74;
    pub const TUNLINKAT: u8 = 76;
    pub const TVERSION: u8 = 100;
    pub const TAUTH: u8 = 102;
    pub const TATTACH: u8 = 104;
    pub const TFLUSH: u8 = 108;
    pub const TWALK: u8 = 110;
    pub const TREAD: u8 = 116;
    pub const TWRITE: u8 = 118;
    pub const TCLUNK: u8 = 120;
    pub const TREMOVE: u8 = 122;
}

/// Size, type and tag of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Length of the whole message as it says itself.
    pub size_bytes: u32,
    /// Type, see [`kind`].
    pub kind: u8,
    /// Chosen by the client, repeated in the reply.
    pub tag: u16,
}

/// One step of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// To an entry.
    Down(Name<'a>),
    /// `..`, to the directory above; the root is above itself.
    Up,
}

/// The steps of a `Twalk`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steps<'a> {
    steps: [Step<'a>; WALK_MAX_NAMES],
    count: usize,
}

impl<'a> Steps<'a> {
    /// The steps in order.
    pub fn as_slice(&self) -> &[Step<'a>] {
        &self.steps[..self.count]
    }
}

/// Who holds a lock: a process of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockOwner<'a> {
    /// Process number, as the client counts.
    pub process: u32,
    /// The client's host name.
    pub client: &'a [u8],
}

/// A well-formed message. Field names are the protocol's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "fields are named and explained by the protocol")]
pub enum Request<'a> {
    Version { msize: u32, version: &'a [u8] },
    Auth,
    Attach { fid: u32, afid: u32, aname: &'a [u8], n_uname: u32 },
    Flush,
    Walk { fid: u32, newfid: u32, steps: Steps<'a> },
    Lopen { fid: u32, flags: OpenFlags },
    Lcreate { fid: u32, name: Name<'a>, flags: OpenFlags, mode: u32, gid: u32 },
    Read { fid: u32, offset: u64, count: u32 },
    Write { fid: u32, offset: u64, data: &'a [u8] },
    Clunk { fid: u32 },
    Remove { fid: u32 },
    Getattr { fid: u32, mask: u64 },
    Setattr { fid: u32, change: SetAttr },
    Readdir { fid: u32, offset: u64, count: u32 },
    Statfs { fid: u32 },
    Symlink { fid: u32, name: Name<'a>, target: &'a [u8], gid: u32 },
    Mknod { fid: u32, name: Name<'a>, mode: u32, major: u32, minor: u32, gid: u32 },
    Mkdir { fid: u32, name: Name<'a>, mode: u32, gid: u32 },
    Link { directory: u32, fid: u32, name: Name<'a> },
    Rename { fid: u32, directory: u32, name: Name<'a> },
    Renameat { from: u32, from_name: Name<'a>, to: u32, to_name: Name<'a> },
    Unlinkat { fid: u32, name: Name<'a>, directory_wanted: bool },
    Readlink { fid: u32 },
    Xattrwalk { fid: u32, newfid: u32, name: &'a [u8] },
    Xattrcreate { fid: u32, name: &'a [u8], size_bytes: u64, flags: u32 },
    Fsync { fid: u32, data_only: bool },
    Lock { fid: u32, kind: Option<LockKind>, range: LockRange, owner: LockOwner<'a> },
    Getlock { fid: u32, kind: LockKind, start: u64, length: u64, range: LockRange, owner: LockOwner<'a> },
}

/// Why a message cannot be understood.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Fewer bytes than a header.
    #[error("{0} bytes are no message")]
    NoHeader(usize),
    /// The size field is smaller than a header or larger than what arrived.
    #[error("the message says it has {stated} bytes, {arrived} arrived")]
    Size {
        /// Its size field.
        stated: u32,
        /// Bytes that arrived.
        arrived: usize,
    },
    /// The type is not one of a request in 9P2000.L.
    #[error("unknown message type {0}")]
    UnknownKind(u8),
    /// The message ends within a field.
    #[error("the message ends within {0}")]
    EndsWithin(&'static str),
    /// Bytes follow the last field.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// A name that is none.
    #[error("{0}")]
    Name(#[from] NameError),
    /// More names than [`WALK_MAX_NAMES`].
    #[error("a walk of {0} names")]
    WalkTooLong(u16),
    /// The target of a symbolic link is empty, too long or contains a zero byte.
    #[error("impossible target of a symbolic link of {0} bytes")]
    Target(usize),
    /// Name of an attribute that is empty where it must not be, too long or contains a zero byte.
    #[error("impossible name of an extended attribute of {0} bytes")]
    XattrName(usize),
    /// Flags that ask for neither reading nor writing.
    #[error("impossible open flags {0:#o}")]
    OpenFlags(u32),
    /// An offset past the largest signed 64-bit number.
    #[error("offset {0:#x} is out of range")]
    Offset(u64),
    /// A type of lock other than read, write, none.
    #[error("unknown type of lock {0}")]
    LockKind(u8),
    /// A range of bytes to lock that ends past the last number.
    #[error("a lock of {length} bytes at {start} is out of range")]
    LockRange {
        /// First byte.
        start: u64,
        /// Number of bytes.
        length: u64,
    },
    /// The name of the lock's client is too long.
    #[error("a client name of {0} bytes")]
    ClientId(usize),
    /// Nanoseconds of a second or more.
    #[error("a time with {0} ns")]
    Nanoseconds(u64),
}

impl ParseError {
    /// What the guest is told.
    pub fn errno(self) -> Errno {
        match self {
            ParseError::UnknownKind(_) => Errno::EOPNOTSUPP,
            ParseError::Name(NameError::TooLong) => Errno::ENAMETOOLONG,
            ParseError::Target(0) | ParseError::Name(NameError::Empty) => Errno::ENOENT,
            ParseError::Target(len) if len > TARGET_MAX_BYTES => Errno::ENAMETOOLONG,
            ParseError::XattrName(len) if len > 0 => Errno::ERANGE,
            _ => Errno::EINVAL,
        }
    }
}

/// Reads the header alone, so that even a malformed message can be answered.
///
/// # Errors
/// There is none.
pub fn parse_header(message: &[u8]) -> Result<Header, ParseError> {
    let mut fields = Fields { rest: message };
    let short = |_| ParseError::NoHeader(message.len());
    Ok(Header {
        size_bytes: fields.u32("size").map_err(short)?,
        kind: fields.u8("type").map_err(short)?,
        tag: fields.u16("tag").map_err(short)?,
    })
}

/// Reads a whole message. Bytes past the size that it states are not looked at.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(message: &[u8]) -> Result<Request<'_>, ParseError> {
    let header = parse_header(message)?;
    let body = usize::try_from(header.size_bytes)
        .ok()
        .and_then(|size| message.get(HEADER_BYTES..size))
        .ok_or(ParseError::Size { stated: header.size_bytes, arrived: message.len() })?;
    let mut fields = Fields { rest: body };
    let request = parse_body(header.kind, &mut fields)?;
    match fields.rest.len() {
        0 => Ok(request),
        trailing => Err(ParseError::Trailing(trailing)),
    }
}

fn parse_body<'a>(message_kind: u8, f: &mut Fields<'a>) -> Result<Request<'a>, ParseError> {
    Ok(match message_kind {
        kind::TVERSION => Request::Version { msize: f.u32("msize")?, version: f.string("version")? },
        kind::TAUTH => {
            f.u32("afid")?;
            f.string("uname")?;
            f.string("aname")?;
            f.u32("n_uname")?;
            Request::Auth
        }
        kind::TATTACH => {
            let (fid, afid) = (f.u32("fid")?, f.u32("afid")?);
            f.string("uname")?;
            Request::Attach { fid, afid, aname: f.string("aname")?, n_uname: f.u32("n_uname")? }
        }
        kind::TFLUSH => {
            f.u16("oldtag")?;
            Request::Flush
        }
        kind::TWALK => Request::Walk { fid: f.u32("fid")?, newfid: f.u32("newfid")?, steps: f.steps()? },
        kind::TLOPEN => Request::Lopen { fid: f.u32("fid")?, flags: f.open_flags()? },
        kind::TLCREATE => Request::Lcreate {
            fid: f.u32("fid")?,
            name: f.name()?,
            flags: f.open_flags()?,
            mode: f.u32("mode")?,
            gid: f.u32("gid")?,
        },
        kind::TREAD => {
            Request::Read { fid: f.u32("fid")?, offset: f.offset("offset")?, count: f.u32("count")? }
        }
        kind::TWRITE => {
            let (fid, offset, count) = (f.u32("fid")?, f.offset("offset")?, f.u32("count")?);
            Request::Write { fid, offset, data: f.take(count as usize, "data")? }
        }
        kind::TCLUNK => Request::Clunk { fid: f.u32("fid")? },
        kind::TREMOVE => Request::Remove { fid: f.u32("fid")? },
        kind::TGETATTR => Request::Getattr { fid: f.u32("fid")?, mask: f.u64("request_mask")? },
        kind::TSETATTR => Request::Setattr { fid: f.u32("fid")?, change: f.set_attr()? },
        kind::TREADDIR => {
            Request::Readdir { fid: f.u32("fid")?, offset: f.offset("offset")?, count: f.u32("count")? }
        }
        kind::TSTATFS => Request::Statfs { fid: f.u32("fid")? },
        kind::TSYMLINK => {
            Request::Symlink { fid: f.u32("fid")?, name: f.name()?, target: f.target()?, gid: f.u32("gid")? }
        }
        kind::TMKNOD => Request::Mknod {
            fid: f.u32("dfid")?,
            name: f.name()?,
            mode: f.u32("mode")?,
            major: f.u32("major")?,
            minor: f.u32("minor")?,
            gid: f.u32("gid")?,
        },
        kind::TMKDIR => {
            Request::Mkdir { fid: f.u32("dfid")?, name: f.name()?, mode: f.u32("mode")?, gid: f.u32("gid")? }
        }
        kind::TLINK => Request::Link { directory: f.u32("dfid")?, fid: f.u32("fid")?, name: f.name()? },
        kind::TRENAME => Request::Rename { fid: f.u32("fid")?, directory: f.u32("dfid")?, name: f.name()? },
        kind::TRENAMEAT => Request::Renameat {
            from: f.u32("olddirfid")?,
            from_name: f.name()?,
            to: f.u32("newdirfid")?,
            to_name: f.name()?,
        },
        kind::TUNLINKAT => {
            /// `AT_REMOVEDIR` of Linux `fcntl.h`.
            const REMOVE_DIRECTORY: u32 = 0x200;
            let (fid, name, flags) = (f.u32("dirfid")?, f.name()?, f.u32("flags")?);
            Request::Unlinkat { fid, name, directory_wanted: flags & REMOVE_DIRECTORY != 0 }
        }
        kind::TREADLINK => Request::Readlink { fid: f.u32("fid")? },
        kind::TXATTRWALK => {
            Request::Xattrwalk { fid: f.u32("fid")?, newfid: f.u32("newfid")?, name: f.xattr_name()? }
        }
        kind::TXATTRCREATE => {
            let (fid, name) = (f.u32("fid")?, f.xattr_name()?);
            if name.is_empty() {
                return Err(ParseError::XattrName(0));
            }
            Request::Xattrcreate { fid, name, size_bytes: f.u64("attr_size")?, flags: f.u32("flags")? }
        }
        kind::TFSYNC => {
            let fid = f.u32("fid")?;
            // The first description of the protocol had no second field.
            let data_only = !f.rest.is_empty() && f.u32("datasync")? != 0;
            Request::Fsync { fid, data_only }
        }
        kind::TLOCK => {
            let (fid, lock_kind) = (f.u32("fid")?, f.lock_kind()?);
            // Waiting is the client's business, and so the "block" flag says nothing here.
            f.u32("flags")?;
            let (_, _, range) = f.lock_range()?;
            Request::Lock { fid, kind: lock_kind, range, owner: f.lock_owner()? }
        }
        kind::TGETLOCK => {
            let (fid, lock_kind) = (f.u32("fid")?, f.lock_kind()?.ok_or(ParseError::LockKind(UNLOCK))?);
            let (start, length, range) = f.lock_range()?;
            Request::Getlock { fid, kind: lock_kind, start, length, range, owner: f.lock_owner()? }
        }
        unknown => return Err(ParseError::UnknownKind(unknown)),
    })
}

/// `P9_LOCK_TYPE_UNLCK`; read locks are 0 and write locks 1.
pub(super) const UNLOCK: u8 = 2;

/// What is left of a message.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(ParseError::EndsWithin(field))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ParseError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ParseError::EndsWithin(field))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, ParseError> {
        Ok(u8::from_le_bytes(self.array(field)?))
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, ParseError> {
        Ok(u16::from_le_bytes(self.array(field)?))
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, ParseError> {
        Ok(u32::from_le_bytes(self.array(field)?))
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, ParseError> {
        Ok(u64::from_le_bytes(self.array(field)?))
    }

    fn offset(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let offset = self.u64(field)?;
        if offset > i64::MAX as u64 { Err(ParseError::Offset(offset)) } else { Ok(offset) }
    }

    fn string(&mut self, field: &'static str) -> Result<&'a [u8], ParseError> {
        let count = self.u16(field)?;
        self.take(count.into(), field)
    }

    fn name(&mut self) -> Result<Name<'a>, ParseError> {
        Ok(Name::new(self.string("name")?)?)
    }

    fn target(&mut self) -> Result<&'a [u8], ParseError> {
        let target = self.string("symtgt")?;
        if target.is_empty() || target.len() > TARGET_MAX_BYTES || target.contains(&0) {
            return Err(ParseError::Target(target.len()));
        }
        Ok(target)
    }

    fn xattr_name(&mut self) -> Result<&'a [u8], ParseError> {
        let name = self.string("name")?;
        if name.len() > crate::backend::fs::NAME_MAX_BYTES || name.contains(&0) {
            return Err(ParseError::XattrName(name.len()));
        }
        Ok(name)
    }

    fn steps(&mut self) -> Result<Steps<'a>, ParseError> {
        let stated = self.u16("nwname")?;
        let count = usize::from(stated);
        if count > WALK_MAX_NAMES {
            return Err(ParseError::WalkTooLong(stated));
        }
        let mut steps = [Step::Up; WALK_MAX_NAMES];
        for step in &mut steps[..count] {
            *step = match self.string("wname")? {
                b".." => Step::Up,
                name => Step::Down(Name::new(name)?),
            };
        }
        Ok(Steps { steps, count })
    }

    /// Flags of `Tlopen` and `Tlcreate` (`P9_DOTL_*`: Linux's numbers, in octal). Those about the client's own
    /// descriptor or cache are ignored; links are never followed anyway.
    fn open_flags(&mut self) -> Result<OpenFlags, ParseError> {
        let flags = self.u32("flags")?;
        let access = match flags & 3 {
            0 => Access::Read,
            1 => Access::Write,
            2 => Access::ReadWrite,
            _ => return Err(ParseError::OpenFlags(flags)),
        };
        Ok(OpenFlags {
            access,
            exclusive: flags & 0o200 != 0,
            truncate: flags & 0o1000 != 0,
            append: flags & 0o2000 != 0,
            data_sync: flags & 0o10000 != 0,
            directory: flags & 0o200_000 != 0,
            sync: flags & 0o4_000_000 != 0,
        })
    }

    /// Fields of `Tsetattr` from `valid` on (`P9_ATTR_*`).
    fn set_attr(&mut self) -> Result<SetAttr, ParseError> {
        let valid = self.u32("valid")?;
        let wanted = |bit: u32| valid & bit != 0;
        let permissions = self.u32("mode")?;
        let (uid, gid) = (self.u32("uid")?, self.u32("gid")?);
        let size_bytes = self.u64("size")?;
        let accessed = self.set_time(wanted(0x10), wanted(0x80))?;
        let modified = self.set_time(wanted(0x20), wanted(0x100))?;
        if wanted(8) && size_bytes > i64::MAX as u64 {
            return Err(ParseError::Offset(size_bytes));
        }
        Ok(SetAttr {
            permissions: wanted(1).then_some(permissions & crate::backend::fs::mode::PERMISSIONS),
            uid: wanted(2).then_some(uid),
            gid: wanted(4).then_some(gid),
            size_bytes: wanted(8).then_some(size_bytes),
            accessed,
            modified,
        })
    }

    fn set_time(&mut self, wanted: bool, given: bool) -> Result<Option<SetTime>, ParseError> {
        let (sec, nsec) = (self.u64("sec")?.cast_signed(), self.u64("nsec")?);
        Ok(match (wanted, given, u32::try_from(nsec)) {
            (false, _, _) => None,
            (true, false, _) => Some(SetTime::Now),
            (true, true, Ok(nsec)) if nsec < 1_000_000_000 => Some(SetTime::At(Timestamp { sec, nsec })),
            (true, true, _) => return Err(ParseError::Nanoseconds(nsec)),
        })
    }

    fn lock_kind(&mut self) -> Result<Option<LockKind>, ParseError> {
        match self.u8("type")? {
            0 => Ok(Some(LockKind::Read)),
            1 => Ok(Some(LockKind::Write)),
            UNLOCK => Ok(None),
            unknown => Err(ParseError::LockKind(unknown)),
        }
    }

    /// `start`, `length` and the range they mean: length 0 is "to the end".
    fn lock_range(&mut self) -> Result<(u64, u64, LockRange), ParseError> {
        let (start, length) = (self.u64("start")?, self.u64("length")?);
        let last = match length {
            0 => Some(u64::MAX),
            _ => start.checked_add(length - 1),
        };
        let last = last.ok_or(ParseError::LockRange { start, length })?;
        Ok((start, length, LockRange { first: start, last }))
    }

    fn lock_owner(&mut self) -> Result<LockOwner<'a>, ParseError> {
        let (process, client) = (self.u32("proc_id")?, self.string("client_id")?);
        if client.len() > CLIENT_ID_MAX_BYTES {
            return Err(ParseError::ClientId(client.len()));
        }
        Ok(LockOwner { process, client })
    }
}

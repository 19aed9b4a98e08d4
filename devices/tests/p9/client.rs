//! A small 9P2000.L client: builds messages by hand, so that it shares no code with the server.

use c2w_devices::backend::fs::{Errno, FileSystem};
use c2w_devices::virtio::p9::{Options, Server, State};

pub const NO_FID: u32 = u32::MAX;
pub const RDONLY: u32 = 0;
pub const WRONLY: u32 = 1;
pub const RDWR: u32 = 2;
pub const EXCL: u32 = 0o200;
pub const TRUNC: u32 = 0o1000;
pub const APPEND: u32 = 0o2000;
pub const DIRECTORY: u32 = 0o200_000;

/// Fields of a message or reply.
#[derive(Clone, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn string(self, bytes: &[u8]) -> Self {
        self.u16(bytes.len() as u16).raw(bytes)
    }
}

/// What is left of a reply.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    pub fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take(2).try_into().unwrap())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    pub fn string(&mut self) -> &'a [u8] {
        let count = self.u16();
        self.take(count.into())
    }

    pub fn qid(&mut self) -> (u8, u32, u64) {
        (self.u8(), self.u32(), self.u64())
    }
}

/// What `Rgetattr` told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub qid: (u8, u32, u64),
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u64,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u64,
    pub atime: (u64, u64),
    pub mtime: (u64, u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub qid: (u8, u32, u64),
    pub offset: u64,
    pub kind: u8,
    pub name: Vec<u8>,
}

/// A client with its server.
pub struct Client<F: FileSystem> {
    pub server: Server<F>,
    options: Options,
    buffer: Vec<u8>,
    next_fid: u32,
}

/// The fid that is attached to the root.
pub const ROOT: u32 = 0;

impl<F: FileSystem> Client<F> {
    pub fn new(fs: F, options: Options) -> Self {
        let mut client = Self::unversioned(fs, options);
        client.version(1 << 20).unwrap();
        client.attach(ROOT, b"").unwrap();
        client
    }

    pub fn unversioned(fs: F, options: Options) -> Self {
        let server = Server::new(fs, options).unwrap();
        Client { server, options, buffer: vec![0; 1 << 20], next_fid: 100 }
    }

    pub fn restored(fs: F, options: Options, state: &State) -> Self {
        let server = Server::restore(fs, options, state).unwrap();
        let next_fid = state.fids.iter().map(|fid| fid.fid).max().unwrap_or(0);
        Client { server, options, buffer: vec![0; 1 << 20], next_fid }
    }

    pub fn options(&self) -> Options {
        self.options
    }

    pub fn new_fid(&mut self) -> u32 {
        self.next_fid += 1;
        self.next_fid
    }

    /// Sends a message; the reply's fields, or its error.
    pub fn call(&mut self, kind: u8, fields: Bytes) -> Result<Fields<'_>, Errno> {
        let size = fields.0.len() as u32 + 7;
        let message = Bytes::default().u32(size).u8(kind).u16(77).raw(&fields.0).0;
        let count = self.server.handle(&message, &mut self.buffer);
        let mut reply = Fields(&self.buffer[..count]);
        assert_eq!(reply.u32() as usize, count, "the reply's size field");
        let reply_kind = reply.u8();
        assert_eq!(reply.u16(), 77, "the reply's tag");
        if reply_kind == 7 {
            return Err(Errno(reply.u32()));
        }
        assert_eq!(reply_kind, kind + 1);
        Ok(reply)
    }

    pub fn version(&mut self, msize: u32) -> Result<u32, Errno> {
        let mut reply = self.call(100, Bytes::default().u32(msize).string(b"9P2000.L"))?;
        let msize = reply.u32();
        assert_eq!(reply.string(), b"9P2000.L");
        Ok(msize)
    }

    pub fn attach(&mut self, fid: u32, aname: &[u8]) -> Result<(), Errno> {
        let fields = Bytes::default().u32(fid).u32(NO_FID).string(b"").string(aname).u32(u32::MAX);
        self.call(104, fields).map(|_| ())
    }

    /// Walks from `fid`; succeeds only if every step did.
    pub fn walk_from(&mut self, fid: u32, path: &str) -> Result<u32, Errno> {
        let newfid = self.new_fid();
        let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
        let mut from = fid;
        // At most 16 names fit into a message.
        let mut chunks: Vec<&[&str]> = steps.chunks(16).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        for chunk in chunks {
            let mut fields = Bytes::default().u32(from).u32(newfid).u16(chunk.len() as u16);
            for step in chunk {
                fields = fields.string(step.as_bytes());
            }
            let walked = self.call(110, fields).map(|mut reply| reply.u16())?;
            if usize::from(walked) < chunk.len() {
                if from == newfid {
                    self.clunk(newfid)?;
                }
                // The server says why only for a first step: ask again from where it got to.
                return self.walk_one_by_one(fid, &steps);
            }
            from = newfid;
        }
        Ok(newfid)
    }

    fn walk_one_by_one(&mut self, fid: u32, steps: &[&str]) -> Result<u32, Errno> {
        let mut at = self.walk_from(fid, "")?;
        for step in steps {
            let next = self.walk_from(at, step);
            self.clunk(at)?;
            at = next?;
        }
        Ok(at)
    }

    pub fn walk(&mut self, path: &str) -> Result<u32, Errno> {
        self.walk_from(ROOT, path)
    }

    /// Walks to a path, does something with the fid and clunks it.
    pub fn at<T>(
        &mut self,
        path: &str,
        action: impl FnOnce(&mut Self, u32) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let fid = self.walk(path)?;
        let result = action(self, fid);
        self.clunk(fid)?;
        result
    }

    /// As `at`, with the fid of the directory of `path` and the last name.
    pub fn at_parent<T>(
        &mut self,
        path: &str,
        action: impl FnOnce(&mut Self, u32, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.at(parent, |client, fid| action(client, fid, name.as_bytes()))
    }

    pub fn clunk(&mut self, fid: u32) -> Result<(), Errno> {
        self.call(120, Bytes::default().u32(fid)).map(|_| ())
    }

    pub fn open(&mut self, fid: u32, flags: u32) -> Result<(), Errno> {
        self.call(12, Bytes::default().u32(fid).u32(flags)).map(|_| ())
    }

    pub fn create(&mut self, fid: u32, name: &[u8], flags: u32, mode: u32) -> Result<(), Errno> {
        let fields = Bytes::default().u32(fid).string(name).u32(flags).u32(mode).u32(u32::MAX);
        self.call(14, fields).map(|_| ())
    }

    pub fn read(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<u8>, Errno> {
        let mut reply = self.call(116, Bytes::default().u32(fid).u64(offset).u32(count))?;
        let count = reply.u32();
        assert_eq!(reply.0.len(), count as usize);
        Ok(reply.0.to_vec())
    }

    pub fn write(&mut self, fid: u32, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        let fields = Bytes::default().u32(fid).u64(offset).u32(data.len() as u32).raw(data);
        self.call(118, fields).map(|mut reply| reply.u32())
    }

    pub fn get_attr(&mut self, fid: u32) -> Result<Stat, Errno> {
        let mut reply = self.call(24, Bytes::default().u32(fid).u64(0x7ff))?;
        assert_eq!(reply.u64(), 0x7ff);
        let qid = reply.qid();
        let (mode, uid, gid) = (reply.u32(), reply.u32(), reply.u32());
        let (links, rdev, size, blksize) = (reply.u64(), reply.u64(), reply.u64(), reply.u64());
        reply.u64();
        let (atime, mtime) = ((reply.u64(), reply.u64()), (reply.u64(), reply.u64()));
        reply.take(8 * 6);
        assert!(reply.0.is_empty());
        Ok(Stat { qid, mode, uid, gid, links, rdev, size, blksize, atime, mtime })
    }

    pub fn stat(&mut self, path: &str) -> Result<Stat, Errno> {
        self.at(path, Self::get_attr)
    }

    /// `valid`, mode, uid, gid, size, atime, mtime.
    pub fn set_attr(
        &mut self,
        fid: u32,
        valid: u32,
        [mode, uid, gid]: [u32; 3],
        size: u64,
        times: [(u64, u64); 2],
    ) -> Result<(), Errno> {
        let mut fields = Bytes::default().u32(fid).u32(valid).u32(mode).u32(uid).u32(gid).u64(size);
        for (sec, nsec) in times {
            fields = fields.u64(sec).u64(nsec);
        }
        self.call(26, fields).map(|_| ())
    }

    /// One `Treaddir`.
    pub fn read_dir(&mut self, fid: u32, offset: u64, count: u32) -> Result<Vec<Entry>, Errno> {
        let mut reply = self.call(40, Bytes::default().u32(fid).u64(offset).u32(count))?;
        assert!(reply.u32() <= count);
        let mut entries = Vec::new();
        while !reply.0.is_empty() {
            let (qid, offset, kind) = (reply.qid(), reply.u64(), reply.u8());
            entries.push(Entry { qid, offset, kind, name: reply.string().to_vec() });
        }
        Ok(entries)
    }

    /// All entries of a directory, `.` and `..` too, sorted by name.
    pub fn list(&mut self, path: &str, count: u32) -> Result<Vec<Entry>, Errno> {
        self.at(path, |client, fid| {
            client.open(fid, RDONLY | DIRECTORY)?;
            let mut all = Vec::new();
            let mut offset = 0;
            loop {
                let mut entries = client.read_dir(fid, offset, count)?;
                match entries.last() {
                    Some(last) => offset = last.offset,
                    None => break,
                }
                all.append(&mut entries);
            }
            all.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(all)
        })
    }

    pub fn mkdir(&mut self, fid: u32, name: &[u8], mode: u32) -> Result<(), Errno> {
        self.call(72, Bytes::default().u32(fid).string(name).u32(mode).u32(u32::MAX)).map(|_| ())
    }

    pub fn symlink(&mut self, fid: u32, name: &[u8], target: &[u8]) -> Result<(), Errno> {
        self.call(16, Bytes::default().u32(fid).string(name).string(target).u32(u32::MAX)).map(|_| ())
    }

    pub fn mknod(&mut self, fid: u32, name: &[u8], mode: u32, device: [u32; 2]) -> Result<(), Errno> {
        let fields = Bytes::default().u32(fid).string(name).u32(mode).u32(device[0]).u32(device[1]);
        self.call(18, fields.u32(u32::MAX)).map(|_| ())
    }

    pub fn read_link(&mut self, fid: u32) -> Result<Vec<u8>, Errno> {
        self.call(22, Bytes::default().u32(fid)).map(|mut reply| reply.string().to_vec())
    }

    pub fn link(&mut self, directory: u32, fid: u32, name: &[u8]) -> Result<(), Errno> {
        self.call(70, Bytes::default().u32(directory).u32(fid).string(name)).map(|_| ())
    }

    pub fn rename(&mut self, fid: u32, directory: u32, name: &[u8]) -> Result<(), Errno> {
        self.call(20, Bytes::default().u32(fid).u32(directory).string(name)).map(|_| ())
    }

    pub fn rename_at(&mut self, from: u32, old: &[u8], to: u32, new: &[u8]) -> Result<(), Errno> {
        self.call(74, Bytes::default().u32(from).string(old).u32(to).string(new)).map(|_| ())
    }

    pub fn unlink_at(&mut self, fid: u32, name: &[u8], directory: bool) -> Result<(), Errno> {
        let flags = if directory { 0x200 } else { 0 };
        self.call(76, Bytes::default().u32(fid).string(name).u32(flags)).map(|_| ())
    }

    pub fn remove(&mut self, fid: u32) -> Result<(), Errno> {
        self.call(122, Bytes::default().u32(fid)).map(|_| ())
    }

    /// The value of an extended attribute; of the empty name: the list of names.
    pub fn xattr(&mut self, fid: u32, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let newfid = self.new_fid();
        let size = self.call(30, Bytes::default().u32(fid).u32(newfid).string(name))?.u64();
        let value = self.read(newfid, 0, size as u32 + 1)?;
        assert_eq!(value.len() as u64, size);
        self.clunk(newfid)?;
        Ok(value)
    }

    pub fn set_xattr(&mut self, fid: u32, name: &[u8], value: &[u8], flags: u32) -> Result<(), Errno> {
        let clone = self.walk_from(fid, "")?;
        let size = value.len() as u64;
        let created =
            self.call(32, Bytes::default().u32(clone).string(name).u64(size).u32(flags)).map(|_| ());
        if let Err(errno) = created {
            self.clunk(clone)?;
            return Err(errno);
        }
        for (index, part) in value.chunks(1000).enumerate() {
            assert_eq!(self.write(clone, index as u64 * 1000, part)?, part.len() as u32);
        }
        self.clunk(clone)
    }

    /// Type 0 read, 1 write, 2 none; answers the status.
    pub fn lock(&mut self, fid: u32, kind: u8, start: u64, length: u64, process: u32) -> Result<u8, Errno> {
        let fields = Bytes::default().u32(fid).u8(kind).u32(1).u64(start).u64(length).u32(process);
        self.call(52, fields.string(b"guest")).map(|mut reply| reply.u8())
    }

    /// The type and process of a lock in the way.
    pub fn get_lock(&mut self, fid: u32, kind: u8, process: u32) -> Result<(u8, u64, u64, u32), Errno> {
        let fields = Bytes::default().u32(fid).u8(kind).u64(0).u64(0).u32(process).string(b"guest");
        let mut reply = self.call(54, fields)?;
        Ok((reply.u8(), reply.u64(), reply.u64(), reply.u32()))
    }
}

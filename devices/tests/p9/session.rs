//! What a session is: version, sizes, fids, walks.

use c2w_devices::backend::fs::{Errno, MemoryFs, MemoryLimits};
use c2w_devices::virtio::p9::{Limits, Options};

use crate::client::*;

fn memory() -> MemoryFs {
    MemoryFs::new(MemoryLimits::default())
}

#[test]
fn versions_and_sizes() {
    let mut client = Client::unversioned(memory(), Options::default());
    // Nothing works before a version is agreed on.
    assert_eq!(client.attach(ROOT, b""), Err(Errno::EINVAL));
    for (msize, version, answer) in [
        (8192, &b"9P2000.L"[..], Ok((8192, &b"9P2000.L"[..]))),
        (u32::MAX, b"9P2000.L", Ok((1 << 20, b"9P2000.L"))),
        (8192, b"9P2000", Ok((8192, b"unknown"))),
        (8192, b"9P2000.u", Ok((8192, b"unknown"))),
        (8192, b"", Ok((8192, b"unknown"))),
        (4095, b"9P2000.L", Err(Errno::EMSGSIZE)),
    ] {
        let reply = client.call(100, Bytes::default().u32(msize).string(version));
        assert_eq!(reply.map(|mut reply| (reply.u32(), reply.string())), answer);
    }
    assert_eq!(client.attach(ROOT, b""), Err(Errno::EINVAL));

    client.version(8192).unwrap();
    client.attach(ROOT, b"").unwrap();
    client.create(ROOT, b"a", RDWR, 0o644).unwrap();
    // A message longer than agreed is refused, a reply is never longer.
    assert_eq!(client.write(ROOT, 0, &[1; 8192]), Err(Errno::EMSGSIZE));
    assert_eq!(client.write(ROOT, 0, &[1; 8192 - 23]), Ok(8192 - 23));
    client.write(ROOT, 8000, &[1; 8000]).unwrap();
    assert_eq!(client.read(ROOT, 0, u32::MAX).unwrap().len(), 8192 - 11);

    // A new version ends all fids.
    client.version(8192).unwrap();
    assert_eq!(client.get_attr(ROOT), Err(Errno::EBADF));
    assert_eq!(client.server.file_system().get(b"a").unwrap().len(), 16000);
}

#[test]
fn fids() {
    let mut client = Client::new(memory(), Options::default());
    assert_eq!(client.attach(ROOT, b""), Err(Errno::EINVAL));
    assert_eq!(client.attach(NO_FID, b""), Err(Errno::EINVAL));
    assert_eq!(client.attach(1, b"/a"), Err(Errno::ENOENT));
    client.mkdir(ROOT, b"a", 0o755).unwrap();
    client.attach(1, b"/a").unwrap();
    assert_eq!(client.get_attr(1).unwrap(), client.stat("a").unwrap());
    // With authentication there is no attaching.
    let fields = Bytes::default().u32(3).u32(5).string(b"").string(b"").u32(0);
    assert_eq!(client.call(104, fields).map(|_| ()), Err(Errno::EINVAL));
    let fields = Bytes::default().u32(5).string(b"").string(b"").u32(0);
    assert_eq!(client.call(102, fields).map(|_| ()), Err(Errno::EOPNOTSUPP));
    client.call(108, Bytes::default().u16(76)).map(|_| ()).unwrap();

    let walk = |from: u32, to: u32, names: &[&str]| {
        let fields = Bytes::default().u32(from).u32(to).u16(names.len() as u16);
        names.iter().fold(fields, |fields, name| fields.string(name.as_bytes()))
    };
    client.at("a", |client, fid| client.mkdir(fid, b"b", 0o755)).unwrap();
    // A walk that ends early makes no fid, and says how far it got.
    assert_eq!(client.call(110, walk(ROOT, 7, &["a", "b", "c"])).unwrap().u16(), 2);
    assert_eq!(client.get_attr(7), Err(Errno::EBADF));
    assert_eq!(client.call(110, walk(ROOT, 7, &["c", "b"])).map(|_| ()), Err(Errno::ENOENT));
    // In place.
    assert_eq!(client.call(110, walk(1, 1, &["b"])).unwrap().u16(), 1);
    assert_eq!(client.get_attr(1).unwrap(), client.stat("a/b").unwrap());
    // Onto a fid in use, from one that is not.
    assert_eq!(client.call(110, walk(ROOT, 1, &[])).map(|_| ()), Err(Errno::EINVAL));
    assert_eq!(client.call(110, walk(42, 43, &[])).map(|_| ()), Err(Errno::EBADF));
    assert_eq!(client.call(110, walk(ROOT, 43, &["a"; 17])).map(|_| ()), Err(Errno::EINVAL));
    // An open fid may be copied but not moved.
    client.open(1, RDONLY).unwrap();
    assert_eq!(client.call(110, walk(1, 1, &[])).map(|_| ()), Err(Errno::EINVAL));
    client.call(110, walk(1, 44, &[])).map(|_| ()).unwrap();
    client.open(44, RDONLY).unwrap();
    assert_eq!(client.clunk(45), Err(Errno::EBADF));
}

#[test]
fn extended_attributes_are_set_whole_or_not_at_all() {
    let limits = Limits { xattr_bytes: 70_000, ..Limits::default() };
    let mut client = Client::new(memory(), Options { read_only: false, limits });
    client.mkdir(ROOT, b"a", 0o755).unwrap();
    let create = |fid: u32, size: u64| Bytes::default().u32(fid).string(b"user.x").u64(size).u32(0);
    let a = client.walk("a").unwrap();
    let x = client.walk("a").unwrap();
    assert_eq!(client.call(32, create(x, 65537)).map(|_| ()), Err(Errno::E2BIG));
    client.call(32, create(x, 4)).map(|_| ()).unwrap();
    assert_eq!(client.get_attr(x), Err(Errno::EBADF));
    assert_eq!(client.read(x, 0, 1), Err(Errno::EBADF));
    assert_eq!(client.write(x, 1, b"a"), Err(Errno::EINVAL));
    assert_eq!(client.write(x, 0, b"abcde"), Err(Errno::EINVAL));
    assert_eq!(client.write(x, 0, b"abc"), Ok(3));
    assert_eq!(client.clunk(x), Err(Errno::EINVAL));
    assert_eq!(client.xattr(a, b"user.x"), Err(Errno::ENODATA));

    // The largest, in pieces; and no more of them than the limit allows.
    let value: Vec<u8> = (0..65536u32).map(|byte| byte as u8).collect();
    client.set_xattr(a, b"user.big", &value, 0).unwrap();
    assert_eq!(client.xattr(a, b"user.big").unwrap(), value);
    let (y, z) = (client.walk("a").unwrap(), client.walk("a").unwrap());
    client.call(32, create(y, 65536)).map(|_| ()).unwrap();
    assert_eq!(client.call(32, create(z, 65536)).map(|_| ()), Err(Errno::ENOMEM));
    // Setting nothing of what was announced is no setting.
    assert_eq!(client.remove(y), Err(Errno::EBADF));
    client.call(32, create(z, 65536)).map(|_| ()).unwrap();
}

#[test]
fn reply_buffers_of_any_size() {
    let mut client = Client::new(memory(), Options::default());
    let message = Bytes::default().u32(19).u8(24).u16(1).u32(ROOT).u64(0x7ff).0;
    for len in 0..200 {
        let mut reply = vec![0xaa; len];
        let count = client.server.handle(&message, &mut reply);
        match len {
            0..11 => assert_eq!(count, 0),
            // Rlerror with EMSGSIZE.
            11..160 => assert_eq!(&reply[..count], [11, 0, 0, 0, 7, 1, 0, 90, 0, 0, 0]),
            _ => assert_eq!((count, reply[4]), (160, 25)),
        }
        assert!(reply[count..].iter().all(|&byte| byte == 0xaa || count < 160));
    }
}

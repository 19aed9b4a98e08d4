//! A share is closed: whatever links it holds, whatever others do to it meanwhile, whatever the guest asks for.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use c2w_devices::backend::fs::Errno;
use c2w_devices::backend::fs::native::{NativeError, NativeFs, NativeOptions};
use c2w_devices::virtio::p9::Options;

use crate::client::*;
use crate::native::share;

const SECRET: &[u8] = b"outside";

/// A directory `outside` with a secret, and beside it the directory to be shared.
fn two_directories() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/secret"), SECRET).unwrap();
    let shared = dir.path().join("shared");
    fs::create_dir(&shared).unwrap();
    (dir, shared)
}

#[test]
fn links_are_shown_not_followed() {
    let (dir, shared) = two_directories();
    symlink("/etc/passwd", shared.join("file")).unwrap();
    symlink(dir.path().join("outside"), shared.join("absolute")).unwrap();
    symlink("../outside", shared.join("relative")).unwrap();
    symlink("/proc/self/root", shared.join("magic")).unwrap();
    let mut client = Client::new(share(&shared), Options::default());
    for link in ["file", "absolute", "relative", "magic"] {
        let stat = client.stat(link).unwrap();
        assert_eq!(stat.mode >> 12, 0o12, "{link}");
        let inside = client.walk(&format!("{link}/secret"));
        assert_eq!(inside, Err(Errno::ENOTDIR), "{link}");
        let fid = client.walk(link).unwrap();
        for flags in [RDONLY, WRONLY, RDWR, DIRECTORY, TRUNC | RDWR] {
            assert_eq!(client.open(fid, flags), Err(Errno::ELOOP), "{link}");
        }
        // Creating through a link, making things in it, cutting it.
        let parent = client.walk("").unwrap();
        assert_eq!(client.create(parent, link.as_bytes(), RDWR, 0o644), Err(Errno::ELOOP));
        assert_eq!(client.create(fid, b"new", RDWR, 0o644), Err(Errno::ENOTDIR));
        assert_eq!(client.mkdir(fid, b"new", 0o755), Err(Errno::ENOTDIR));
        assert_eq!(client.unlink_at(fid, b"secret", false), Err(Errno::ENOTDIR));
        assert!(client.set_attr(fid, 8, [0; 3], 0, [(0, 0); 2]).is_err());
        assert_eq!(
            client.attach(9, link.as_bytes()).and(client.walk_from(9, "secret").map(|_| ())),
            Err(Errno::ENOTDIR)
        );
        client.clunk(9).unwrap();
    }
    assert_eq!(fs::read(dir.path().join("outside/secret")).unwrap(), SECRET);
    assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 1);
}

#[test]
fn names_that_are_paths_are_refused() {
    let (_dir, shared) = two_directories();
    let mut client = Client::new(share(&shared), Options::default());
    let long = [b'a'; 256];
    for (name, errno) in [
        (&b"../outside"[..], Errno::EINVAL),
        (b"/etc", Errno::EINVAL),
        (b"a/b", Errno::EINVAL),
        (b".", Errno::EINVAL),
        (b"..", Errno::EINVAL),
        (b"", Errno::ENOENT),
        (b"a\0b", Errno::EINVAL),
        (&long, Errno::ENAMETOOLONG),
    ] {
        let fid = client.walk("").unwrap();
        assert_eq!(client.create(fid, name, RDWR, 0o644), Err(errno));
        assert_eq!(client.mkdir(ROOT, name, 0o755), Err(errno));
        assert_eq!(client.symlink(ROOT, name, b"x"), Err(errno));
        assert_eq!(client.mknod(ROOT, name, 0o010_644, [0, 0]), Err(errno));
        assert_eq!(client.link(ROOT, fid, name), Err(errno));
        assert_eq!(client.rename(fid, ROOT, name), Err(errno));
        assert_eq!(client.rename_at(ROOT, name, ROOT, b"x"), Err(errno));
        assert_eq!(client.rename_at(ROOT, b"x", ROOT, name), Err(errno));
        assert_eq!(client.unlink_at(ROOT, name, true), Err(errno));
        if name != b".." {
            let fields = Bytes::default().u32(ROOT).u32(5).u16(1).string(name);
            assert_eq!(client.call(110, fields).map(|_| ()), Err(errno));
        }
    }
    assert_eq!(client.attach(8, b"../outside"), Err(Errno::EINVAL));
    assert_eq!(fs::read_dir(&shared).unwrap().count(), 0);
}

#[test]
fn up_stays_inside_even_when_the_host_moves_directories() {
    let (dir, shared) = two_directories();
    fs::create_dir_all(shared.join("a/b")).unwrap();
    let mut client = Client::new(share(&shared), Options::default());
    let fid = client.walk("a/b").unwrap();
    fs::rename(shared.join("a/b"), dir.path().join("outside/b")).unwrap();
    // Above it is, for the guest, the place it came from.
    let up = client.walk_from(fid, "..").unwrap();
    assert_eq!(client.get_attr(up).unwrap(), client.stat("a").unwrap());
    assert_eq!(client.walk_from(fid, "../../.."), client.walk("").map(|fid| fid - 1));
    let escaped = client.walk_from(fid, "../secret");
    assert_eq!(escaped, Err(Errno::ENOENT));
    let root = client.walk("../../../../..").unwrap();
    assert_eq!(client.get_attr(root).unwrap(), client.get_attr(ROOT).unwrap());
    // The list of the root does not tell the number of the directory above it.
    let list = client.list("", 8000).unwrap();
    let root_qid = client.get_attr(ROOT).unwrap().qid.2;
    assert!(list.iter().filter(|entry| entry.name.starts_with(b".")).all(|entry| entry.qid.2 == root_qid));
}

/// Another program swaps a directory for a link to the outside, over and over, while the guest goes in.
#[test]
fn swapping_a_directory_for_a_link_gains_nothing() {
    let (dir, shared) = two_directories();
    fs::create_dir(shared.join("d")).unwrap();
    fs::write(shared.join("d/secret"), b"inside!").unwrap();
    symlink(dir.path().join("outside"), shared.join("link")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let [d, link, spare] = ["d", "link", "spare"].map(|name| shared.join(name));
            while !done.load(Ordering::Relaxed) {
                fs::rename(&d, &spare).unwrap();
                fs::rename(&link, &d).unwrap();
                fs::rename(&d, &link).unwrap();
                fs::rename(&spare, &d).unwrap();
            }
        });
        let mut client = Client::new(share(&shared), Options::default());
        let (mut inside, mut failed) = (0, 0);
        for _ in 0..20_000 {
            let read = client.walk("d/secret").and_then(|fid| {
                let read = client.open(fid, RDONLY).and_then(|()| client.read(fid, 0, 100));
                client.clunk(fid)?;
                read
            });
            match read {
                Ok(bytes) => {
                    assert_eq!(bytes, b"inside!");
                    inside += 1;
                }
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE) => failed += 1,
                Err(other) => panic!("{other}"),
            }
            let fid = client.walk("").unwrap();
            // When the name is free for a moment a file is made; the other program replaces it.
            if let Err(errno) = client.create(fid, b"link", WRONLY | TRUNC, 0o600) {
                assert!([Errno::ELOOP, Errno::ENOENT].contains(&errno), "{errno}");
            }
            client.clunk(fid).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(inside + failed, 20_000);
    });
    assert_eq!(fs::read(dir.path().join("outside/secret")).unwrap(), SECRET);
    assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 1);
}

#[test]
fn special_files_are_never_opened() {
    let (_dir, shared) = two_directories();
    let mut client = Client::new(share(&shared), Options::default());
    client.mknod(ROOT, b"pipe", 0o010_644, [0, 0]).unwrap();
    let fid = client.walk("pipe").unwrap();
    // With a pipe this would wait for a writer.
    for flags in [RDONLY, WRONLY, RDWR, TRUNC | WRONLY] {
        assert_eq!(client.open(fid, flags), Err(Errno::ENXIO));
    }
    assert_eq!(client.set_attr(fid, 8, [0; 3], 0, [(0, 0); 2]), Err(Errno::EINVAL));
    assert_eq!(client.lock(fid, 1, 0, 0, 1), Err(Errno::EBADF));
}

#[test]
fn a_read_only_share_does_not_change() {
    let (_dir, shared) = two_directories();
    fs::write(shared.join("a"), "abc").unwrap();
    fs::create_dir(shared.join("d")).unwrap();
    let options = Options { read_only: true, ..Options::default() };
    let mut client = Client::new(share(&shared), options);
    let fid = client.walk("a").unwrap();
    const EROFS: Result<(), Errno> = Err(Errno::EROFS);
    for flags in [WRONLY, RDWR, RDONLY | TRUNC] {
        assert_eq!(client.open(fid, flags), EROFS);
    }
    let root = client.walk("").unwrap();
    assert_eq!(client.create(root, b"new", RDONLY, 0o644), EROFS);
    assert_eq!(client.mkdir(ROOT, b"new", 0o755), EROFS);
    assert_eq!(client.symlink(ROOT, b"new", b"a"), EROFS);
    assert_eq!(client.mknod(ROOT, b"new", 0o010_644, [0, 0]), EROFS);
    assert_eq!(client.link(ROOT, fid, b"new"), EROFS);
    assert_eq!(client.rename(fid, ROOT, b"new"), EROFS);
    assert_eq!(client.rename_at(ROOT, b"a", ROOT, b"new"), EROFS);
    assert_eq!(client.unlink_at(ROOT, b"a", false), EROFS);
    assert_eq!(client.unlink_at(ROOT, b"d", true), EROFS);
    assert_eq!(client.set_attr(fid, 1, [0o600, 0, 0], 0, [(0, 0); 2]), EROFS);
    assert_eq!(client.set_xattr(fid, b"user.x", b"1", 0), EROFS);
    assert_eq!(client.write(fid, 0, b"x").map(|_| ()), EROFS);
    let doomed = client.walk("a").unwrap();
    assert_eq!(client.remove(doomed), EROFS);
    assert_eq!(client.get_attr(doomed), Err(Errno::EBADF));

    client.open(fid, RDONLY).unwrap();
    assert_eq!(client.read(fid, 0, 9).unwrap(), b"abc");
    assert_eq!(client.lock(fid, 0, 0, 0, 1), Ok(0));
    assert_eq!(client.list("", 8000).unwrap().len(), 4);
}

#[test]
fn a_shared_file_has_no_neighbours() {
    let (_dir, shared) = two_directories();
    fs::write(shared.join("file"), "abc").unwrap();
    fs::write(shared.join("neighbour"), "secret").unwrap();
    fs::create_dir(shared.join("directory")).unwrap();
    symlink("file", shared.join("link")).unwrap();
    let fs_of = |name: &str| NativeFs::new_file(&shared.join(name), NativeOptions::default());
    for (name, errno) in [("directory", 22), ("missing", 2)] {
        let NativeError::File(found) = fs_of(name).unwrap_err() else { panic!("{name}") };
        assert_eq!(found.raw_os_error(), errno, "{name}");
    }
    // A link in the path is followed once, by the host.
    let mut client = Client::new(fs_of("link").unwrap(), Options::default());
    let names = |client: &mut Client<NativeFs>| -> Vec<Vec<u8>> {
        client.list("", 28).unwrap().into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names(&mut client), [&b"."[..], b"..", b"file"]);
    for name in ["neighbour", "directory", "link", "missing"] {
        assert_eq!(client.walk(name), Err(Errno::ENOENT), "{name}");
        let fid = client.walk("").unwrap();
        assert_eq!(client.create(fid, name.as_bytes(), RDWR, 0o644), Err(Errno::EPERM));
        assert_eq!(client.mkdir(ROOT, name.as_bytes(), 0o755), Err(Errno::EPERM));
        assert_eq!(client.mknod(ROOT, name.as_bytes(), 0o010_644, [0, 0]), Err(Errno::EPERM));
        assert_eq!(client.symlink(ROOT, name.as_bytes(), b"x"), Err(Errno::EPERM));
        assert_eq!(client.unlink_at(ROOT, name.as_bytes(), false), Err(Errno::EPERM));
        assert_eq!(client.rename_at(ROOT, name.as_bytes(), ROOT, b"file"), Err(Errno::EPERM));
        assert_eq!(client.rename_at(ROOT, b"file", ROOT, name.as_bytes()), Err(Errno::EPERM));
        assert_eq!(
            client.at("file", |client, fid| client.link(ROOT, fid, name.as_bytes())),
            Err(Errno::EPERM)
        );
        assert_eq!(
            client.at("file", |client, fid| client.rename(fid, ROOT, name.as_bytes())),
            Err(Errno::EPERM)
        );
    }
    assert_eq!(client.unlink_at(ROOT, b"file", false), Err(Errno::EPERM));
    assert_eq!(client.set_attr(ROOT, 1, [0o777, 0, 0], 0, [(0, 0); 2]), Err(Errno::EPERM));
    assert_eq!(client.set_xattr(ROOT, b"user.x", b"1", 0), Err(Errno::EPERM));

    // The file itself may be used in every way.
    let fid = client.walk("").unwrap();
    client.create(fid, b"file", RDWR | TRUNC, 0o644).unwrap();
    assert_eq!(client.write(fid, 0, b"new"), Ok(3));
    client.set_attr(fid, 1, [0o600, 0, 0], 0, [(0, 0); 2]).unwrap();
    client.set_xattr(fid, b"user.x", b"1", 0).unwrap();
    assert_eq!(fs::read(shared.join("file")).unwrap(), b"new");
    // So is one that takes its place; when there is none there is no entry.
    fs::rename(shared.join("neighbour"), shared.join("file")).unwrap();
    assert_eq!(client.stat("file").unwrap().size, 6);
    fs::remove_file(shared.join("file")).unwrap();
    assert_eq!(names(&mut client), [&b"."[..], b".."]);
    assert_eq!(client.read(fid, 0, 9).unwrap(), b"new");
}

//! The native back end: the same cases, each compared with what the host sees, and what only a host can do.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use c2w_devices::backend::fs::native::{NativeFs, NativeOptions, Ownership};
use c2w_devices::backend::fs::{Errno, FileSystem};
use c2w_devices::virtio::p9::{Limits, Options, Purpose, RestoreError, Server};

use crate::client::*;
use crate::script;

/// Ids as they are, so that they can be compared.
pub fn share(directory: &Path) -> NativeFs {
    let options = NativeOptions { ownership: Ownership::Passthrough, device_nodes: false };
    NativeFs::new(directory, options).unwrap()
}

struct NativeTree(tempfile::TempDir);

impl script::Tree for NativeTree {
    type Fs = NativeFs;

    fn open(&self) -> NativeFs {
        share(self.0.path())
    }

    fn check(&self, client: &mut Client<NativeFs>) {
        let (mut guest, mut host) = (BTreeMap::new(), BTreeMap::new());
        guest_view(client, "", &mut guest);
        host_view(self.0.path(), "", &mut host);
        assert_eq!(guest, host);
    }
}

/// One line for each file below a path: attributes, and contents or target.
fn guest_view<F: FileSystem>(client: &mut Client<F>, path: &str, view: &mut BTreeMap<String, String>) {
    for entry in client.list(path, 8000).unwrap() {
        let Ok(name) = String::from_utf8(entry.name) else { panic!("cases have plain names") };
        if name == "." || name == ".." {
            continue;
        }
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let stat = client.stat(&path).unwrap();
        assert_eq!(u32::from(entry.kind), stat.mode >> 12);
        assert_eq!(entry.qid.2, stat.qid.2);
        let body = match stat.mode >> 12 {
            0o10 => client.at(&path, |client, fid| {
                // Files that the case made unreadable still have a size.
                client.open(fid, RDONLY).and_then(|()| client.read(fid, 0, 10_000))
            }),
            0o12 => client.at(&path, Client::read_link),
            _ => Ok(Vec::new()),
        };
        let text = format!(
            "{:o} {}:{} links={} size={} {}.{} {:?}",
            stat.mode,
            stat.uid,
            stat.gid,
            stat.links,
            stat.size,
            stat.mtime.0,
            stat.mtime.1,
            body.unwrap_or_default()
        );
        view.insert(path.clone(), text);
        if stat.mode >> 12 == 4 {
            guest_view(client, &path, view);
        }
    }
}

fn host_view(root: &Path, path: &str, view: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(path)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let full = root.join(&path);
        let meta = fs::symlink_metadata(&full).unwrap();
        let body = if meta.is_file() {
            fs::read(&full).unwrap_or_default()
        } else if meta.is_symlink() {
            fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
        } else {
            Vec::new()
        };
        let text = format!(
            "{:o} {}:{} links={} size={} {}.{} {body:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.nlink(),
            meta.len(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        view.insert(path.clone(), text);
        if meta.is_dir() {
            host_view(root, &path, view);
        }
    }
}

#[test]
fn cases_on_the_host() {
    script::run_all(crate::CASES, || NativeTree(tempfile::tempdir().unwrap()));
}

/// Every handle is closed as soon as it is not in use: fids have to find their files by name again and again.
#[test]
fn few_handles_suffice() {
    const FILES: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
    let mut options = Options::default();
    options.limits.handles = 1;
    let mut client = Client::new(share(dir.path()), options);
    let mut fids = Vec::new();
    for index in 0..FILES {
        fs::write(dir.path().join(format!("a/b/c/{index}")), format!("{index}")).unwrap();
        fids.push(client.walk(&format!("a/b/c/{index}")).unwrap());
    }
    let open_handles = fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open_handles < FILES, "{open_handles} handles, those of other tests among them");
    let directory = client.walk("a/b").unwrap();
    client.at_parent("a/b", |client, a, name| client.rename_at(a, name, ROOT, b"moved")).unwrap();
    for (index, &fid) in fids.iter().enumerate() {
        assert_eq!(client.get_attr(fid).unwrap().size, format!("{index}").len() as u64);
        client.open(fid, RDONLY).unwrap();
        assert_eq!(client.read(fid, 0, 10).unwrap(), format!("{index}").as_bytes());
        client.clunk(fid).unwrap();
    }
    assert_eq!(client.get_attr(directory).unwrap(), client.stat("moved").unwrap());
    // A different file under the same name is not taken for the one that was meant.
    let fid = client.walk("moved/c/7x").err();
    assert_eq!(fid, Some(Errno::ENOENT));
}

#[test]
fn what_the_host_replaces_while_no_handle_is_open_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "old").unwrap();
    let mut client = Client::new(share(dir.path()), Options::default());
    let fid = client.walk("a").unwrap();
    client.open(fid, RDONLY).unwrap();
    let walked = client.walk("a").unwrap();

    let state = client.server.save();
    let text = serde_json::to_string(&state).unwrap();
    let state = serde_json::from_str(&text).unwrap();
    fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
    let mut client = Client::restored(share(dir.path()), Options::default(), &state);
    assert_eq!(client.read(fid, 0, 9), Err(Errno::ESTALE));
    assert_eq!(client.get_attr(walked), Err(Errno::ESTALE));
    client.clunk(fid).unwrap();
    client.clunk(walked).unwrap();
    assert_eq!(client.stat("b").unwrap().size, 3);
}

#[test]
fn a_forged_state_cuts_no_file_of_a_read_only_share() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "kept").unwrap();
    let mut client = Client::new(share(dir.path()), Options::default());
    let fid = client.walk("a").unwrap();
    client.open(fid, RDONLY).unwrap();
    let mut state = client.server.save();
    for saved in &mut state.fids {
        if let Purpose::Open(flags) = &mut saved.purpose {
            flags.truncate = true;
        }
    }
    let options = Options { read_only: true, ..Options::default() };
    if let Ok(mut server) = Server::restore(share(dir.path()), options, &state) {
        let mut reply = [0; 64];
        // Tread of the fid, which opens the file again.
        let read = [&[23, 0, 0, 0, 116, 0, 0][..], &fid.to_le_bytes(), &[0; 8], &[9, 0, 0, 0]].concat();
        server.handle(&read, &mut reply);
    }
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"kept");
    assert_eq!(Server::restore(share(dir.path()), options, &state).err(), Some(RestoreError::Fid(fid)));
}

#[test]
fn a_large_directory_can_be_removed_while_it_is_listed() {
    const FILES: usize = 10_000;
    let dir = tempfile::tempdir().unwrap();
    for index in 0..FILES {
        fs::write(dir.path().join(format!("file-{index:05}")), "").unwrap();
    }
    let mut client = Client::new(share(dir.path()), Options::default());
    assert_eq!(client.list("", 8192).unwrap().len(), FILES + 2);

    // What rm does: list some, remove them, go on from where the list stopped.
    let fid = client.walk("").unwrap();
    client.open(fid, RDONLY | DIRECTORY).unwrap();
    let (mut offset, mut removed) = (0, 0);
    loop {
        let entries = client.read_dir(fid, offset, 8192).unwrap();
        let Some(last) = entries.last() else { break };
        offset = last.offset;
        for entry in entries.iter().filter(|entry| !entry.name.starts_with(b".")) {
            client.unlink_at(ROOT, &entry.name, false).unwrap();
            removed += 1;
        }
    }
    assert_eq!(removed, FILES);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Every offset that the host gave is good for going back to.
#[test]
fn listing_can_start_at_any_entry() {
    let dir = tempfile::tempdir().unwrap();
    for index in 0..200 {
        fs::write(dir.path().join(format!("{index}")), "").unwrap();
    }
    let mut client = Client::new(share(dir.path()), Options::default());
    let fid = client.walk("").unwrap();
    client.open(fid, RDONLY).unwrap();
    let all = client.read_dir(fid, 0, 100_000).unwrap();
    assert_eq!(all.len(), 202);
    for index in [0, 1, 57, 200, 201] {
        let rest = client.read_dir(fid, all[index].offset, 100_000).unwrap();
        assert_eq!(rest, all[index + 1..]);
    }
    // Room for one entry at a time, and for none.
    let mut offset = 0;
    for entry in &all {
        let one = client.read_dir(fid, offset, 24 + entry.name.len() as u32).unwrap();
        assert_eq!(one, std::slice::from_ref(entry));
        offset = entry.offset;
    }
    assert_eq!(client.read_dir(fid, 0, 10), Err(Errno::EINVAL));
}

#[test]
fn locks_keep_other_programs_out_and_are_kept_out_by_them() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "0123456789").unwrap();
    // Two guests that share a directory stand for any two programs.
    let mut one = Client::new(share(dir.path()), Options::default());
    let mut two = Client::new(share(dir.path()), Options::default());
    let fid = |client: &mut Client<NativeFs>| {
        let fid = client.walk("a").unwrap();
        client.open(fid, RDWR).unwrap();
        fid
    };
    let (a, b) = (fid(&mut one), fid(&mut two));
    const OK: u8 = 0;
    const BLOCKED: u8 = 1;
    assert_eq!(one.lock(a, 1, 0, 5, 1), Ok(OK));
    assert_eq!(two.lock(b, 0, 4, 1, 1), Ok(BLOCKED));
    assert_eq!(two.lock(b, 1, 5, 0, 1), Ok(OK));
    assert_eq!(one.lock(a, 0, 9, 1, 1), Ok(BLOCKED));
    assert_eq!(one.lock(a, 2, 0, 2, 1), Ok(OK));
    assert_eq!(two.lock(b, 1, 0, 2, 1), Ok(OK));
    assert_eq!(two.lock(b, 1, 2, 1, 1), Ok(BLOCKED));
    one.clunk(a).unwrap();
    assert_eq!(two.lock(b, 1, 0, 0, 1), Ok(OK));
}

#[test]
fn a_share_says_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.as_path(), &dir.path().join("missing")] {
        let error = NativeFs::new(path, NativeOptions::default()).unwrap_err();
        assert!(error.to_string().starts_with("cannot open the directory"), "{error}");
    }
}

#[test]
fn devices_are_made_only_if_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let mut client = Client::new(share(dir.path()), Options::default());
    assert_eq!(client.mknod(ROOT, b"null", 0o020_666, [1, 3]), Err(Errno::EPERM));
    let options = NativeOptions { ownership: Ownership::Passthrough, device_nodes: true };
    let mut client = Client::new(NativeFs::new(dir.path(), options).unwrap(), Options::default());
    // Only root may, and not in every sandbox.
    if client.mknod(ROOT, b"null", 0o020_666, [1, 3]).is_ok() {
        let meta = fs::metadata(dir.path().join("null")).unwrap();
        assert!(meta.file_type().is_char_device());
        assert_eq!(meta.permissions().mode() & 0o7777, 0o666);
        assert_eq!(client.stat("null").unwrap().rdev, meta.rdev());
        client.at("null", |client, fid| client.open(fid, RDONLY)).unwrap_err();
    }
}

#[test]
fn the_servers_user_is_root_in_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let options = NativeOptions { ownership: Ownership::ServerIsRoot, device_nodes: false };
    let mut client = Client::new(NativeFs::new(dir.path(), options).unwrap(), Options::default());
    let fid = client.walk("").unwrap();
    client.create(fid, b"a", RDWR, 0o644).unwrap();
    let stat = client.get_attr(fid).unwrap();
    assert_eq!((stat.uid, stat.gid), (0, 0));
    // To its own numbers it may change anything.
    client.set_attr(fid, 2 | 4, [0, 0, 0], 0, [(0, 0); 2]).unwrap();
    let meta = fs::metadata(dir.path().join("a")).unwrap();
    assert_eq!(meta.uid(), fs::metadata(dir.path()).unwrap().uid());
    assert_eq!(client.set_attr(fid, 2, [0, u32::MAX, 0], 0, [(0, 0); 2]), Err(Errno::EINVAL));
}

#[test]
fn a_guest_that_opens_too_much_gets_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "").unwrap();
    let limits = Limits { open_files: 3, fids: 6, ..Limits::default() };
    let mut client = Client::new(share(dir.path()), Options { read_only: false, limits });
    let fids: Vec<u32> = (0..4).map(|_| client.walk("a").unwrap()).collect();
    for &fid in &fids[..3] {
        client.open(fid, RDONLY).unwrap();
    }
    assert_eq!(client.open(fids[3], RDONLY), Err(Errno::EMFILE));
    client.clunk(fids[0]).unwrap();
    client.open(fids[3], RDONLY).unwrap();
    client.walk("a").unwrap();
    client.walk("a").unwrap();
    assert_eq!(client.walk("a"), Err(Errno::ENFILE));
}

/// As with a container's bind mount: what a guest's user makes is that user's, if the server may give files away.
#[test]
fn files_belong_to_the_user_who_made_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut client = Client::new(share(dir.path()), Options::default());
    let server = fs::metadata(dir.path()).unwrap().uid();
    let fields = Bytes::default().u32(50).u32(NO_FID).string(b"").string(b"").u32(1234);
    client.call(104, fields).map(|_| ()).unwrap();
    client.mkdir(50, b"directory", 0o750).unwrap();
    client.symlink(50, b"link", b"target").unwrap();
    let fid = client.walk_from(50, "").unwrap();
    let create = Bytes::default().u32(fid).string(b"file").u32(RDWR).u32(0o4755).u32(5678);
    client.call(14, create).map(|_| ()).unwrap();
    for name in ["directory", "link", "file"] {
        let meta = fs::symlink_metadata(dir.path().join(name)).unwrap();
        assert_eq!(meta.uid(), if server == 0 { 1234 } else { server }, "{name}");
        if name == "file" {
            assert_eq!(meta.mode(), 0o104_755);
            assert!(server != 0 || meta.gid() == 5678);
        }
    }
    let changed = client.set_attr(fid, 2 | 4, [0, 4321, 8765], 0, [(0, 0); 2]);
    if server == 0 {
        let meta = fs::metadata(dir.path().join("file")).unwrap();
        assert_eq!((changed, meta.uid(), meta.gid()), (Ok(()), 4321, 8765));
    } else {
        assert_eq!(changed, Err(Errno::EPERM));
    }
}

//! Files out of an image: onto the host, and into an archive. What comes out is read back in and must
//! be the same.

mod common;

use c2w_packer::rootfs::erofs::Reader;
use c2w_packer::rootfs::tar::{TarOptions, apply_tar, write_tar};
use c2w_packer::rootfs::{ExtractError, Extracted, extract};
use common::{Archive, Listing, assert_same, build, image_of, list, list_directory};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use tempfile::tempdir;

/// Everything an image can hold, but devices.
fn archive() -> Archive {
    let mut owned = Archive::header(b'0', b"d/owned", b"");
    owned.set_mode(0o6755);
    owned.set_uid(1234);
    owned.set_gid(3_000_000);
    let mut sticky = Archive::header(b'5', b"d", b"");
    sticky.set_mode(0o1555);
    let long = "n".repeat(250);
    let deep = [&"p".repeat(60)[..]; 5].join("/");
    let target = "t".repeat(300);
    Archive::new()
        .append(sticky, b"")
        .append(owned, &[7; 10_000])
        .pax(&[("mtime", b"-1.5"), ("SCHILY.xattr.user.note", b"a\0b")])
        .file("d/file", "x")
        .hard_link("d/other", "d/file")
        .symlink("link", "/etc/passwd")
        .append(Archive::header(b'6', b"pipe", b""), b"")
        .append(Archive::header(b'0', b"latin-\xe9", b""), b"")
        .pax(&[("path", long.as_bytes()), ("mtime", b"1600000000.123456789")])
        .file("short", "")
        .pax(&[("path", deep.as_bytes()), ("linkpath", target.as_bytes())])
        .symlink("short", "x")
        .file("zeros", &"\0".repeat(100_000))
}

fn extract_all(image: &[u8], path: &str, into: &Path) -> Result<Extracted, ExtractError> {
    let reader = Reader::open(image).unwrap();
    let start = reader.lookup(path.as_bytes()).unwrap().unwrap();
    extract(&reader, start, b"name", into)
}

#[test]
fn an_archive_of_an_image_gives_the_image_again() {
    let mut device = Archive::header(b'4', b"disk", b"");
    device.set_device_major(8).unwrap();
    device.set_device_minor(70_000).unwrap();
    let first = image_of(&archive().append(device, b"").finish()).unwrap();
    let reader = Reader::open(&first[..]).unwrap();
    let mut tar = Vec::new();
    assert_eq!(write_tar(&reader, &mut tar).unwrap(), 0);
    let again =
        build(|tree, store| apply_tar(tree, store, &tar[..], TarOptions::default()).map(drop)).unwrap();
    assert_eq!(list(&again), list(&first));
    // An independent reader finds the same names.
    let mut names: Vec<Vec<u8>> = tar::Archive::new(&tar[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path_bytes().into_owned())
        .map(|name| name.strip_suffix(b"/").unwrap_or(&name).to_vec())
        .filter(|name| name != b".")
        .collect();
    names.sort();
    assert_eq!(names, list(&first).into_keys().collect::<Vec<_>>());
}

#[test]
fn extracted_files_give_the_image_again() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let directory = tempdir().unwrap();
    let image = image_of(&archive().finish()).unwrap();
    let extracted = extract_all(&image, "/", directory.path()).unwrap();
    assert_eq!(extracted.warnings, [""; 0]);
    assert_eq!(extracted.files, list(&image).len() as u64 + 1);
    assert_same(&list_directory(directory.path()), &list(&image));
    let zeros = fs::metadata(directory.path().join("zeros")).unwrap();
    assert!(zeros.len() == 100_000 && zeros.blocks() < 16, "{} blocks", zeros.blocks());
    // Once more over what is there.
    extract_all(&image, "/", directory.path()).unwrap();
    assert_same(&list_directory(directory.path()), &list(&image));
}

/// Runs the test called `name` as a user without privileges; returns whether that is done.
fn done_without_privileges(name: &str) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let directory = tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // Where the program is may be closed to others.
    let program = directory.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", name]).env("TMPDIR", directory.path()).current_dir(directory.path());
    let status = command.uid(65534).gid(65534).status().unwrap();
    assert!(status.success());
    true
}

#[test]
fn without_privileges_the_rest_is_extracted() {
    if done_without_privileges("without_privileges_the_rest_is_extracted") {
        return;
    }
    let directory = tempdir().unwrap();
    let mut device = Archive::header(b'3', b"null", b"");
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    let image = image_of(&archive().append(device, b"").finish()).unwrap();
    let extracted = extract_all(&image, "/", directory.path()).unwrap();
    let expected = list(&image);
    assert_eq!(
        extracted.warnings,
        ["device nodes not made: only root may (1)", "owners not kept: only root may give files away (11)"]
    );
    let found = list_directory(directory.path());
    let names =
        |listing: &Listing| listing.keys().filter(|name| *name != b"null").cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (path, found) in &found {
        let expected = &expected[path];
        assert_eq!((&found.content, found.mtime), (&expected.content, expected.mtime));
        assert_eq!((found.nlink, &found.first_name), (expected.nlink, &expected.first_name));
    }
    // A program is not to run as whoever extracted it.
    assert_eq!(found[&b"d/owned"[..]].mode, 0o755);
    assert_eq!(found[&b"d"[..]].mode, 0o1555);
}

#[test]
fn one_file_or_one_directory() {
    let directory = tempdir().unwrap();
    let image =
        image_of(&Archive::new().directory("d").file("d/f", "x").symlink("l", "d/f").finish()).unwrap();
    for (path, expected) in [("d", "f"), ("/d/f", "name"), ("l", "name")] {
        let into = directory.path().join(path.replace('/', "-"));
        extract_all(&image, path, &into).unwrap();
        assert_eq!(fs::read_to_string(into.join(expected)).unwrap(), "x", "{path}");
    }
}

#[test]
fn nothing_is_made_outside() {
    let directory = tempdir().unwrap();
    let (into, outside) = (directory.path().join("into"), directory.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    // Links that are there already, and a file that is another name of one outside.
    fs::create_dir(&into).unwrap();
    symlink(&outside, into.join("d")).unwrap();
    symlink(outside.join("kept"), into.join("f")).unwrap();
    fs::hard_link(outside.join("kept"), into.join("h")).unwrap();
    let file = |name: &str| image_of(&Archive::new().file(name, "new").finish()).unwrap();
    for name in ["f", "h"] {
        extract_all(&file(name), "/", &into).unwrap();
        assert_eq!(fs::read_to_string(into.join(name)).unwrap(), "new");
    }
    let error = extract_all(&file("d/x"), "/", &into).unwrap_err().to_string();
    assert!(error.starts_with("d: "), "{error}");
    fs::remove_file(into.join("d")).unwrap();
    fs::create_dir(into.join("d")).unwrap();
    let error = extract_all(&file("d"), "/", &into).unwrap_err().to_string();
    assert!(error.starts_with("d: Is a directory"), "{error}");
    // A link of the image itself: what is below it in the image cannot be, so nothing leads through it.
    let image = image_of(&Archive::new().symlink("l", "../outside").directory("m").file("m/x", "1").finish());
    extract_all(&image.unwrap(), "/", &into).unwrap();
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

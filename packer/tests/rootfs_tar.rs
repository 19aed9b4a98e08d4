//! Tar archives, good and hostile, become the tree that extracting them in an empty chroot would
//! give, or one clear error.

mod common;

use c2w_packer::rootfs::Time;
use c2w_packer::rootfs::erofs::EntryKind;
use common::{Archive, image_of, image_of_layers, list, outline};

/// The outline of an archive's image, or the error's one line.
fn outcome(archive: Vec<u8>) -> String {
    match image_of(&archive) {
        Ok(image) => outline(&image),
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n'), "{line}");
            format!("error: {line}")
        }
    }
}

#[test]
fn names_are_resolved_inside_the_tree() {
    let new = Archive::new;
    let long = "n".repeat(100);
    for (case, archive, expected) in [
        ("plain", new().directory("a/").file("a/b", "x"), "d a\nf a/b x"),
        ("leading ./", new().directory("./").file("./a", "x"), "f a x"),
        ("implied directories", new().file("a/b/c", "x"), "d a\nd a/b\nf a/b/c x"),
        ("absolute", new().file("/etc/passwd", "x"), "d etc\nf etc/passwd x"),
        ("dots above the root", new().file("../../etc/x", "x"), "d etc\nf etc/x x"),
        ("dots within", new().directory("a").file("a/b/../../c", "x"), "d a\nd a/b\nf c x"),
        ("slashes", new().file("a//b///c", "x"), "d a\nd a/b\nf a/b/c x"),
        ("last wins", new().file("a", "1").file("a", "2"), "f a 2"),
        ("file over directory", new().file("a/b", "1").file("a", "2"), "f a 2"),
        ("directory over file", new().file("a", "1").directory("a"), "d a"),
        ("directory over directory", new().file("a/b", "1").directory("a"), "d a\nf a/b 1"),
        (
            "through a link",
            new().directory("usr/lib").symlink("lib", "usr/lib").file("lib/x", "1"),
            "l lib -> usr/lib\nd usr\nd usr/lib\nf usr/lib/x 1",
        ),
        (
            "through an absolute link",
            new().directory("a").symlink("b", "/a").file("b/x", "1"),
            "d a\nf a/x 1\nl b -> /a",
        ),
        (
            "through a link that points out",
            new().symlink("out", "../../../../etc").file("out/passwd", "1"),
            "d etc\nf etc/passwd 1\nl out -> ../../../../etc",
        ),
        ("a link is replaced, not followed", new().symlink("a", "/etc/passwd").file("a", "1"), "f a 1"),
        (
            "a link to a directory is replaced by a directory",
            new().directory("b").symlink("a", "b").directory("a").file("a/x", "1"),
            "d a\nf a/x 1\nd b",
        ),
        (
            "hard links",
            new().file("a", "1").hard_link("b", "a").hard_link("c", "/./b"),
            "f a 1\nf b 1\nf c 1",
        ),
        (
            "hard link through a link",
            new().file("d/a", "1").symlink("e", "d").hard_link("b", "e/a"),
            "f b 1\nd d\nf d/a 1\nl e -> d",
        ),
        (
            "hard link to a link",
            new().symlink("a", "nowhere").hard_link("b", "a"),
            "l a -> nowhere\nl b -> nowhere",
        ),
        ("hard link to itself", new().file("a", "1").hard_link("a", "a"), "f a 1"),
        (
            "the root as a file",
            new().file("/", "x"),
            "error: entry /: the path has no name of its own, which only a directory may do",
        ),
        (
            "the root as a link",
            new().symlink("./..", "x"),
            "error: entry ./..: the path has no name of its own, which only a directory may do",
        ),
        (
            "no name",
            new().file("", "x"),
            "error: entry : the path has no name of its own, which only a directory may do",
        ),
        (
            "below a file",
            new().file("a", "1").file("a/b", "2"),
            "error: entry a/b: the path leads through a, which is not a directory",
        ),
        (
            "a loop",
            new().symlink("a", "b").symlink("b", "a").file("a/x", "1"),
            "error: entry a/x: the path leads through too many symbolic links",
        ),
        (
            "a link to nowhere",
            new().hard_link("a", "b"),
            "error: entry a: hard link to b, which is not there",
        ),
        (
            "a hard link to a directory",
            new().directory("b").hard_link("a", "b"),
            "error: entry a: hard link to b, which is a directory",
        ),
        (
            "an empty target",
            new().symlink("a", ""),
            "error: entry a: a symbolic link's target must have 1 to 4095 bytes",
        ),
        ("a name of 100 bytes", new().file(&long, "x"), &format!("f {long} x")),
    ] {
        assert_eq!(outcome(archive.finish()), expected, "{case}");
    }
}

#[test]
fn every_kind_and_every_field_is_kept() {
    let device = |flag, major, minor| {
        let mut header = Archive::header(flag, if flag == b'3' { b"c" } else { b"b" }, b"");
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        header
    };
    let mut suid = Archive::header(b'0', b"su", b"");
    suid.set_mode(0o4755);
    suid.set_uid(70_000);
    suid.set_gid(4_000_000_000);
    suid.set_mtime(1_700_000_000);
    let archive = Archive::new()
        .append(device(b'3', 1, 3), b"")
        .append(device(b'4', 0xfff, 0xfffff), b"")
        .append(Archive::header(b'6', b"p", b""), b"")
        .pax(&[
            ("mtime", b"-5.25"),
            ("uid", b"3000000000"),
            ("SCHILY.xattr.user.note", b"a=b\n\xff"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            ("SCHILY.xattr.user.empty", b""),
            ("SCHILY.xattr.com.apple.x", b"left out"),
            ("path", b"pax/\xff\xfe"),
        ])
        .append(Archive::header(b'0', b"short", b""), b"content")
        .append(suid, b"program")
        .finish();
    let image = image_of(&archive).unwrap();
    assert_eq!(
        outline(&image),
        "b b 4095:1048575\nc c 1:3\np p\nd pax\nf pax/\\xff\\xfe content\nf su program"
    );
    let listing = list(&image);
    let file = &listing[&b"pax/\xff\xfe"[..]];
    assert_eq!((file.uid, file.mtime), (3_000_000_000, Time { secs: -6, nanos: 750_000_000 }));
    let names: Vec<&[u8]> = file.xattrs.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, [&b"security.capability"[..], b"user.empty", b"user.note"]);
    assert_eq!(file.xattrs[2].1, b"a=b\n\xff");
    let program = &listing[&b"su"[..]];
    assert_eq!((program.mode, program.uid, program.gid), (0o4755, 70_000, 4_000_000_000));
    assert_eq!(program.mtime, Time { secs: 1_700_000_000, nanos: 0 });
}

#[test]
fn hard_links_are_one_inode() {
    let archive = Archive::new().file("b", "1").hard_link("a/c", "b").hard_link("d", "a/c").file("e", "1");
    let listing = list(&image_of(&archive.finish()).unwrap());
    for (path, nlink, first) in [("a/c", 3, "a/c"), ("b", 3, "a/c"), ("d", 3, "a/c"), ("e", 1, "e")] {
        let record = &listing[path.as_bytes()];
        assert_eq!((record.nlink, &record.first_name[..]), (nlink, first.as_bytes()), "{path}");
    }
}

#[test]
fn long_names_in_every_dialect() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    let expected = format!("d {}\nf {long} x", "d".repeat(200));
    let with_nul = [long.as_bytes(), b"\0"].concat();
    let gnu = Archive::new()
        .append(Archive::header(b'L', b"././@LongLink", b""), &with_nul)
        .append(Archive::header(b'0', b"cut", b""), b"x");
    assert_eq!(outcome(gnu.finish()), expected);
    let pax = Archive::new().pax(&[("path", long.as_bytes())]).file("cut", "x");
    assert_eq!(outcome(pax.finish()), expected);
    let target = "t".repeat(3000);
    let gnu_link = Archive::new()
        .append(Archive::header(b'K', b"././@LongLink", b""), target.as_bytes())
        .symlink("l", "cut");
    assert_eq!(outcome(gnu_link.finish()), format!("l l -> {target}"));
    let mut ustar = tar::Header::new_ustar();
    ustar.as_ustar_mut().unwrap().prefix[..3].copy_from_slice(b"a/b");
    ustar.as_ustar_mut().unwrap().name[0] = b'c';
    ustar.set_mode(0o644);
    ustar.set_uid(0);
    ustar.set_gid(0);
    ustar.set_mtime(0);
    assert_eq!(outcome(Archive::new().append(ustar, b"x").finish()), "d a\nd a/b\nf a/b/c x");
    for (name, why) in [
        ("n".repeat(256), "a name is longer than 255 bytes"),
        (format!("{}x", "d/".repeat(9000)), "the path is longer than 16384 bytes"),
    ] {
        let outcome = outcome(Archive::new().pax(&[("path", name.as_bytes())]).file("cut", "x").finish());
        assert!(outcome.starts_with("error: entry ") && outcome.ends_with(why), "{outcome}");
        assert!(outcome.len() < 400);
    }
}

/// A sparse file of 20000 bytes with "data" at 0 and "more" at 10000, told in each way.
#[test]
fn sparse_files_in_every_dialect() {
    let mut old = Archive::header(b'S', b"s", b"");
    old.as_mut_bytes()[386..410].copy_from_slice(b"00000000000\x0000000000004\0");
    old.as_mut_bytes()[410..434].copy_from_slice(b"00000023420\x0000000000004\0");
    old.as_mut_bytes()[483..495].copy_from_slice(b"00000047040\0");
    let map_block = |text: &str| {
        let mut block = text.as_bytes().to_vec();
        block.resize(512, 0);
        block
    };
    let version_1 = [map_block("2\n0\n4\n10000\n4\n"), b"datamore".to_vec()].concat();
    let file = || Archive::header(b'0', b"GNUSparseFile.0/s", b"");
    let map_0_0: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", b"20000"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"4"),
        ("GNU.sparse.offset", b"10000"),
        ("GNU.sparse.numbytes", b"4"),
        ("path", b"s"),
    ];
    let map_0_1: &[(&str, &[u8])] =
        &[("GNU.sparse.size", b"20000"), ("GNU.sparse.map", b"0,4,10000,4"), ("GNU.sparse.name", b"s")];
    let map_1_0: &[(&str, &[u8])] = &[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"20000"),
    ];
    let mut expected = vec![0; 20000];
    expected[..4].copy_from_slice(b"data");
    expected[10000..10004].copy_from_slice(b"more");
    for (case, archive) in [
        ("old GNU", Archive::new().append(old, b"datamore")),
        ("0.0", Archive::new().pax(map_0_0).append(file(), b"datamore")),
        ("0.1", Archive::new().pax(map_0_1).append(file(), b"datamore")),
        ("1.0", Archive::new().pax(map_1_0).append(file(), &version_1)),
    ] {
        // What follows shows that exactly the entry's data was consumed.
        let listing = list(&image_of(&archive.file("z", "after").finish()).unwrap());
        assert_eq!(listing.len(), 2, "{case}");
        assert!(listing[&b"s"[..]].content == expected, "{case}");
        assert_eq!(listing[&b"z"[..]].content, b"after", "{case}");
    }
    for (case, records, data) in [
        ("map beyond the end", [("GNU.sparse.size", &b"3"[..]), ("GNU.sparse.map", b"0,4")], &b"data"[..]),
        ("map out of order", [("GNU.sparse.size", b"30"), ("GNU.sparse.map", b"9,2,0,2")], b"data"),
        ("map and data differ", [("GNU.sparse.size", b"30"), ("GNU.sparse.map", b"0,3")], b"data"),
        ("half a pair", [("GNU.sparse.size", b"30"), ("GNU.sparse.map", b"0,4,5")], b"data"),
        ("endless map", [("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")], b"99999999\n"),
        ("map of letters", [("GNU.sparse.major", b"1"), ("GNU.sparse.realsize", b"9")], b"x\n"),
    ] {
        let mut data = data.to_vec();
        if records[0].0 == "GNU.sparse.major" {
            data.resize(512, 0);
        }
        let outcome = outcome(Archive::new().pax(&records).append(file(), &data).finish());
        assert_eq!(
            outcome, "error: corrupt: a sparse file's map is malformed (header at byte 1024)",
            "{case}"
        );
    }
}

#[test]
fn sparse_files_cost_what_they_hold() {
    let size = (3u64 << 40).to_string();
    let records: &[(&str, &[u8])] = &[
        ("GNU.sparse.size", size.as_bytes()),
        ("GNU.sparse.map", b"5,4,3298534883324,4"),
        ("GNU.sparse.name", b"huge"),
    ];
    let archive = Archive::new().pax(records).append(Archive::header(b'0', b"x", b""), b"datamore").finish();
    let image = image_of(&archive).unwrap();
    assert!(image.len() < 40 << 20, "{} bytes", image.len());
    let reader = c2w_packer::rootfs::erofs::Reader::open(&image[..]).unwrap();
    let inode = reader.lookup(b"huge").unwrap().unwrap();
    assert_eq!((inode.kind, inode.size), (EntryKind::File, 3 << 40));
    for (offset, expected) in
        [(0, b"\0\0\0\0\0dat"), (1 << 40, b"\0\0\0\0\0\0\0\0"), ((3 << 40) - 8, b"\0\0\0\0more")]
    {
        let mut bytes = [0; 8];
        assert_eq!(reader.read_at(&inode, offset, &mut bytes).unwrap(), 8);
        assert_eq!(&bytes, expected);
    }
    let too_long = (1u64 << 50).to_string();
    let records: &[(&str, &[u8])] = &[("GNU.sparse.size", too_long.as_bytes()), ("GNU.sparse.map", b"5,4")];
    let archive = Archive::new().pax(records).append(Archive::header(b'0', b"x", b""), b"data").finish();
    assert_eq!(outcome(archive), "error: a sparse file is longer than 16 TiB");
}

#[test]
fn every_truncation_within_an_entry_is_an_error() {
    let archive = Archive::new()
        .file("a", &"x".repeat(700))
        .pax(&[("path", b"b")])
        .file("cut", "y")
        .directory("c/")
        .finish();
    // Headers at 0, 1536 (pax), 2560 and 3584, the end at 4096. The zeros at the end may be missing.
    let marks = [0, 512, 1212, 1536, 2048, 2057, 2560, 3072, 3073, 3584, 4096, 4608];
    let around = marks.iter().flat_map(|&mark: &usize| mark.saturating_sub(1)..=mark + 1);
    for len in around.chain((0..archive.len()).step_by(97)) {
        let expected = match len {
            1536 => Some("f a"),
            3584 => Some("f a|f b"),
            4096 | 4608.. => Some("f a|f b|d c"),
            _ => None,
        };
        match (image_of(&archive[..len]), expected) {
            (Ok(image), Some(expected)) => {
                let names: Vec<String> = outline(&image).lines().map(|line| line[..3].to_string()).collect();
                let mut expected: Vec<&str> = expected.split('|').collect();
                expected.sort_by_key(|line| line.as_bytes()[2]);
                assert_eq!(names, expected, "{len}");
            }
            (Err(error), None) => {
                let line = error.to_string();
                assert!(line.contains("truncated") || line.contains("not a tar archive"), "{len}: {line}");
            }
            (outcome, _) => panic!("{len}: {:?}", outcome.map(|image| outline(&image))),
        }
    }
}

#[test]
fn damage_in_the_middle_is_an_error() {
    let archive = Archive::new().file("a", "x").file("b", "y").finish();
    for (at, expected) in [
        (0, "error: not a tar archive"),
        (1024 + 20, "error: corrupt: a header's checksum is wrong, at byte 1024"),
    ] {
        let mut archive = archive.clone();
        archive[at] ^= 0x40;
        assert_eq!(outcome(archive), expected);
    }
    assert_eq!(outcome(vec![]), "error: empty, not a tar archive");
    // Zeros only: an archive of nothing.
    assert_eq!(outcome(vec![0; 10240]), "");
}

#[test]
fn lengths_in_headers_take_no_memory() {
    for flag in [b'L', b'x'] {
        let mut header = Archive::header(flag, b"long", b"");
        header.set_size(1 << 62);
        header.set_cksum();
        let outcome = outcome(header.as_bytes().to_vec());
        assert_eq!(outcome, "error: corrupt: an extended header is too long (header at byte 0)");
    }
    let mut header = Archive::header(b'0', b"file", b"");
    header.set_size(1 << 62);
    header.set_cksum();
    assert_eq!(outcome(header.as_bytes().to_vec()), "error: truncated: it ends within the data of file");
}

#[test]
fn access_lists_as_text_become_attributes() {
    let archive = Archive::new()
        .pax(&[("SCHILY.acl.access", b"user::rw-,user:5:r--,group::r--,mask::r--,other::---")])
        .file("a", "")
        .pax(&[("SCHILY.acl.access", b"user::rw-,group::r--,other::---")])
        .file("mode-only", "")
        .pax(&[("SCHILY.acl.access", b"user::rw-,user:bob:r--,group::r--,mask::r--,other::---")])
        .file("by-name", "");
    let listing = list(&image_of(&archive.finish()).unwrap());
    let names = |path: &str| listing[path.as_bytes()].xattrs.len();
    assert_eq!((names("a"), names("mode-only"), names("by-name")), (1, 0, 0));
    assert_eq!(listing[&b"a"[..]].xattrs[0].1.len(), 4 + 5 * 8);
}

#[test]
fn layers_hide_what_is_below() {
    let new = Archive::new;
    let base = || new().file("a/x", "1").file("a/y", "1").file("b", "1").symlink("l", "a");
    for (case, upper, expected) in [
        ("nothing", new(), "d a\nf a/x 1\nf a/y 1\nf b 1\nl l -> a"),
        ("a file", new().file("a/.wh.x", ""), "d a\nf a/y 1\nf b 1\nl l -> a"),
        ("a directory", new().file(".wh.a", ""), "f b 1\nl l -> a"),
        (
            "what is not there",
            new().file(".wh.z", "").file("no/.wh.z", ""),
            "d a\nf a/x 1\nf a/y 1\nf b 1\nl l -> a",
        ),
        ("and replaces it", new().file("b", "2").file(".wh.b", ""), "d a\nf a/x 1\nf a/y 1\nf b 2\nl l -> a"),
        (
            "opaque, marker first",
            new().directory("a").file("a/.wh..wh..opq", "").file("a/z", "2"),
            "d a\nf a/z 2\nf b 1\nl l -> a",
        ),
        (
            "opaque, marker last",
            new().directory("a").file("a/z/w", "2").file("a/.wh..wh..opq", ""),
            "d a\nd a/z\nf a/z/w 2\nf b 1\nl l -> a",
        ),
        ("opaque root", new().file(".wh..wh..opq", "").file("c", "2"), "f c 2"),
    ] {
        let layers = [base().finish(), upper.finish()];
        let layers: Vec<Vec<u8>> = layers.into_iter().filter(|layer| !layer.is_empty()).collect();
        let image = image_of_layers(&layers, true).unwrap();
        assert_eq!(outline(&image), expected, "{case}");
    }
    let plain = image_of(&new().file(".wh.a", "x").finish()).unwrap();
    assert_eq!(outline(&plain), "f .wh.a x");
}

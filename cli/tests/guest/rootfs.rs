//! A root file system with everything odd, packed from a tar file and looked at from inside the guest.

use crate::common::{pack, scratch, succeed, tools_rootfs};
use sha2::{Digest, Sha256};
use std::fs;

/// Makes an archive with raw names.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    /// Adds an entry of a type, with extended header records before it.
    fn entry(
        &mut self,
        flag: u8,
        mode: u32,
        name: &[u8],
        link: &[u8],
        records: &[(&str, &[u8])],
        content: &[u8],
    ) {
        let mut one = tar::Builder::new(Vec::new());
        one.append_pax_extensions(records.iter().copied()).unwrap();
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        fields.typeflag = [flag];
        fields.name[..name.len()].copy_from_slice(name);
        fields.linkname[..link.len()].copy_from_slice(link);
        header.set_mode(mode);
        header.set_uid(70_000);
        header.set_gid(7);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        if matches!(flag, b'3' | b'4') {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        one.append(&header, content).unwrap();
        let bytes = one.into_inner().unwrap();
        // Without the two blocks that end an archive.
        self.0.extend_from_slice(&bytes[..bytes.len() - 1024]);
    }
}

#[test]
fn everything_odd_in_a_tar_file_is_in_the_guest() {
    let big: Vec<u8> = (0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let long = [b"odd/".as_slice(), &[b'n'; 255]].concat();
    let deep = format!("odd/{}", vec!["d"; 60].join("/"));
    let capability = b"\x01\0\0\x02\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut odd = Archive::default();
    odd.entry(b'5', 0o1777, b"odd/", b"", &[], b"");
    odd.entry(b'0', 0o4755, b"odd/setuid", b"", &[], b"program");
    odd.entry(b'5', 0o2700, b"odd/empty", b"", &[], b"");
    odd.entry(b'0', 0o000, b"odd/zero", b"", &[], b"");
    odd.entry(b'0', 0o644, b"odd/big", b"", &[("mtime", b"1000000000.123456789")], &big);
    odd.entry(b'1', 0o644, b"odd/hard", b"odd/big", &[], b"");
    odd.entry(b'2', 0o777, b"odd/soft", b"no\xffwhere", &[], b"");
    odd.entry(b'3', 0o600, b"odd/null", b"", &[], b"");
    odd.entry(b'4', 0o600, b"odd/block", b"", &[], b"");
    odd.entry(b'6', 0o600, b"odd/fifo", b"", &[], b"");
    odd.entry(b'0', 0o644, b"odd/\xff\xfe\n", b"", &[], b"not text");
    odd.entry(b'0', 0o644, b"short", b"", &[("path", &long)], b"long");
    odd.entry(b'0', 0o644, b"short", b"", &[("path", format!("{deep}/f").as_bytes())], b"deep");
    let attributes: [(&str, &[u8]); 2] =
        [("SCHILY.xattr.user.note", b"a=b\n\xff"), ("SCHILY.xattr.security.capability", capability)];
    odd.entry(b'0', 0o755, b"odd/attributes", b"", &attributes, b"x");

    let mut archive = fs::read(tools_rootfs()).unwrap();
    // Its last file is text, so that the zeroes at its end are padding and the end of the archive.
    let used = archive.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    archive.truncate(used.next_multiple_of(512));
    archive.extend_from_slice(&odd.0);
    archive.extend_from_slice(&[0; 1024]);
    let path = scratch().join("odd.tar");
    fs::write(&path, archive).unwrap();
    let image = pack(&path, "odd.c2w");

    let script = r#"
import os, stat
os.chdir(b'/odd')
for name in sorted(os.listdir(b'.')):
    s = os.lstat(name)
    rest = ''
    if stat.S_ISREG(s.st_mode): rest = s.st_size
    if stat.S_ISLNK(s.st_mode): rest = os.readlink(name)
    if stat.S_ISCHR(s.st_mode) or stat.S_ISBLK(s.st_mode): rest = (os.major(s.st_rdev), os.minor(s.st_rdev))
    print(name[:20], oct(s.st_mode), s.st_uid, s.st_gid, s.st_mtime_ns, 0 if stat.S_ISDIR(s.st_mode) else s.st_nlink, rest)
s = os.stat('.')
print(oct(s.st_mode), s.st_uid)
import hashlib
print(hashlib.sha256(open('hard','rb').read()).hexdigest())
print(open(b'\xff\xfe\n').read(), open('n'*255).read(), open('/'.join(['d']*60)+'/f').read(), os.listdir('empty'))
print(sorted(os.listxattr('attributes')), os.getxattr('attributes','user.note'), os.getxattr('attributes','security.capability').hex())
"#;
    let digest: String = Sha256::digest(&big).iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = r"b'attributes' 0o100755 70000 7 1000000000000000000 1 1
b'big' 0o100644 70000 7 1000000000123456789 2 800000
b'block' 0o60600 70000 7 1000000000000000000 1 (1, 3)
b'd' 0o40755 0 0 1000000000000000000 0 
b'empty' 0o42700 70000 7 1000000000000000000 0 
b'fifo' 0o10600 70000 7 1000000000000000000 1 
b'hard' 0o100644 70000 7 1000000000123456789 2 800000
b'nnnnnnnnnnnnnnnnnnnn' 0o100644 70000 7 1000000000000000000 1 4
b'null' 0o20600 70000 7 1000000000000000000 1 (1, 3)
b'setuid' 0o104755 70000 7 1000000000000000000 1 7
b'soft' 0o120777 70000 7 1000000000000000000 1 b'no\xffwhere'
b'zero' 0o100000 70000 7 1000000000000000000 1 0
b'\xff\xfe\n' 0o100644 70000 7 1000000000000000000 1 8
0o41777 70000
BIG
not text long deep []
['security.capability', 'user.note'] b'a=b\n\xff' 0100000220000000000000000000000000000000
";
    assert_eq!(
        succeed(&image, &[], &["python3", "-I", "-S", "-c", script]),
        expected.replace("BIG", &digest)
    );
}

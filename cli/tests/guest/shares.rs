//! Shares of the host mounted in the guest, and what the host sees of what the guest did there.

use crate::common::{pack, scratch, succeed, tools_rootfs};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| pack(&tools_rootfs(), "tools.c2w"))
}

/// A new directory of the host.
fn directory(name: &str) -> PathBuf {
    let path = scratch().join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Runs a Python script in a share of `directory`.
#[track_caller]
fn python(directory: &Path, script: &str) -> String {
    let volume = format!("{}:/w", directory.display());
    succeed(image(), &["-v", &volume, "-w", "/w"], &["python3", "-I", "-S", "-c", script])
}

#[test]
fn git_makes_clones_and_checks_a_repository() {
    let work = directory("git");
    let volume = format!("{}:/w", work.display());
    let script = "set -e; git config --global user.name a; git config --global user.email a@b
        git init -q one; cd one; seq 2000 > f; git add .; git commit -qm first
        echo x >> f; git commit -qam second; cd ..; git clone -q one two; cd two; git gc -q
        git fsck --strict; git log --format=%s; git status --short; git rev-parse HEAD > ../head";
    let options = ["-v", &volume, "-w", "/w", "-e", "HOME=/tmp"];
    assert_eq!(succeed(image(), &options, &["sh", "-c", script]), "second\nfirst\n");
    let lines = fs::read_to_string(work.join("two/f")).unwrap();
    assert_eq!(lines, (1..=2000).map(|n| format!("{n}\n")).collect::<String>() + "x\n");
    let head = fs::read_to_string(work.join("head")).unwrap();
    assert_eq!(head.trim().len(), 40);
    let packs = fs::read_dir(work.join("two/.git/objects/pack")).unwrap();
    assert!(packs.flatten().any(|entry| entry.path().extension().is_some_and(|kind| kind == "pack")));
}

#[test]
fn names_links_and_open_files_follow_the_rules() {
    let work = directory("names");
    let script = r#"
import errno, os
open('a','w').write('A'); open('b','w').write('B')
replaced = open('b'); moved = open('a','r+')
os.rename('a','b')
print(replaced.read(), moved.read(), os.path.exists('a'))
moved.write('more'); moved.close()
gone = open('gone','w+'); gone.write('hello'); gone.flush(); os.unlink('gone')
gone.write(' world'); gone.seek(0)
print(gone.read(), os.path.exists('gone'), os.fstat(gone.fileno()).st_size)
os.link('b','hard'); os.symlink('b','soft'); os.link('soft','soft2', follow_symlinks=False)
print(os.stat('b').st_nlink, os.stat('b').st_ino == os.stat('hard').st_ino, os.readlink('soft2'))
names = [b'\xff\xfe\x80', b'n'*255, b'new\nline', b' ', b'\\']
for name in names: open(name,'wb').write(name)
print(set(names) <= set(os.listdir(b'.')))
os.makedirs('d/' + '/'.join(['x'*100]*30)); os.mkdir('e'); open('e/f','w').close()
def fails(call, *arguments):
    try: call(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
print(fails(open, b'm'*256, 'w'), fails(os.rmdir, 'e'), fails(os.rename, 'd', 'e'),
    fails(os.rename, 'd', 'd/'+'x'*100+'/y'), fails(os.unlink, 'e'), fails(os.rmdir, 'e/f'),
    fails(os.mkdir, 'e'), fails(open, 'e/f/g'))
"#;
    assert_eq!(
        python(&work, script),
        "B A False\nhello world False 11\n2 True b\nTrue\n\
         ENAMETOOLONG ENOTEMPTY ENOTEMPTY EINVAL EISDIR ENOTDIR EEXIST ENOTDIR\n"
    );
    assert_eq!(fs::read(work.join("hard")).unwrap(), b"Amore");
    assert_eq!(fs::metadata(work.join("b")).unwrap().ino(), fs::metadata(work.join("hard")).unwrap().ino());
    for name in [&b"\xff\xfe\x80"[..], &[b'n'; 255], b"new\nline", b" ", b"\\"] {
        assert_eq!(fs::read(work.join(std::ffi::OsStr::from_bytes(name))).unwrap(), name);
    }
    let deep = (0..30).fold(work.join("d"), |path, _| path.join("x".repeat(100)));
    assert!(deep.is_dir());
}

#[test]
fn contents_reach_the_host_however_they_are_written() {
    let work = directory("contents");
    let script = r#"
import mmap, os
f = open('mapped','wb+'); f.truncate(1 << 20); m = mmap.mmap(f.fileno(), 1 << 20)
m[12345:12350] = b'hello'; m[-1:] = b'!'
children = []
for letter in b'AB':
    child = os.fork()
    if child == 0:
        fd = os.open('appended', os.O_WRONLY|os.O_CREAT|os.O_APPEND)
        for i in range(200): os.write(fd, bytes([letter])*15 + b'\n')
        os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
f = open('cut','w+'); f.write('x'*10000); f.flush()
os.ftruncate(f.fileno(), 5000); os.ftruncate(f.fileno(), 7000)
fd = os.open('sparse', os.O_RDWR|os.O_CREAT); os.pwrite(fd, b'end', 1 << 32)
print(os.pread(fd, 9, (1 << 32) - 5), os.lseek(fd, 0, os.SEEK_END))
"#;
    assert_eq!(python(&work, script), "b'\\x00\\x00\\x00\\x00\\x00end' 4294967299\n");
    let mapped = fs::read(work.join("mapped")).unwrap();
    assert_eq!((mapped.len(), &mapped[12345..12350], mapped[(1 << 20) - 1]), (1 << 20, &b"hello"[..], b'!'));
    let appended = fs::read_to_string(work.join("appended")).unwrap();
    let count = |letter: &str| appended.lines().filter(|line| **line == letter.repeat(15)).count();
    assert_eq!((appended.len(), count("A"), count("B")), (6400, 200, 200));
    let cut = fs::read(work.join("cut")).unwrap();
    assert!(cut.len() == 7000 && cut[..5000] == [b'x'; 5000] && cut[5000..] == [0; 2000]);
    let sparse = fs::metadata(work.join("sparse")).unwrap();
    assert!(sparse.len() == (1 << 32) + 3 && sparse.blocks() < 1000, "{} blocks", sparse.blocks());
}

#[test]
fn attributes_are_the_host_s() {
    let work = directory("attributes");
    let script = r#"
import errno, os, stat
open('x','w').close()
os.setxattr('x','user.a',b'1\0\xff'); os.setxattr('x','user.big',b'z'*3000); os.setxattr('x','user.e',b'')
print(sorted(os.listxattr('x')), os.getxattr('x','user.a'), len(os.getxattr('x','user.big')))
def fails(call, *arguments):
    try: call(*arguments)
    except OSError as error: return errno.errorcode[error.errno]
print(fails(os.setxattr, 'x','user.a',b'2',os.XATTR_CREATE), fails(os.setxattr, 'x','user.q',b'2',os.XATTR_REPLACE))
os.removexattr('x','user.big')
print(fails(os.getxattr, 'x','user.big'), sorted(os.listxattr('x')))
os.chmod('x', 0o640); os.utime('x', ns=(1_234_567_890_123_456_789, 987_654_321_987_654_321))
os.mkfifo('fifo')
child = os.fork()
if child == 0:
    open('fifo','w').write('through'); os._exit(0)
print(open('fifo').read()); os.waitpid(child, 0)
print(fails(os.mknod, 'device', stat.S_IFCHR|0o600, os.makedev(1, 3)))
"#;
    assert_eq!(
        python(&work, script),
        "['user.a', 'user.big', 'user.e'] b'1\\x00\\xff' 3000\nEEXIST ENODATA\n\
         ENODATA ['user.a', 'user.e']\nthrough\nEPERM\n"
    );
    let stat = fs::metadata(work.join("x")).unwrap();
    assert_eq!(stat.mode() & 0o7777, 0o640);
    assert_eq!((stat.atime(), stat.mtime()), (1_234_567_890, 987_654_321));
    // FIXME: the guest kernel's 9p sets no time granularity of its super block, whose default is 1 s.
    assert_eq!((stat.atime_nsec(), stat.mtime_nsec()), (0, 0));
    assert!(fs::symlink_metadata(work.join("fifo")).unwrap().file_type().is_fifo());
}

#[test]
fn locks_keep_other_processes_of_the_guest_out() {
    let work = directory("locks");
    let script = r#"
import errno, fcntl, os
def child(action):
    pid = os.fork()
    if pid == 0: os._exit(action())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def tries(call, *arguments):
    try: call(*arguments); return 0
    except OSError as error: return error.errno
now = fcntl.LOCK_EX | fcntl.LOCK_NB
f = open('ranges','w+'); fcntl.lockf(f, now, 10, 20)
busy = child(lambda: tries(fcntl.lockf, open('ranges','r+'), now, 10, 25))
print(busy == errno.EAGAIN, child(lambda: tries(fcntl.lockf, open('ranges','r+'), now, 10, 30)))
fcntl.lockf(f, fcntl.LOCK_UN)
print(child(lambda: tries(fcntl.lockf, open('ranges','r+'), now, 10, 25)))
g = open('whole','w+'); fcntl.flock(g, now)
print(child(lambda: tries(fcntl.flock, open('whole','r+'), now)) == errno.EAGAIN)
g.close()
print(child(lambda: tries(fcntl.flock, open('whole','r+'), now)))
"#;
    assert_eq!(python(&work, script), "True 0\n0\nTrue\n0\n");
}

#[test]
fn a_large_tree_of_the_host_is_listed_and_removed_completely() {
    let work = directory("tree");
    let mut expected = vec!["tree".to_string()];
    for directory in 0..20 {
        let path = work.join(format!("tree/{directory}"));
        fs::create_dir_all(&path).unwrap();
        expected.push(format!("tree/{directory}"));
        for file in 0..100 {
            fs::write(path.join(format!("{file}")), vec![b'x'; file]).unwrap();
            expected.push(format!("tree/{directory}/{file}"));
        }
    }
    let many = work.join("many");
    fs::create_dir(&many).unwrap();
    (0..5000).for_each(|file| fs::write(many.join(format!("file {file}")), "").unwrap());
    let volume = format!("{}:/w", work.display());
    let script = "find tree; du -b -c tree/*/* | tail -n 1 >&2; rm -rf many; ls >&2";
    let script = format!("exec 2> /w/log; {script}");
    let output = succeed(image(), &["-v", &volume, "-w", "/w"], &["sh", "-c", &script]);
    let mut listed: Vec<&str> = output.lines().collect();
    listed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(listed, expected);
    let sum: usize = (0..100).sum::<usize>() * 20;
    assert_eq!(fs::read_to_string(work.join("log")).unwrap(), format!("{sum}\ttotal\nlog\ntree\n"));
    assert!(!many.exists());
}

#[test]
fn shares_nest_run_programs_and_stay_confined() {
    let (outer, inner) = (directory("outer"), directory("inner"));
    fs::write(outer.join("o"), "outer\n").unwrap();
    fs::write(inner.join("i"), "inner\n").unwrap();
    fs::create_dir(outer.join("sub")).unwrap();
    fs::write(scratch().join("out-of-reach"), "secret\n").unwrap();
    symlink("../out-of-reach", outer.join("escape")).unwrap();
    symlink(scratch().join("out-of-reach"), outer.join("absolute")).unwrap();
    let volumes = [format!("{}:/x", outer.display()), format!("{}:/x/sub", inner.display())];
    let script = "cat o sub/i; cp /usr/bin/echo prog; ./prog ran; \
        for link in escape absolute; do test -e $link && echo $link leads out; done; \
        ln -s /x/../../out-of-reach mine; cat mine 2> sub/error; cp sub/i copied; :";
    let options = ["-v", &volumes[0], "-v", &volumes[1], "-w", "/x"];
    assert_eq!(succeed(image(), &options, &["sh", "-c", script]), "outer\ninner\nran\n");
    assert_eq!(fs::read_to_string(outer.join("copied")).unwrap(), "inner\n");
    assert!(fs::read_to_string(inner.join("error")).unwrap().contains("No such file"));
    assert!(fs::read_dir(outer.join("sub")).unwrap().next().is_none());
}

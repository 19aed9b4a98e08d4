//! Runs the cases of `cases.txt`: one command a line, with its outcome.

use std::collections::BTreeMap;

use c2w_devices::backend::fs::{Errno, FileSystem};

use crate::client::*;

/// What a case runs on: a way to get at one tree again and again.
pub trait Tree {
    type Fs: FileSystem;
    /// The back end, as after a restart of the machine.
    fn open(&self) -> Self::Fs;
    /// Called after every case: is what the server says what is there?
    fn check(&self, client: &mut Client<Self::Fs>);
}

/// Runs every case, each on a new tree, and compares each outcome.
pub fn run_all<T: Tree>(cases: &str, new_tree: impl Fn() -> T) {
    let mut wrong = String::new();
    for case in cases.split("\n\n").filter(|case| !case.trim().is_empty()) {
        let tree = new_tree();
        let mut run =
            Run { client: Client::new(tree.open(), Default::default()), fids: BTreeMap::new(), tree };
        for line in case.lines().filter(|line| !line.starts_with('#')) {
            let (command, expected) =
                line.split_once("=>").unwrap_or_else(|| panic!("no outcome in: {line}"));
            let words: Vec<&str> = command.split_whitespace().collect();
            let outcome = run.command(&words).unwrap_or_else(|errno| errno.to_string());
            if outcome != expected.trim() {
                wrong.push_str(&format!("{}: outcome is {outcome}\n", line.trim()));
            }
        }
        run.tree.check(&mut run.client);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

struct Run<T: Tree> {
    client: Client<T::Fs>,
    fids: BTreeMap<String, u32>,
    tree: T,
}

fn octal(word: &str) -> u32 {
    u32::from_str_radix(word, 8).unwrap()
}

fn text(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

fn flags(word: &str) -> u32 {
    word.split('+').fold(0, |flags, word| {
        flags
            | match word {
                "r" => RDONLY,
                "w" => WRONLY,
                "rw" => RDWR,
                "excl" => EXCL,
                "trunc" => TRUNC,
                "append" => APPEND,
                "dir" => DIRECTORY,
                other => panic!("flag {other}"),
            }
    })
}

fn describe(stat: &Stat) -> String {
    let kind = match stat.mode & 0o170_000 {
        0o100_000 => "file",
        0o040_000 => "directory",
        0o120_000 => "symlink",
        0o010_000 => "fifo",
        0o140_000 => "socket",
        0o020_000 => "char",
        other => panic!("type {other:o}"),
    };
    let permissions = stat.mode & 0o7777;
    match kind {
        // How directories count sizes and links is each file system's own affair.
        "directory" => format!("directory {permissions:o}"),
        "symlink" => format!("symlink size={}", stat.size),
        kind => format!("{kind} {permissions:o} links={} size={}", stat.links, stat.size),
    }
}

impl<T: Tree> Run<T> {
    fn fid(&self, name: &str) -> u32 {
        *self.fids.get(name).unwrap_or_else(|| panic!("no fid {name}"))
    }

    /// Does something with the fid of a path, or with `@fid`.
    fn with<R>(
        &mut self,
        target: &str,
        action: impl FnOnce(&mut Client<T::Fs>, u32) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        match target.strip_prefix('@') {
            Some(name) => {
                let fid = self.fid(name);
                action(&mut self.client, fid)
            }
            None => self.client.at(target, action),
        }
    }

    fn command(&mut self, words: &[&str]) -> Result<String, Errno> {
        let client = &mut self.client;
        let ok = |()| "ok".to_owned();
        match *words {
            ["mkdir", path, mode] => {
                client.at_parent(path, |client, fid, name| client.mkdir(fid, name, octal(mode))).map(ok)
            }
            ["symlink", path, target] => client
                .at_parent(path, |client, fid, name| client.symlink(fid, name, target.as_bytes()))
                .map(ok),
            ["mknod", path, kind, mode] => client
                .at_parent(path, |client, fid, name| {
                    let (kind, device) = match kind {
                        "file" => (0o100_000, [0, 0]),
                        "fifo" => (0o010_000, [0, 0]),
                        "socket" => (0o140_000, [0, 0]),
                        "whiteout" => (0o020_000, [0, 0]),
                        "directory" => (0o040_000, [0, 0]),
                        other => panic!("type {other}"),
                    };
                    client.mknod(fid, name, kind | octal(mode), device)
                })
                .map(ok),
            ["link", old, new] => client
                .at(old, |client, fid| client.at_parent(new, |client, to, name| client.link(to, fid, name)))
                .map(ok),
            ["renameat", old, new] => client
                .at_parent(old, |client, from, old| {
                    client.at_parent(new, |client, to, new| client.rename_at(from, old, to, new))
                })
                .map(ok),
            ["rename", target, new] => self
                .with(target, |client, fid| {
                    client.at_parent(new, |client, to, name| client.rename(fid, to, name))
                })
                .map(ok),
            ["unlink", path] => {
                client.at_parent(path, |client, fid, name| client.unlink_at(fid, name, false)).map(ok)
            }
            ["rmdir", path] => {
                client.at_parent(path, |client, fid, name| client.unlink_at(fid, name, true)).map(ok)
            }
            ["remove", target] => {
                let fid = match target.strip_prefix('@') {
                    Some(name) => self.fids.remove(name).unwrap(),
                    None => client.walk(target)?,
                };
                self.client.remove(fid).map(ok)
            }
            ["walk", name, path] => {
                let fid = match path.split_once(':') {
                    Some((from, path)) => {
                        let from = self.fid(from);
                        self.client.walk_from(from, path)?
                    }
                    None => client.walk(path)?,
                };
                self.fids.insert(name.to_owned(), fid);
                Ok("ok".to_owned())
            }
            ["open", name, mode] => {
                let fid = self.fid(name);
                self.client.open(fid, flags(mode)).map(ok)
            }
            ["create", fid_name, path, mode, permissions] => {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                let fid = client.walk(parent)?;
                match client.create(fid, name.as_bytes(), flags(mode), octal(permissions)) {
                    Ok(()) => drop(self.fids.insert(fid_name.to_owned(), fid)),
                    Err(errno) => {
                        client.clunk(fid)?;
                        return Err(errno);
                    }
                }
                Ok("ok".to_owned())
            }
            ["clunk", name] => {
                let fid = self.fids.remove(name).unwrap();
                self.client.clunk(fid).map(ok)
            }
            ["read", name, offset, count] => {
                let fid = self.fid(name);
                let bytes = self.client.read(fid, offset.parse().unwrap(), count.parse().unwrap())?;
                Ok(text(&bytes))
            }
            ["write", name, offset, data] => {
                let fid = self.fid(name);
                let count = self.client.write(fid, offset.parse().unwrap(), data.as_bytes())?;
                Ok(count.to_string())
            }
            ["sync", name] => {
                let fid = self.fid(name);
                self.client.call(50, Bytes::default().u32(fid).u32(1)).map(|_| "ok".to_owned())
            }
            ["stat", target] => self.with(target, Client::get_attr).map(|stat| describe(&stat)),
            ["same", a, b] => {
                let a = self.with(a, Client::get_attr)?.qid.2;
                let b = self.with(b, Client::get_attr)?.qid.2;
                Ok(if a == b { "yes" } else { "no" }.to_owned())
            }
            ["ls", path] => {
                let entries = client.list(path, 4000)?;
                let names = entries.iter().map(|entry| entry.name.escape_ascii().to_string());
                Ok(names.collect::<Vec<_>>().join(" "))
            }
            ["chmod", target, mode] => {
                let ids = [octal(mode), 0, 0];
                self.with(target, |client, fid| client.set_attr(fid, 1, ids, 0, [(0, 0); 2])).map(ok)
            }
            ["truncate", target, size] => {
                let size = size.parse().unwrap();
                self.with(target, |client, fid| client.set_attr(fid, 8, [0; 3], size, [(0, 0); 2])).map(ok)
            }
            ["utime", target, atime, mtime] => {
                // An access time of "-" is left alone, "now" is set by the server.
                let (mut valid, mut times) = (0, [(0, 0); 2]);
                for (index, word) in [atime, mtime].into_iter().enumerate() {
                    match word.split_once('.') {
                        Some((sec, nsec)) => {
                            valid |= 0x90 << index;
                            times[index] = (sec.parse().unwrap(), nsec.parse().unwrap());
                        }
                        None if word == "now" => valid |= 0x10 << index,
                        None => assert_eq!(word, "-"),
                    }
                }
                self.with(target, |client, fid| client.set_attr(fid, valid, [0; 3], 0, times)).map(ok)
            }
            ["times", target] => {
                let stat = self.with(target, Client::get_attr)?;
                let ((asec, ansec), (msec, mnsec)) = (stat.atime, stat.mtime);
                Ok(format!("{asec}.{ansec} {msec}.{mnsec}"))
            }
            ["readlink", target] => self.with(target, Client::read_link).map(|bytes| text(&bytes)),
            ["setx", target, name, value, mode] => {
                let mode = ["either", "create", "replace"].iter().position(|word| *word == mode).unwrap();
                let value = if value == "-" { "" } else { value };
                let (name, value) = (name.as_bytes(), value.as_bytes());
                self.with(target, |client, fid| client.set_xattr(fid, name, value, mode as u32)).map(ok)
            }
            ["getx", target, name] => {
                self.with(target, |client, fid| client.xattr(fid, name.as_bytes())).map(|value| text(&value))
            }
            ["lsx", target] => {
                let list = self.with(target, |client, fid| client.xattr(fid, b""))?;
                let mut names: Vec<_> =
                    list.split(|&byte| byte == 0).filter(|n| n.starts_with(b"user.")).collect();
                names.sort_unstable();
                Ok(text(&names.join(&b' ')))
            }
            ["lock", name, kind, start, length, process] => {
                let fid = self.fid(name);
                let kind = ["r", "w", "none"].iter().position(|word| *word == kind).unwrap();
                let numbers = (start.parse().unwrap(), length.parse().unwrap(), process.parse().unwrap());
                let status = self.client.lock(fid, kind as u8, numbers.0, numbers.1, numbers.2)?;
                Ok(["ok", "blocked"][usize::from(status)].to_owned())
            }
            ["getlock", name, kind, process] => {
                let fid = self.fid(name);
                let kind = ["r", "w"].iter().position(|word| *word == kind).unwrap();
                let lock = self.client.get_lock(fid, kind as u8, process.parse().unwrap())?;
                Ok(match lock {
                    (2, ..) => "free".to_owned(),
                    (kind, start, length, process) => {
                        format!("{} {start} {length} {process}", ["r", "w"][usize::from(kind)])
                    }
                })
            }
            ["restart"] => {
                let state = self.client.server.save();
                let options = self.client.options();
                // The saved machine is gone, and so are its handles and locks.
                self.client.server.reset();
                let restored = Client::restored(self.tree.open(), options, &state);
                let again = restored.server.save();
                self.client = restored;
                Ok(if state == again { "ok" } else { "changed" }.to_owned())
            }
            _ => panic!("unknown command {words:?}"),
        }
    }
}

//! Byte-range locks of the guest's processes: POSIX rules between them, and one lock on the host for all of them.
//!
//! The guest's kernel settles conflicts among its own processes before it asks; so what counts most is that other
//! programs of the host are kept out. Toward the host the guest is one holder: the lock on a stretch is given up
//! when its last holder in the guest is gone.

use std::collections::BTreeMap;

use super::request::LockOwner;
use crate::backend::fs::{Errno, FileId, LockKind, LockRange, Result};

/// One lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) fid: u32,
    pub(super) process: u32,
    pub(super) client: Box<[u8]>,
    pub(super) kind: LockKind,
    pub(super) range: LockRange,
}

impl Lock {
    /// Unlocking through the fid that locked always works: a `flock` may be given up by a child that inherited it.
    fn is_of(&self, fid: u32, owner: LockOwner<'_>) -> bool {
        self.fid == fid || (self.process == owner.process && *self.client == *owner.client)
    }
}

#[derive(Debug)]
struct LockedFile<H> {
    /// The file opened for the host's lock.
    holder: H,
    locks: Vec<Lock>,
}

/// All locks; `H` is the back end's opened file.
#[derive(Debug)]
pub(super) struct Locks<H> {
    files: BTreeMap<FileId, LockedFile<H>>,
    count: usize,
    max: usize,
}

/// What became of a wish to lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LockOutcome {
    /// The lock is held.
    Granted,
    /// Somebody else holds it.
    Blocked,
}

fn overlaps(a: LockRange, b: LockRange) -> bool {
    a.first <= b.last && b.first <= a.last
}

/// What of `range` lies before and after `cut`.
fn rest(range: LockRange, cut: LockRange) -> [Option<LockRange>; 2] {
    let before = cut.first.checked_sub(1).filter(|&last| range.first <= last);
    let after = cut.last.checked_add(1).filter(|&first| first <= range.last);
    [
        before.map(|last| LockRange { first: range.first, last: last.min(range.last) }),
        after.map(|first| LockRange { first: first.max(range.first), last: range.last }),
    ]
}

/// The stretches of `range` that none of `locks` covers, in order.
fn uncovered(range: LockRange, locks: &[Lock]) -> Vec<LockRange> {
    let mut gaps = vec![range];
    for lock in locks {
        let cut = |gap: LockRange| {
            let parts = if overlaps(gap, lock.range) { rest(gap, lock.range) } else { [Some(gap), None] };
            parts.into_iter().flatten()
        };
        gaps = gaps.into_iter().flat_map(cut).collect();
    }
    gaps
}

impl<H> Locks<H> {
    pub(super) fn new(max: usize) -> Self {
        Locks { files: BTreeMap::new(), count: 0, max }
    }

    /// The lock that keeps `owner` from taking one.
    pub(super) fn conflict(
        &self,
        file: FileId,
        fid: u32,
        owner: LockOwner<'_>,
        kind: LockKind,
        range: LockRange,
    ) -> Option<&Lock> {
        self.files.get(&file)?.locks.iter().find(|lock| {
            !lock.is_of(fid, owner)
                && overlaps(lock.range, range)
                && (kind == LockKind::Write || lock.kind == LockKind::Write)
        })
    }

    /// Takes a lock, replacing what `owner` had on that range. `open` opens the file for the host's lock, `host`
    /// sets it.
    pub(super) fn lock(
        &mut self,
        file: FileId,
        wish: Lock,
        open: impl FnOnce() -> Result<H>,
        host: impl Fn(&H, LockRange, Option<LockKind>) -> Result<bool>,
    ) -> Result<LockOutcome> {
        let owner = LockOwner { process: wish.process, client: &wish.client };
        if self.conflict(file, wish.fid, owner, wish.kind, wish.range).is_some() {
            return Ok(LockOutcome::Blocked);
        }
        // Replacing may split one lock into two.
        if self.count + 2 > self.max {
            return Err(Errno::ENOLCK);
        }
        let granted = match self.files.get(&file) {
            Some(locked) => host(&locked.holder, wish.range, Some(wish.kind))?,
            None => {
                let holder = open()?;
                let granted = host(&holder, wish.range, Some(wish.kind))?;
                if granted {
                    self.files.insert(file, LockedFile { holder, locks: Vec::new() });
                }
                granted
            }
        };
        if !granted {
            return Ok(LockOutcome::Blocked);
        }
        if let Some(locked) = self.files.get_mut(&file) {
            let owner = LockOwner { process: wish.process, client: &wish.client };
            self.count -= locked.locks.len();
            cut_out(&mut locked.locks, wish.range, |lock| lock.is_of(wish.fid, owner));
            locked.locks.push(wish);
            self.count += locked.locks.len();
        }
        Ok(LockOutcome::Granted)
    }

    /// Gives up what `owner` has on a range.
    pub(super) fn unlock(
        &mut self,
        file: FileId,
        fid: u32,
        owner: LockOwner<'_>,
        range: LockRange,
        host: impl Fn(&H, LockRange, Option<LockKind>) -> Result<bool>,
    ) -> Result<()> {
        self.give_up(file, range, |lock| lock.is_of(fid, owner), host)
    }

    /// Gives up all that was taken through a fid.
    pub(super) fn clunk(
        &mut self,
        file: FileId,
        fid: u32,
        host: impl Fn(&H, LockRange, Option<LockKind>) -> Result<bool>,
    ) {
        let all = LockRange { first: 0, last: u64::MAX };
        // The lock is gone for the guest in any case; the host's goes with the opened file at the latest.
        let _ = self.give_up(file, all, |lock| lock.fid == fid, host);
    }

    fn give_up(
        &mut self,
        file: FileId,
        range: LockRange,
        whose: impl Fn(&Lock) -> bool,
        host: impl Fn(&H, LockRange, Option<LockKind>) -> Result<bool>,
    ) -> Result<()> {
        let Some(locked) = self.files.get_mut(&file) else { return Ok(()) };
        if !locked.locks.iter().any(|lock| whose(lock) && overlaps(lock.range, range)) {
            return Ok(());
        }
        self.count -= locked.locks.len();
        cut_out(&mut locked.locks, range, whose);
        self.count += locked.locks.len();
        let mut done = Ok(());
        // Stretches that others still hold are shared by all of them, and so the host's lock there is right.
        for gap in uncovered(range, &locked.locks) {
            done = done.and(host(&locked.holder, gap, None).map(|_| ()));
        }
        if locked.locks.is_empty() {
            self.files.remove(&file);
        }
        done
    }

    /// Every lock.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Lock> {
        self.files.values().flat_map(|locked| &locked.locks)
    }
}

/// Takes `range` away from the locks that `whose` picks.
fn cut_out(locks: &mut Vec<Lock>, range: LockRange, whose: impl Fn(&Lock) -> bool) {
    let mut pieces = Vec::new();
    locks.retain(|lock| {
        let hit = whose(lock) && overlaps(lock.range, range);
        if hit {
            let keep = rest(lock.range, range).into_iter().flatten();
            pieces.extend(keep.map(|range| Lock { range, ..lock.clone() }));
        }
        !hit
    });
    locks.append(&mut pieces);
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Runs `p<process><+|-><r|w><first>..<last>` commands; tells the outcome of each and what the host was asked.
    fn run(script: &str) -> String {
        let file = FileId { device: 1, inode: 1 };
        let mut locks = Locks::<()>::new(100);
        let asked = RefCell::new(String::new());
        let host = |_: &(), range: LockRange, kind: Option<LockKind>| {
            let sign = match kind {
                Some(LockKind::Read) => 'r',
                Some(LockKind::Write) => 'w',
                None => '-',
            };
            asked.borrow_mut().push_str(&format!(" {sign}{}..{}", range.first, range.last));
            Ok(true)
        };
        for command in script.split(' ') {
            let process = u32::from(command.as_bytes()[1] - b'0');
            let (first, last) = command[4..].split_once("..").unwrap();
            let range = LockRange { first: first.parse().unwrap(), last: last.parse().unwrap() };
            let client = b"guest";
            if &command[2..3] == "-" {
                locks.unlock(file, process, LockOwner { process, client }, range, host).unwrap();
                continue;
            }
            let kind = if &command[3..4] == "r" { LockKind::Read } else { LockKind::Write };
            let wish = Lock { fid: process, process, client: (*client).into(), kind, range };
            if locks.lock(file, wish, || Ok(()), host) == Ok(LockOutcome::Blocked) {
                asked.borrow_mut().push_str(" blocked");
            }
        }
        asked.into_inner()
    }

    #[test]
    fn locks_of_processes_and_of_the_host() {
        for (script, outcome) in [
            ("p1+w0..9 p2+r5..5", " w0..9 blocked"),
            ("p1+w0..9 p2+r10..10", " w0..9 r10..10"),
            // A process never blocks itself, and replaces what it had.
            ("p1+w0..9 p1+r0..4 p2+r4..4 p2+r5..5", " w0..9 r0..4 r4..4 blocked"),
            // Unlocking the middle leaves both ends.
            ("p1+w0..9 p1-.4..5 p2+w3..3 p2+w4..5 p2+w6..6", " w0..9 -4..5 blocked w4..5 blocked"),
            // A shared lock stays on the host until its last holder is gone.
            ("p1+r0..9 p2+r5..20 p1-.0..9 p2-.0..99", " r0..9 r5..20 -0..4 -0..99"),
            ("p1-.0..9", ""),
        ] {
            assert_eq!(run(script), outcome, "{script}");
        }
    }

    #[test]
    fn too_many_locks_are_refused() {
        let mut locks = Locks::<()>::new(3);
        let mut lock = |at: u64| {
            let range = LockRange { first: at, last: at };
            let wish = Lock { fid: 1, process: 1, client: Box::default(), kind: LockKind::Read, range };
            locks.lock(FileId { device: 1, inode: at }, wish, || Ok(()), |_, _, _| Ok(true))
        };
        assert_eq!(lock(1), Ok(LockOutcome::Granted));
        assert_eq!(lock(3), Ok(LockOutcome::Granted));
        assert_eq!(lock(5), Err(Errno::ENOLCK));
    }
}

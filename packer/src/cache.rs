//! The artefact cache: a directory per user in which everything that takes long to make is kept,
//! keyed by what it was made from.
//!
//! Invariant: a directory that [`Cache::get_or_build`] returns was built completely. It is built
//! under another name while a lock file is held and renamed at the end, so a process that is
//! killed in the middle leaves nothing that looks finished, and two processes that need the same
//! artefact build it once.

use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

pub use log::{CommandError, Log};
pub(crate) use trim::{Kept, trim};

mod log;
mod trim;

/// Why the cache could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// None of the variables that say where the cache may be is set.
    #[error("no place for the cache: set C2W_CACHE_DIR (or HOME)")]
    NoHome,
    /// The file system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The verb, e.g. "create".
        doing: &'static str,
        /// What was touched.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
}

impl CacheError {
    /// Names the operation and the file in an error of the standard library; for `map_err`.
    pub fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
        let path = path.to_path_buf();
        move |source| CacheError::Io { doing, path, source }
    }
}

/// What an artefact is made from. Two artefacts with equal keys are interchangeable.
#[derive(Clone, Debug)]
pub struct Key {
    name: &'static str,
    digest: Sha256,
}

impl Key {
    /// A key of the kind `name`, which becomes a directory of the cache.
    #[must_use]
    pub fn new(name: &'static str) -> Key {
        Key { name, digest: Sha256::new() }
    }

    /// The same key with one more ingredient. The order of ingredients counts.
    #[must_use]
    pub fn with(mut self, label: &str, content: impl AsRef<[u8]>) -> Key {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        for part in [label.as_bytes(), content.as_ref()] {
            self.digest.update((part.len() as u64).to_le_bytes());
            self.digest.update(part);
        }
        self
    }

    /// 128 bits of the digest in hexadecimal: enough that two keys never meet, short enough to read.
    fn id(&self) -> String {
        self.digest.clone().finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Receives one line at each step of something that takes long.
pub type Progress<'a> = &'a dyn Fn(&str);

/// What a build is given: where to put its files and where to write what it does.
#[derive(Debug)]
pub struct Build<'a> {
    /// The artefact's directory to be, empty.
    pub out: &'a Path,
    /// A directory for everything that is not part of the artefact; removed after the build.
    pub scratch: &'a Path,
    /// Receives the commands and what they print.
    pub log: &'a Log,
}

/// The artefact to be, and the scratch directory, of a build that is running or was killed.
const PART: &str = ".part";
const WORK: &str = ".work";

/// The cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The user's cache: `$C2W_CACHE_DIR`, else `$XDG_CACHE_HOME/c2w`, else `~/.cache/c2w`.
    ///
    /// # Errors
    /// [`CacheError::NoHome`] when the environment names no such place.
    pub fn of_user() -> Result<Cache, CacheError> {
        // The XDG base directory specification: a relative path there is invalid and ignored.
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(own) = std::env::var_os("C2W_CACHE_DIR").filter(|value| !value.is_empty()) {
            let root = std::path::absolute(&own).map_err(CacheError::io("find", Path::new(&own)))?;
            return Ok(Cache { root });
        }
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        Ok(Cache { root: base.ok_or(CacheError::NoHome)?.join("c2w") })
    }

    /// A cache in `root`, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into() }
    }

    /// Where the cache is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The artefact of `key` if it is there. Builds nothing and waits for nobody.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<PathBuf> {
        Some(self.entry(key, "")).filter(|path| path.is_dir())
    }

    /// The artefact's directory, built by `build` if it is not there.
    ///
    /// Waits while another process builds the same artefact. When `build` fails its log stays,
    /// and the next attempt starts afresh.
    ///
    /// # Errors
    /// What `build` returned, or a [`CacheError`] when the directory cannot be written.
    pub fn get_or_build<E: From<CacheError>>(
        &self,
        key: &Key,
        progress: Progress<'_>,
        build: impl FnOnce(&Build<'_>) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let done = self.entry(key, "");
        if done.is_dir() {
            return Ok(done);
        }
        let _lock = self.lock(&self.entry(key, ".lock"), progress)?;
        if done.is_dir() {
            return Ok(done);
        }
        self.sweep(key.name)?;
        let (out, scratch) = (self.entry(key, PART), self.entry(key, WORK));
        for dir in [&out, &scratch] {
            remove_dir(dir)?;
            create_dir(dir)?;
        }
        let log = Log::create(self.entry(key, ".log"))?;
        let built = build(&Build { out: &out, scratch: &scratch, log: &log });
        remove_dir(&scratch)?;
        if built.is_err() {
            remove_dir(&out)?;
        }
        built?;
        fs::rename(&out, &done).map_err(CacheError::io("finish", &done))?;
        Ok(done)
    }

    /// Removes what builds of this kind left behind that were killed: their locks are free.
    fn sweep(&self, kind: &str) -> Result<(), CacheError> {
        let dir = self.root.join(kind);
        for entry in fs::read_dir(&dir).map_err(CacheError::io("read", &dir))?.flatten() {
            let path = entry.path();
            let is_left =
                [PART, WORK].iter().any(|suffix| path.extension().is_some_and(|end| end == &suffix[1..]));
            let lock = path.with_extension("lock");
            if is_left && File::open(&lock).is_ok_and(|lock| lock.try_lock().is_ok()) {
                remove_dir(&path)?;
            }
        }
        Ok(())
    }

    /// A directory of the cache that is changed in place, together with the lock that makes the
    /// caller its only user until it is dropped.
    ///
    /// # Errors
    /// [`CacheError::Io`] when the directory or the lock cannot be made.
    pub(crate) fn shared_dir(&self, name: &str) -> Result<(PathBuf, File), CacheError> {
        let dir = self.root.join(name);
        create_dir(&dir)?;
        let lock = self.lock(&self.root.join(format!("{name}.lock")), &|line| tracing::info!("{line}"))?;
        Ok((dir, lock))
    }

    /// An empty log for work that makes no artefact.
    ///
    /// # Errors
    /// [`CacheError::Io`] when it cannot be written.
    pub(crate) fn log(&self, name: &str) -> Result<Log, CacheError> {
        let dir = self.root.join("log");
        create_dir(&dir)?;
        Log::create(dir.join(name))
    }

    fn entry(&self, key: &Key, suffix: &str) -> PathBuf {
        self.root.join(key.name).join(key.id() + suffix)
    }

    /// Takes the lock, waiting for it. The file stays: removing it would let a third process
    /// lock a new file while a second one still waits for the old.
    pub(crate) fn lock(&self, path: &Path, progress: Progress<'_>) -> Result<File, CacheError> {
        create_dir(path.parent().unwrap_or(&self.root))?;
        let file =
            File::options().create(true).append(true).open(path).map_err(CacheError::io("open", path))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => progress(&format!(
                "waiting for another c2w that is making {}",
                path.with_extension("").display()
            )),
            Err(TryLockError::Error(error)) => return Err(CacheError::io("lock", path)(error)),
        }
        file.lock().map_err(CacheError::io("lock", path))?;
        Ok(file)
    }
}

fn create_dir(path: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(path).map_err(CacheError::io("create", path))
}

fn remove_dir(path: &Path) -> Result<(), CacheError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CacheError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    const QUIET: Progress<'_> = &|_| {};

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error(transparent)]
        Cache(#[from] CacheError),
        #[error("on purpose")]
        OnPurpose,
    }

    fn put(build: &Build<'_>, text: &str) -> Result<(), Failure> {
        fs::write(build.out.join("file"), text).map_err(CacheError::io("write", build.out))?;
        Ok(())
    }

    #[test]
    fn keys_differ_by_every_part() {
        let ids: std::collections::BTreeSet<String> = [
            Key::new("k"),
            Key::new("k").with("ab", "c"),
            Key::new("k").with("a", "bc"),
            Key::new("k").with("a", "b").with("c", ""),
            Key::new("k").with("c", "").with("a", "b"),
        ]
        .iter()
        .map(Key::id)
        .collect();
        assert_eq!(ids.len(), 5);
    }

    #[test]
    fn builds_once_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let key = Key::new("thing").with("input", "1");
        assert_eq!(cache.get(&key), None);
        let first = cache
            .get_or_build(&key, QUIET, |build| {
                fs::write(build.scratch.join("junk"), "").map_err(CacheError::io("write", build.scratch))?;
                put(build, "built")
            })
            .unwrap();
        let second = cache.get_or_build(&key, QUIET, |_| Err(Failure::OnPurpose)).unwrap();
        assert_eq!((&first, Some(&first)), (&second, cache.get(&key).as_ref()));
        assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "built");
        assert!(!dir.path().join("thing").join(key.id() + ".work").exists());
    }

    #[test]
    fn a_failed_build_leaves_no_artefact_and_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let key = Key::new("thing");
        let failed = cache.get_or_build(&key, QUIET, |build| {
            put(build, "half")?;
            fs::write(build.out.join("stale"), "").map_err(CacheError::io("write", build.out))?;
            Err(Failure::OnPurpose)
        });
        assert!(matches!(failed, Err(Failure::OnPurpose)));
        assert_eq!(cache.get(&key), None);
        let built = cache.get_or_build(&key, QUIET, |build| put(build, "whole")).unwrap();
        assert!(!built.join("stale").exists());
    }

    #[test]
    fn what_killed_builds_left_is_removed_and_what_runs_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path());
        let kind = dir.path().join("thing");
        for left in ["killed.part", "killed.work", "runs.part", "runs.work"] {
            fs::create_dir_all(kind.join(left)).unwrap();
        }
        fs::write(kind.join("killed.lock"), "").unwrap();
        let runs = File::create(kind.join("runs.lock")).unwrap();
        runs.lock().unwrap();
        let built = cache.get_or_build(&Key::new("thing"), QUIET, |build| put(build, "x")).unwrap();
        let mut left: Vec<_> = fs::read_dir(&kind)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
        left.sort();
        let mut expected = vec![built, kind.join("runs.part"), kind.join("runs.work")];
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn two_builders_of_one_key_build_once() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, builds) = (Cache::at(dir.path()), AtomicU32::new(0));
        let key = Key::new("thing");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    cache
                        .get_or_build(&key, QUIET, |build| {
                            builds.fetch_add(1, Ordering::Relaxed);
                            put(build, "x")
                        })
                        .unwrap()
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }
}

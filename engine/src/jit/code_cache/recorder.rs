//! Where records of this run go: to a file that grows while the guest runs, so that its end need not wait for it.

use super::directory::{Directory, Unfinished};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most bytes of records of a run: a guest that writes code for hours must not fill the disk.
const MOST_BYTES: usize = 64 << 20;

/// Takes in records, from any thread.
#[derive(Clone)]
pub struct Recorder {
    /// Later runs find what this one adds. It is asked for each region, and is not to wait for a thread that writes.
    lasts: bool,
    recording: Arc<Mutex<Recording>>,
}

struct Recording {
    /// Where they go; `None` if nowhere.
    directory: Option<Directory>,
    unfinished: Option<Unfinished>,
    bytes: usize,
    is_marked: bool,
    /// Why nothing more is recorded.
    failed: Option<io::Error>,
}

impl Recorder {
    /// One for a directory.
    pub fn new(directory: Option<Directory>) -> Self {
        let lasts = directory.is_some();
        let recording = Recording { directory, unfinished: None, bytes: 0, is_marked: false, failed: None };
        Self { lasts, recording: Arc::new(Mutex::new(recording)) }
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        // A thread that panicked has left records that are whole, or one that nobody finds.
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether later runs find what this one adds.
    pub fn lasts(&self) -> bool {
        self.lasts
    }

    /// Takes in a record, with its keys.
    pub fn add(&self, keys: Vec<u64>, record: &[u8]) {
        let mut recording = self.lock();
        if recording.failed.is_none()
            && let Err(error) = recording.add(keys, record)
        {
            recording.failed = Some(error);
        }
    }

    /// Takes in a note that something has been done, which is worth being saved.
    pub fn mark(&self, what: u64) {
        self.add(vec![what], &[]);
        self.lock().is_marked = true;
    }

    /// Whether something has been marked since the last time.
    pub fn is_marked(&self) -> bool {
        self.lock().is_marked
    }

    /// Lets later runs find what was taken in since the last time.
    ///
    /// # Errors
    /// The host's.
    pub fn save(&self) -> io::Result<()> {
        let mut recording = self.lock();
        (recording.bytes, recording.is_marked) = (0, false);
        match (recording.failed.take(), recording.unfinished.take(), &recording.directory) {
            (Some(error), ..) => Err(error),
            (None, Some(unfinished), Some(directory)) => directory.finish(unfinished),
            _ => Ok(()),
        }
    }

    /// Forgets what was taken in since then.
    pub fn discard(&self) {
        let mut recording = self.lock();
        (recording.bytes, recording.is_marked) = (0, false);
        (recording.unfinished, recording.failed) = (None, None);
    }
}

impl Recording {
    fn add(&mut self, keys: Vec<u64>, record: &[u8]) -> io::Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        if self.bytes >= MOST_BYTES {
            return Ok(());
        }
        self.bytes += record.len();
        let unfinished = match &mut self.unfinished {
            Some(unfinished) => unfinished,
            none => none.insert(directory.begin()?),
        };
        unfinished.add(keys, record)
    }
}

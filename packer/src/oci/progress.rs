//! How long transfers are watched. The library itself shows nothing.

/// Is told of transfers that begin.
pub trait Watcher: Sync {
    /// A transfer begins: what it is called, and how long it is if that is known.
    fn begin(&self, name: &str, total_bytes: Option<u64>) -> Box<dyn Meter + '_>;

    /// Something that the user may want to know: one line.
    fn note(&self, line: &str);
}

/// Is told how one transfer goes on; dropped at its end.
pub trait Meter {
    /// This many bytes of it are there.
    fn at(&mut self, done_bytes: u64);
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Watcher for Quiet {
    fn begin(&self, _name: &str, _total_bytes: Option<u64>) -> Box<dyn Meter + '_> {
        Box::new(Quiet)
    }

    fn note(&self, line: &str) {
        tracing::info!("{line}");
    }
}

impl Meter for Quiet {
    fn at(&mut self, _done_bytes: u64) {}
}

//! The host's terminal: raw mode that is undone in every way out, and its size.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The first terminal of this process that was put into raw mode, for signal handlers.
static FIRST: OnceLock<Restorer> = OnceLock::new();

/// Puts the terminal into raw mode for as long as it lives.
///
/// The old settings come back when the guard is dropped, when the program panics, and through a [`Restorer`]
/// when it leaves by `std::process::exit`.
#[derive(Debug)]
pub struct RawMode {
    restorer: Restorer,
}

/// Gives the terminal its old settings back; any number of times, from any thread.
#[derive(Clone, Debug)]
pub struct Restorer {
    saved: Arc<Mutex<Option<(OwnedFd, Termios)>>>,
}

impl RawMode {
    /// Puts the terminal behind `terminal` into raw mode.
    ///
    /// # Errors
    /// If it is not a terminal.
    pub fn enter(terminal: impl AsFd) -> io::Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let old = tcgetattr(&terminal)?;
        let mut raw = old.clone();
        raw.make_raw();
        let restorer = Restorer { saved: Arc::new(Mutex::new(Some((terminal, old)))) };
        let for_panics = restorer.clone();
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            for_panics.restore();
            previous(info);
        }));
        // A second one is not restored by signal handlers.
        let _ = FIRST.set(restorer.clone());
        if let Some((terminal, _)) = &*restorer.lock() {
            tcsetattr(terminal, OptionalActions::Drain, &raw)?;
        }
        Ok(Self { restorer })
    }

    /// A handle for ways out that run no destructors.
    pub fn restorer(&self) -> Restorer {
        self.restorer.clone()
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.restorer.restore();
    }
}

impl Restorer {
    /// Restores the settings, once; later calls do nothing.
    pub fn restore(&self) {
        if let Some((terminal, old)) = self.lock().take() {
            // Nothing is left to try if the terminal is gone.
            let _ = tcsetattr(&terminal, OptionalActions::Now, &old);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(OwnedFd, Termios)>> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Restores the settings as far as that can be done in a signal handler: without waiting for a lock.
pub fn restore_now() {
    if let Some(Ok(saved)) = FIRST.get().map(|restorer| restorer.saved.try_lock())
        && let Some((terminal, old)) = &*saved
    {
        let _ = tcsetattr(terminal, OptionalActions::Now, old);
    }
}

/// Whether `terminal` was a terminal that has been closed (EIO, termios(3) on a line that hung up).
pub fn hung_up(terminal: impl AsFd) -> bool {
    matches!(tcgetattr(terminal), Err(rustix::io::Errno::IO))
}

/// Rows and columns of the terminal behind `terminal`, if it is one and knows its size.
pub fn size(terminal: impl AsFd) -> Option<(u16, u16)> {
    let size = tcgetwinsize(terminal).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

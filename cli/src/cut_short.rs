//! An image that is cut short, or whose disk fails, while a machine has its memory mapped from it: touching a page that is
//! no longer there raises SIGBUS, which becomes one line and an exit status.

use crate::{exit, terminal};
use c2w_packer::image::Image;
use signal_hook::consts::SIGBUS;
use signal_hook::low_level;
use std::io;
use std::ops::Range;
use std::sync::OnceLock;

/// Memory that is mapped from an image, and what is said when that is cut short.
struct Mapped {
    addresses: Range<usize>,
    line: String,
}

/// Of the first machine of this process: commands have one.
static MAPPED: OnceLock<Mapped> = OnceLock::new();

/// From now on, this process ends with a line that names `image` when memory at these addresses turns out not to be in the
/// file any more. Any other SIGBUS ends it as it would have before.
///
/// # Errors
/// The host does not let signals be caught.
pub fn watch(image: &Image, addresses: Range<usize>) -> io::Result<()> {
    let line = format!("c2w-run: {}\n", image.changed());
    if MAPPED.set(Mapped { addresses, line }).is_err() {
        return Ok(());
    }
    // SAFETY: what the handler does is async-signal-safe: it reads what was written once before it was registered, writes
    // to a file descriptor, changes a terminal's mode by a system call and exits without running anything else.
    unsafe { signal_hook_registry::register_sigaction(SIGBUS, handle) }.map(|_| ())
}

fn handle(info: &libc::siginfo_t) {
    // SAFETY: the system fills in the address for this signal when a fault raised it; when a process sent it, what stands
    // there is some number, and is only compared.
    let address = unsafe { info.si_addr() } as usize;
    match MAPPED.get() {
        Some(mapped) if mapped.addresses.contains(&address) => {
            terminal::restore_now();
            // Nothing is left to do if nobody reads it.
            let _ = rustix::io::write(rustix::stdio::stderr(), mapped.line.as_bytes());
            low_level::exit(i32::from(exit::HOST_FAILURE));
        }
        _ => {
            // It ends this process; the handler has nothing to go back to.
            let _ = low_level::emulate_default_handler(SIGBUS);
        }
    }
}

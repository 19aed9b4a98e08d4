//! What c2w does for a guest of any architecture: containers, shares, terminals, root file systems and raw boots.

mod boot;
mod container;
mod rootfs;
mod shares;
mod snapshot;
mod terminal;
mod translation;

#[allow(unused_imports, reason = "not every test program has more to boot")]
pub use boot::{boot, boot_initrd};

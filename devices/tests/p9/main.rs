//! The 9P server under a client of its own, over both back ends; confinement of shared host directories; hostile
//! messages.

mod client;
#[cfg(all(feature = "native", target_os = "linux"))]
mod confinement;
mod hostile;
#[cfg(all(feature = "native", target_os = "linux"))]
mod native;
mod script;
mod session;

use c2w_devices::backend::fs::{MemoryFs, MemoryLimits};
use client::Client;

const CASES: &str = include_str!("cases.txt");

struct MemoryTree(MemoryFs);

impl script::Tree for MemoryTree {
    type Fs = MemoryFs;

    fn open(&self) -> MemoryFs {
        self.0.clone()
    }

    fn check(&self, _: &mut Client<MemoryFs>) {}
}

#[test]
fn cases_in_memory() {
    script::run_all(CASES, || MemoryTree(MemoryFs::new(MemoryLimits::default())));
}

//! What unit tests of devices share: a RAM, a time and a place for requests.

use c2w_engine::addr::Gpa;
use c2w_engine::mem::device::{DeviceEnv, Request};
use c2w_engine::mem::ram::Ram;

/// The surroundings of a device under test.
pub(crate) struct Bench {
    pub ram: Ram,
    pub now_ns: u64,
    pub request: Option<Request>,
}

impl Bench {
    pub fn new() -> Self {
        Self { ram: Ram::new(Gpa(0x8000_0000), 1 << 20), now_ns: 0, request: None }
    }

    pub fn env(&mut self) -> DeviceEnv<'_> {
        DeviceEnv { ram: &mut self.ram, now_ns: self.now_ns, request: &mut self.request }
    }
}

//! What tests of virtio devices share.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod raw;
pub mod rig;

use c2w_devices::backend::block::MemoryBlock;
use c2w_devices::backend::char::{CharHost, NullChar, char_channel};
use c2w_devices::backend::entropy::NoEntropy;
use c2w_devices::virtio::blk::Blk;
use c2w_devices::virtio::console::{Console, ConsoleSize, PortOptions};
use c2w_devices::virtio::rng::Rng;
use c2w_devices::virtio::{DeviceState, VirtioDevice};
use c2w_engine::irq::Attention;

/// Bytes each direction of a test's console port holds.
pub const CHANNEL_BYTES: usize = 64;

/// Counts up; a test sees at once what was written where.
pub fn counting_rng() -> Box<Rng> {
    let mut next = 0u8;
    Box::new(Rng::new(Box::new(move |to: &mut [u8]| {
        for byte in to {
            next = next.wrapping_add(1);
            *byte = next;
        }
        Ok::<(), NoEntropy>(())
    })))
}

/// A disk in memory of `sectors` sectors, each filled with its number.
pub fn memory_disk(sectors: usize, read_only: bool) -> Box<Blk> {
    let bytes = (0..sectors * 512).map(|at| (at / 512) as u8).collect();
    Box::new(Blk::new(Box::new(MemoryBlock::new(bytes, read_only)), "test-disk"))
}

/// Ports of [`console`]: a terminal, then a named stream.
pub fn ports() -> (Vec<PortOptions>, [CharHost; 2]) {
    let attention = Attention::default();
    let (terminal, terminal_host) = char_channel(CHANNEL_BYTES, &attention);
    let (stream, stream_host) = char_channel(CHANNEL_BYTES, &attention);
    let ports = vec![
        PortOptions { name: String::new(), is_console: true, backend: Box::new(terminal) },
        PortOptions { name: "test.stream".into(), is_console: false, backend: Box::new(stream) },
    ];
    (ports, [terminal_host, stream_host])
}

/// A console with two ports, and their host ends.
pub fn console(size: ConsoleSize) -> (Box<Console>, [CharHost; 2]) {
    let (ports, hosts) = ports();
    (Box::new(Console::new(ports, size)), hosts)
}

/// Ports nobody on the host uses.
fn mute_ports() -> Vec<PortOptions> {
    let ports = [("", true), ("x", false), ("y", false)];
    let port = |(name, is_console): (&str, bool)| PortOptions {
        name: name.into(),
        is_console,
        backend: Box::new(NullChar),
    };
    ports.map(port).into()
}

/// One device of each kind, always in the same state.
pub fn every_device() -> Vec<Box<dyn VirtioDevice>> {
    let console = Box::new(Console::new(mute_ports(), ConsoleSize::default()));
    vec![memory_disk(64, false), memory_disk(64, true), console, counting_rng()]
}

/// One of [`every_device`], restored over a new backend.
pub fn restored(state: &DeviceState) -> Box<dyn VirtioDevice> {
    match state {
        DeviceState::Blk(state) => {
            let store = MemoryBlock::new(vec![0; 64 * 512], state.read_only);
            Box::new(Blk::restore(Box::new(store), "test-disk", state).expect("the same store"))
        }
        DeviceState::Console(state) => {
            let size = ConsoleSize::default();
            Box::new(Console::restore(mute_ports(), size, state).expect("the same ports"))
        }
        _ => counting_rng(),
    }
}

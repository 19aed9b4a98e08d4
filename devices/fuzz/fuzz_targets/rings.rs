//! Virtio devices under a hostile driver: the input is a script of register accesses and of writes to the rings,
//! descriptors and buffers the device reads.

#![no_main]

use c2w_devices::backend::block::{MemoryBlock, OverlayBlock};
use c2w_devices::backend::char::{CharHost, char_channel};
use c2w_devices::backend::entropy::NoEntropy;
use c2w_devices::virtio::blk::Blk;
use c2w_devices::virtio::console::{Console, ConsoleSize, PortOptions};
use c2w_devices::virtio::mmio::VirtioMmio;
use c2w_devices::virtio::rng::Rng;
use c2w_devices::virtio::{VirtioDevice, feature};
use c2w_engine::addr::{Gpa, Width};
use c2w_engine::irq::{Attention, IrqLine, IrqLines};
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use c2w_engine::mem::ram::Ram;
use libfuzzer_sys::fuzz_target;

const RAM_BASE: u64 = 0x8000_0000;
const RAM_BYTES: u64 = 0x1_0000;
/// Table, available ring and used ring of each queue are this far apart, small enough for short offsets.
const AREA_BYTES: u64 = 0x200;
const QUEUE_SIZE: u64 = 8;
const STATUS: u64 = 0x070;

struct Guest {
    mmio: VirtioMmio,
    ram: Ram,
    irq: IrqLine,
}

impl Guest {
    fn write(&mut self, offset: u64, width: Width, value: u64) {
        let mut env = DeviceEnv { ram: &mut self.ram, now_ns: 0, request: &mut None };
        self.mmio.write(offset, width, value, &mut env);
    }

    fn read(&mut self, offset: u64, width: Width) -> u64 {
        let mut env = DeviceEnv { ram: &mut self.ram, now_ns: 0, request: &mut None };
        self.mmio.read(offset, width, &mut env)
    }

    fn poll(&mut self) {
        let mut env = DeviceEnv { ram: &mut self.ram, now_ns: 0, request: &mut None };
        self.mmio.poll(&mut env);
    }

    fn start(&mut self, features: u64, queues: usize) {
        self.write(STATUS, Width::W32, 3);
        for half in 0..2 {
            self.write(0x024, Width::W32, half);
            self.write(0x020, Width::W32, features >> (32 * half) & 0xffff_ffff);
        }
        self.write(STATUS, Width::W32, 11);
        for queue in 0..queues as u64 {
            let base = RAM_BASE + 3 * AREA_BYTES * queue;
            self.write(0x030, Width::W32, queue);
            self.write(0x038, Width::W32, QUEUE_SIZE);
            for (register, area) in [(0x080, 0), (0x090, 1), (0x0a0, 2)] {
                self.write(register, Width::W32, base + area * AREA_BYTES);
            }
            self.write(0x044, Width::W32, 1);
        }
        self.write(STATUS, Width::W32, 15);
    }
}

/// A device, and the host ends of its ports, if it has any.
fn device(kind: u8) -> (Box<dyn VirtioDevice>, Vec<CharHost>) {
    let mut hosts = Vec::new();
    let device: Box<dyn VirtioDevice> = match kind % 4 {
        0 => Box::new(Blk::new(Box::new(MemoryBlock::new(vec![1; 0x4000], false)), "fuzz")),
        1 => {
            let base = MemoryBlock::new(vec![1; 0x4000 + 512], true);
            Box::new(Blk::new(Box::new(OverlayBlock::new(Box::new(base), 0x2000)), "fuzz"))
        }
        2 => {
            let ports = ["", "one"].map(|name| {
                let (backend, host) = char_channel(100, &Attention::default());
                host.write(b"input");
                hosts.push(host);
                PortOptions { name: name.into(), is_console: name.is_empty(), backend: Box::new(backend) }
            });
            Box::new(Console::new(ports.into(), ConsoleSize::default()))
        }
        _ => Box::new(Rng::new(Box::new(|to: &mut [u8]| {
            to.fill(7);
            Ok::<(), NoEntropy>(())
        }))),
    };
    (device, hosts)
}

/// Takes `N` bytes from the front, zeroes past the end.
fn take<const N: usize>(script: &mut &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    let count = N.min(script.len());
    bytes[..count].copy_from_slice(&script[..count]);
    *script = &script[count..];
    bytes
}

fuzz_target!(|input: &[u8]| {
    let mut script = input;
    let [kind, feature_bits] = take(&mut script);
    let (device, mut hosts) = device(kind);
    let queues = device.queue_sizes().len();
    let optional = u64::from(feature_bits) << 24 & feature::TRANSPORT | u64::from(feature_bits);
    let features = feature::VERSION_1 | optional & (device.features() | feature::TRANSPORT);
    let irq = IrqLines::new(&Attention::default()).line(0);
    let ram = Ram::new(Gpa(RAM_BASE), RAM_BYTES);
    let mut guest = Guest { mmio: VirtioMmio::new(device, irq.clone()), ram, irq };
    guest.start(features, queues);
    while !script.is_empty() {
        let [step] = take(&mut script);
        match step % 8 {
            0 | 1 => {
                let at = u64::from(u16::from_le_bytes(take(&mut script)));
                let [len] = take(&mut script);
                let bytes = script.split_off(..usize::from(len % 33).min(script.len())).unwrap_or(&[]);
                let _ = guest.ram.write(Gpa(RAM_BASE + at), bytes);
            }
            2 => {
                // A descriptor with an address that is likely to be in RAM.
                let [queue, index, flags, next] = take(&mut script);
                let [at, len] =
                    [u16::from_le_bytes(take(&mut script)), u16::from_le_bytes(take(&mut script))];
                let table = 3 * AREA_BYTES * u64::from(queue % 8);
                let raw = u128::from(RAM_BASE + u64::from(at))
                    | u128::from(len) << 64
                    | u128::from(flags % 8) << 96
                    | u128::from(next % 9) << 112;
                let _ =
                    guest.ram.write(Gpa(RAM_BASE + table + u64::from(index % 8) * 16), &raw.to_le_bytes());
            }
            3 => {
                let [queue, ahead] = take(&mut script);
                let available = Gpa(RAM_BASE + 3 * AREA_BYTES * u64::from(queue % 8) + AREA_BYTES + 2);
                let index = guest.ram.read_u16(available).unwrap_or(0).wrapping_add(u16::from(ahead % 10));
                let _ = guest.ram.write(available, &index.to_le_bytes());
                guest.write(0x050, Width::W32, u64::from(queue % 8));
            }
            4 => {
                let [register] = take(&mut script);
                let value = u32::from_le_bytes(take(&mut script));
                guest.write(u64::from(register) * 4 % 0x200, Width::W32, value.into());
            }
            5 => {
                let [offset, width] = take(&mut script);
                let width = Width::ALL[usize::from(width % 4)];
                let value = guest.read((u64::from(offset) * 2 % 0x200) & !(width.bytes() - 1), width);
                assert_eq!(value & !width.mask(), 0);
            }
            6 => {
                let [host] = take(&mut script);
                // Some steps drain a port, one closes it.
                match hosts.get(usize::from(host % 4)) {
                    Some(host) => _ = host.read(&mut [0; 50]),
                    None => drop(hosts.pop()),
                }
                guest.poll();
            }
            _ => {
                guest.write(STATUS, Width::W32, 0);
                guest.start(features, queues);
            }
        }
        let state = guest.mmio.save();
        assert_eq!(guest.irq.is_high(), state.interrupt_status != 0);
    }
});

//! A driver that writes registers, rings and descriptors itself, right or wrong as a test wants.

use c2w_devices::virtio::mmio::VirtioMmio;
use c2w_devices::virtio::{VirtioDevice, feature};
use c2w_engine::addr::{Gpa, Width};
use c2w_engine::irq::{Attention, IrqLine, IrqLines};
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use c2w_engine::mem::ram::Ram;

pub const RAM_BASE: u64 = 0x8000_0000;
pub const RAM_BYTES: u64 = 4 << 20;
/// Free for data.
pub const DATA: u64 = RAM_BASE + 0x20_0000;
/// Each queue has this much room for its table, its available ring and its used ring.
const QUEUE_BYTES: u64 = 0x4000;

pub const STATUS: u64 = 0x070;
pub const INTERRUPT_STATUS: u64 = 0x060;
pub const INTERRUPT_ACK: u64 = 0x064;
pub const NOTIFY: u64 = 0x050;
pub const NEEDS_RESET: u64 = 64;
/// ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK.
pub const RUNNING: u64 = 15;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// Addresses of a queue's parts.
#[derive(Clone, Copy)]
pub struct Rings {
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
    pub size: u16,
}

pub struct Raw {
    pub mmio: VirtioMmio,
    pub ram: Ram,
    pub irq: IrqLine,
    pub rings: Vec<Rings>,
    next_descriptor: Vec<u16>,
    seen_used: Vec<u16>,
}

impl Raw {
    /// A device nobody has touched.
    pub fn untouched(device: Box<dyn VirtioDevice>) -> Self {
        let irq = IrqLines::new(&Attention::default()).line(0);
        let sizes = device.queue_sizes().to_vec();
        let rings = sizes.iter().zip(0..).map(|(&size, queue)| {
            let base = RAM_BASE + queue * QUEUE_BYTES;
            Rings { descriptors: base, available: base + 0x2000, used: base + 0x3000, size }
        });
        Self {
            rings: rings.collect(),
            mmio: VirtioMmio::new(device, irq.clone()),
            ram: Ram::new(Gpa(RAM_BASE), RAM_BYTES),
            irq,
            next_descriptor: vec![0; sizes.len()],
            seen_used: vec![0; sizes.len()],
        }
    }

    /// A device that runs with everything it offers, limited to `features`.
    pub fn running(device: Box<dyn VirtioDevice>, features: u64) -> Self {
        let offered = device.features() | feature::TRANSPORT;
        let mut raw = Self::untouched(device);
        raw.start(offered & features);
        raw
    }

    /// Initializes the device as virtio 1.2 §3.1.1 says.
    pub fn start(&mut self, features: u64) {
        self.write(STATUS, 3);
        for half in 0..2 {
            self.write(0x024, half);
            self.write(0x020, features >> (32 * half) & 0xffff_ffff);
        }
        self.write(STATUS, 11);
        assert_eq!(self.read(STATUS), 11, "features accepted");
        for queue in 0..self.rings.len() {
            self.set_up_queue(queue, self.rings[queue]);
            assert_eq!(self.read(0x044), 1, "queue accepted");
        }
        self.write(STATUS, RUNNING);
        assert_eq!(self.read(STATUS), RUNNING);
    }

    pub fn set_up_queue(&mut self, queue: usize, rings: Rings) {
        self.write(0x030, queue as u64);
        self.write(0x038, rings.size.into());
        for (offset, address) in [(0x080, rings.descriptors), (0x090, rings.available), (0x0a0, rings.used)] {
            self.write(offset, address & 0xffff_ffff);
            self.write(offset + 4, address >> 32);
        }
        self.write(0x044, 1);
    }

    pub fn read(&mut self, offset: u64) -> u64 {
        self.read_width(offset, Width::W32)
    }

    pub fn read_width(&mut self, offset: u64, width: Width) -> u64 {
        let mut env = DeviceEnv { ram: &mut self.ram, now_ns: 0, request: &mut None };
        self.mmio.read(offset, width, &mut env)
    }

    pub fn write(&mut self, offset: u64, value: u64) {
        self.write_width(offset, Width::W32, value);
    }

    pub fn write_width(&mut self, offset: u64, width: Width, value: u64) {
        let mut env = DeviceEnv { ram: &mut self.ram, now_ns: 0, request: &mut None };
        self.mmio.write(offset, width, value, &mut env);
    }

    pub fn poll(&mut self) {
        let mut env = DeviceEnv { ram: &mut self.ram, now_ns: 0, request: &mut None };
        self.mmio.poll(&mut env);
    }

    pub fn put(&mut self, gpa: u64, bytes: &[u8]) {
        self.ram.write(Gpa(gpa), bytes).expect("test data fits RAM");
    }

    pub fn get(&self, gpa: u64, len: usize) -> Vec<u8> {
        self.ram.slice(Gpa(gpa), len as u64).expect("test data is in RAM").to_vec()
    }

    /// Writes a descriptor into the table at `table`.
    pub fn descriptor(&mut self, table: u64, index: u16, gpa: u64, len: u32, flags: u16, next: u16) {
        let raw = u128::from(gpa) | u128::from(len) << 64 | u128::from(flags) << 96 | u128::from(next) << 112;
        self.put(table + 16 * u64::from(index), &raw.to_le_bytes());
    }

    /// Makes a chain of these buffers, (address, length) each, and makes it available. Returns its head.
    pub fn offer(&mut self, queue: usize, readable: &[(u64, u32)], writable: &[(u64, u32)]) -> u16 {
        let rings = self.rings[queue];
        let head = self.next_descriptor[queue];
        let buffers: Vec<_> =
            readable.iter().map(|b| (b, 0)).chain(writable.iter().map(|b| (b, WRITE))).collect();
        let mut index = head;
        for (left, &(&(gpa, len), flags)) in buffers.iter().enumerate() {
            let next = (index + 1) % rings.size;
            let more = if left + 1 < buffers.len() { NEXT } else { 0 };
            self.descriptor(rings.descriptors, index, gpa, len, flags | more, next);
            index = next;
        }
        self.next_descriptor[queue] = index;
        self.make_available(queue, head);
        head
    }

    /// Puts a head into the available ring.
    pub fn make_available(&mut self, queue: usize, head: u16) {
        let Rings { available, size, .. } = self.rings[queue];
        let index = self.ram.read_u16(Gpa(available + 2)).unwrap();
        self.put(available + 4 + 2 * u64::from(index % size), &head.to_le_bytes());
        self.put(available + 2, &index.wrapping_add(1).to_le_bytes());
    }

    pub fn notify(&mut self, queue: usize) {
        self.write(NOTIFY, queue as u64);
    }

    /// Offers a chain, notifies, and returns what the device says it wrote, if it finished.
    pub fn request(&mut self, queue: usize, readable: &[(u64, u32)], writable: &[(u64, u32)]) -> Option<u32> {
        let head = self.offer(queue, readable, writable);
        self.notify(queue);
        self.take_used(queue).map(|(used_head, written)| {
            assert_eq!(used_head, u32::from(head));
            written
        })
    }

    /// The next chain the device returned: head and bytes written.
    pub fn take_used(&mut self, queue: usize) -> Option<(u32, u32)> {
        let Rings { used, size, .. } = self.rings[queue];
        let seen = self.seen_used[queue];
        if self.ram.read_u16(Gpa(used + 2)).unwrap() == seen {
            return None;
        }
        self.seen_used[queue] = seen.wrapping_add(1);
        let entry = used + 4 + 8 * u64::from(seen % size);
        Some((self.ram.read_u32(Gpa(entry)).unwrap(), self.ram.read_u32(Gpa(entry + 4)).unwrap()))
    }

    pub fn needs_reset(&mut self) -> bool {
        self.read(STATUS) & NEEDS_RESET != 0
    }
}

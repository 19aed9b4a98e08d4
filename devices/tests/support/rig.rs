//! Lets the drivers of the `virtio-drivers` crate, which we did not write, drive our devices: their transport is our
//! register window and their DMA memory is guest RAM.
//!
//! The crate's `Hal` has no `self`, so the guest of a test lives in a thread-local; tests run on a thread each.

use c2w_devices::virtio::{VirtioDevice, mmio::VirtioMmio};
use c2w_engine::addr::{Gpa, Width};
use c2w_engine::irq::{Attention, IrqLine, IrqLines};
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use c2w_engine::mem::ram::Ram;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const RAM_BASE: u64 = 0x8000_0000;
const RAM_PAGES: usize = 8192;

struct Guest {
    ram: Ram,
    /// Which pages are handed out.
    used: Vec<bool>,
}

thread_local! {
    static GUEST: RefCell<Guest> = RefCell::new(Guest {
        ram: Ram::new(Gpa(RAM_BASE), (RAM_PAGES * PAGE_SIZE) as u64),
        used: vec![false; RAM_PAGES],
    });
}

fn with_guest<R>(act: impl FnOnce(&mut Guest) -> R) -> R {
    GUEST.with_borrow_mut(act)
}

impl Guest {
    fn allocate(&mut self, pages: usize) -> (PhysAddr, NonNull<u8>) {
        let first = (0..=RAM_PAGES - pages)
            .find(|&first| self.used[first..first + pages].iter().all(|used| !used))
            .expect("the test's RAM is large enough");
        self.used[first..first + pages].fill(true);
        let gpa = RAM_BASE + (first * PAGE_SIZE) as u64;
        let bytes = self.ram.slice_mut(Gpa(gpa), (pages * PAGE_SIZE) as u64).expect("pages are in RAM");
        bytes.fill(0);
        (gpa, NonNull::from(bytes).cast())
    }

    fn free(&mut self, gpa: PhysAddr, pages: usize) {
        let first = (gpa - RAM_BASE) as usize / PAGE_SIZE;
        assert!(self.used[first..first + pages].iter().all(|used| *used), "freed what is free");
        self.used[first..first + pages].fill(false);
    }
}

/// Guest RAM as the drivers' DMA memory. Buffers are copied, so that forgetting to unshare shows.
pub struct GuestHal;

// SAFETY: pages come from the guest's RAM, which lives as long as the thread, are page-aligned, zeroed and handed out
// once until freed. Devices touch them only inside a call of `Window`, during which the driver holds no reference.
unsafe impl Hal for GuestHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        with_guest(|guest| guest.allocate(pages))
    }

    unsafe fn dma_dealloc(gpa: PhysAddr, _vaddr: NonNull<u8>, pages: usize) -> i32 {
        with_guest(|guest| guest.free(gpa, pages));
        0
    }

    unsafe fn mmio_phys_to_virt(_gpa: PhysAddr, _size: usize) -> NonNull<u8> {
        unreachable!("only PCI transports map MMIO")
    }

    unsafe fn share(buffer: NonNull<[u8]>, direction: BufferDirection) -> PhysAddr {
        with_guest(|guest| {
            let (gpa, _) = guest.allocate(buffer.len().div_ceil(PAGE_SIZE));
            if direction != BufferDirection::DeviceToDriver {
                // SAFETY: the caller passes a valid buffer that nothing else accesses during the call.
                guest.ram.write(Gpa(gpa), unsafe { buffer.as_ref() }).expect("allocated above");
            }
            gpa
        })
    }

    unsafe fn unshare(gpa: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        with_guest(|guest| {
            if direction != BufferDirection::DriverToDevice {
                // SAFETY: as in `share`.
                guest.ram.read(Gpa(gpa), unsafe { buffer.as_mut() }).expect("shared before");
            }
            guest.free(gpa, buffer.len().div_ceil(PAGE_SIZE));
        })
    }
}

/// Our register window as the drivers' transport. Clones are the same device.
#[derive(Clone)]
pub struct Window {
    mmio: Rc<RefCell<VirtioMmio>>,
    irq: IrqLine,
}

impl Window {
    pub fn new(device: Box<dyn VirtioDevice>) -> Self {
        let irq = IrqLines::new(&Attention::default()).line(0);
        Self { mmio: Rc::new(RefCell::new(VirtioMmio::new(device, irq.clone()))), irq }
    }

    /// Has the device look at the host.
    pub fn poll(&self) {
        self.with_device(|mmio, env| mmio.poll(env));
    }

    pub fn irq_is_high(&self) -> bool {
        self.irq.is_high()
    }

    fn with_device<R>(&self, act: impl FnOnce(&mut VirtioMmio, &mut DeviceEnv<'_>) -> R) -> R {
        with_guest(|guest| {
            let mut env = DeviceEnv { ram: &mut guest.ram, now_ns: 0, request: &mut None };
            act(&mut self.mmio.borrow_mut(), &mut env)
        })
    }

    fn read(&self, offset: u64) -> u32 {
        self.with_device(|mmio, env| mmio.read(offset, Width::W32, env)) as u32
    }

    fn write(&self, offset: u64, value: u32) {
        self.with_device(|mmio, env| mmio.write(offset, Width::W32, value.into(), env));
    }

    fn write_address(&self, offset: u64, address: u64) {
        self.write(offset, address as u32);
        self.write(offset + 4, (address >> 32) as u32);
    }
}

/// Register offsets are written out here a second time on purpose (virtio 1.2 §4.2.2).
impl Transport for Window {
    fn device_type(&self) -> DeviceType {
        assert_eq!((self.read(0x000), self.read(0x004)), (0x7472_6976, 2));
        DeviceType::try_from(self.read(0x008)).expect("a known device type")
    }

    fn read_device_features(&mut self) -> u64 {
        self.write(0x014, 0);
        let low = self.read(0x010);
        self.write(0x014, 1);
        u64::from(low) | u64::from(self.read(0x010)) << 32
    }

    fn write_driver_features(&mut self, features: u64) {
        for half in 0..2 {
            self.write(0x024, half);
            self.write(0x020, (features >> (32 * half)) as u32);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.write(0x030, queue.into());
        self.read(0x034)
    }

    fn notify(&mut self, queue: u16) {
        self.write(0x050, queue.into());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.read(0x070))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write(0x070, status.bits());
        assert_eq!(self.get_status(), status, "the device accepts the driver's status");
    }

    fn set_guest_page_size(&mut self, _size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.write(0x030, queue.into());
        self.write(0x038, size);
        self.write_address(0x080, descriptors);
        self.write_address(0x090, driver_area);
        self.write_address(0x0a0, device_area);
        self.write(0x044, 1);
        assert_eq!(self.read(0x044), 1, "the device accepts the queue");
    }

    fn queue_unset(&mut self, queue: u16) {
        self.write(0x030, queue.into());
        self.write(0x044, 0);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.write(0x030, queue.into());
        self.read(0x044) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let status = self.read(0x060);
        self.write(0x064, status);
        InterruptStatus::from_bits_truncate(status)
    }

    fn read_config_generation(&self) -> u32 {
        self.read(0x0fc)
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> virtio_drivers::Result<T> {
        let width = Width::from_bytes(size_of::<T>() as u64).expect("a field of the configuration space");
        let value = self.with_device(|mmio, env| mmio.read(0x100 + offset as u64, width, env));
        Ok(T::read_from_prefix(&value.to_le_bytes()).expect("at most eight bytes").0)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> virtio_drivers::Result<()> {
        let width = Width::from_bytes(size_of::<T>() as u64).expect("a field of the configuration space");
        let mut bytes = [0; 8];
        bytes[..size_of::<T>()].copy_from_slice(value.as_bytes());
        let value = u64::from_le_bytes(bytes);
        self.with_device(|mmio, env| mmio.write(0x100 + offset as u64, width, value, env));
        Ok(())
    }
}

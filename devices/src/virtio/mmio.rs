//! The virtio transport over MMIO, register layout version 2 (virtio 1.2 §4.2).
//!
//! Owns the registers, the status machine, feature negotiation, the virtqueues and the interrupt line. A device that
//! broke is in the status DEVICE_NEEDS_RESET and answers nothing until the driver resets it.

use super::queue::{Queue, QueueError, QueueIndex, QueueState};
use super::{DeviceId, DeviceState, RestoreError, VirtioDevice, VirtioIo, feature};
use crate::fdt::{self, FdtWriter, Place};
use c2w_engine::addr::Width;
use c2w_engine::irq::IrqLine;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// Length of the window: the registers and the configuration space.
pub const WINDOW_BYTES: u64 = 0x1000;

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// "c2w" as the vendor; drivers show it and nothing more.
const VENDOR: u32 = 0x0077_3263;
/// Where the configuration space starts.
const CONFIG: u64 = 0x100;

/// Bits of the status register (§2.1).
mod status {
    pub const FEATURES_OK: u32 = 8;
    pub const DRIVER_OK: u32 = 4;
    pub const NEEDS_RESET: u32 = 64;
    /// The bits a driver may set.
    pub const DRIVER: u32 = 1 | 2 | DRIVER_OK | FEATURES_OK | 128;
}

/// Bits of the interrupt status register.
mod interrupt {
    pub const QUEUE: u32 = 1;
    pub const CONFIG: u32 = 2;
}

/// The registers below the configuration space (§4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Magic,
    Version,
    DeviceId,
    Vendor,
    DeviceFeatures,
    DeviceFeaturesSelect,
    DriverFeatures,
    DriverFeaturesSelect,
    QueueSelect,
    QueueSizeMax,
    QueueSize,
    QueueReady,
    QueueNotify,
    InterruptStatus,
    InterruptAck,
    Status,
    /// Half `1` is the high word.
    QueueDescriptors(u32),
    QueueAvailable(u32),
    QueueUsed(u32),
    /// Length and base of shared memory regions, of which there are none.
    SharedMemory,
    ConfigGeneration,
}

impl Register {
    fn at(offset: u64) -> Option<Self> {
        Some(match offset {
            0x000 => Self::Magic,
            0x004 => Self::Version,
            0x008 => Self::DeviceId,
            0x00c => Self::Vendor,
            0x010 => Self::DeviceFeatures,
            0x014 => Self::DeviceFeaturesSelect,
            0x020 => Self::DriverFeatures,
            0x024 => Self::DriverFeaturesSelect,
            0x030 => Self::QueueSelect,
            0x034 => Self::QueueSizeMax,
            0x038 => Self::QueueSize,
            0x044 => Self::QueueReady,
            0x050 => Self::QueueNotify,
            0x060 => Self::InterruptStatus,
            0x064 => Self::InterruptAck,
            0x070 => Self::Status,
            0x080 => Self::QueueDescriptors(0),
            0x084 => Self::QueueDescriptors(1),
            0x090 => Self::QueueAvailable(0),
            0x094 => Self::QueueAvailable(1),
            0x0a0 => Self::QueueUsed(0),
            0x0a4 => Self::QueueUsed(1),
            0x0b0 | 0x0b4 | 0x0b8 | 0x0bc => Self::SharedMemory,
            0x0fc => Self::ConfigGeneration,
            _ => return None,
        })
    }
}

/// State of a transport with its queues and its device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioMmioState {
    /// Status register.
    pub status: u32,
    /// Interrupt status register.
    pub interrupt_status: u32,
    /// Feature bits the driver wrote.
    pub driver_features: u64,
    /// Word of the device's features that is visible.
    pub device_features_select: u32,
    /// Word of the driver's features that is written.
    pub driver_features_select: u32,
    /// Queue the queue registers belong to.
    pub queue_select: u32,
    /// Changes of the configuration space so far.
    pub config_generation: u32,
    /// Every queue of the device.
    pub queues: Vec<QueueState>,
    /// The device.
    pub device: DeviceState,
}

/// A virtio device in a window of MMIO registers.
pub struct VirtioMmio {
    device: Box<dyn VirtioDevice>,
    irq: IrqLine,
    queues: Vec<Queue>,
    status: u32,
    interrupt_status: u32,
    driver_features: u64,
    device_features_select: u32,
    driver_features_select: u32,
    queue_select: u32,
    config_generation: u32,
    /// Why the device needs a reset; for diagnosis, not part of the state.
    fault: Option<QueueError>,
}

impl VirtioMmio {
    /// The transport of `device`, after reset. Interrupts go to `irq`.
    pub fn new(device: Box<dyn VirtioDevice>, irq: IrqLine) -> Self {
        let queues = device.queue_sizes().iter().map(|&size| Queue::new(size)).collect();
        Self {
            device,
            irq,
            queues,
            status: 0,
            interrupt_status: 0,
            driver_features: 0,
            device_features_select: 0,
            driver_features_select: 0,
            queue_select: 0,
            config_generation: 0,
            fault: None,
        }
    }

    /// The transport of a device that was restored from `state.device`.
    pub fn restore(
        device: Box<dyn VirtioDevice>,
        irq: IrqLine,
        state: &VirtioMmioState,
    ) -> Result<Self, RestoreError> {
        let impossible = |field| RestoreError::Impossible { device: device.id(), field };
        let sizes = device.queue_sizes();
        if sizes.len() != state.queues.len() {
            return Err(impossible("number of queues"));
        }
        if state.status & !(status::DRIVER | status::NEEDS_RESET) != 0 {
            return Err(impossible("status"));
        }
        let agreed = state.status & status::FEATURES_OK != 0;
        if agreed && !features_are_acceptable(&*device, state.driver_features)
            || !agreed && state.status & status::DRIVER_OK != 0
        {
            return Err(impossible("feature set"));
        }
        let queues = sizes
            .iter()
            .zip(&state.queues)
            .map(|(&size, queue)| Queue::restore(size, state.driver_features, queue))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| impossible("queue"))?;
        irq.set(state.interrupt_status != 0);
        Ok(Self {
            irq,
            queues,
            status: state.status,
            interrupt_status: state.interrupt_status,
            driver_features: state.driver_features,
            device_features_select: state.device_features_select,
            driver_features_select: state.driver_features_select,
            queue_select: state.queue_select,
            config_generation: state.config_generation,
            fault: None,
            device,
        })
    }

    /// The state of transport, queues and device.
    pub fn save(&self) -> VirtioMmioState {
        VirtioMmioState {
            status: self.status,
            interrupt_status: self.interrupt_status,
            driver_features: self.driver_features,
            device_features_select: self.device_features_select,
            driver_features_select: self.driver_features_select,
            queue_select: self.queue_select,
            config_generation: self.config_generation,
            queues: self.queues.iter().map(Queue::save).collect(),
            device: self.device.save(),
        }
    }

    /// Lets the device look at the host: called when the machine's `Attention` was set.
    pub fn poll(&mut self, env: &mut DeviceEnv<'_>) {
        if self.is_running() {
            self.with_device(env, |device, io| device.poll(io));
        }
    }

    /// Type of the device.
    pub fn id(&self) -> DeviceId {
        self.device.id()
    }

    /// How the guest broke the device, if it did since the last reset.
    pub fn fault(&self) -> Option<QueueError> {
        self.fault
    }

    /// Writes the device tree node (binding `virtio,mmio`).
    pub fn write_fdt(&self, fdt: &mut FdtWriter, place: &Place) -> Result<(), fdt::Error> {
        let node = fdt.begin_node(&place.node_name("virtio_mmio"))?;
        fdt.property_string("compatible", "virtio,mmio")?;
        place.write_reg(fdt)?;
        place.write_interrupt(fdt)?;
        fdt.end_node(node)
    }

    /// Whether the device may touch its queues.
    fn is_running(&self) -> bool {
        self.status & (status::DRIVER_OK | status::NEEDS_RESET) == status::DRIVER_OK
    }

    /// Runs the device, then gives the driver the interrupts that follow.
    fn with_device(
        &mut self,
        env: &mut DeviceEnv<'_>,
        handle: impl FnOnce(&mut dyn VirtioDevice, &mut VirtioIo<'_>) -> Result<(), QueueError>,
    ) {
        self.queues.iter_mut().for_each(Queue::begin_turn);
        let mut io = VirtioIo {
            ram: env.ram,
            queues: &mut self.queues,
            features: self.driver_features,
            now_ns: env.now_ns,
            config_changed: false,
        };
        let mut result = handle(&mut *self.device, &mut io);
        if io.config_changed {
            self.config_generation = self.config_generation.wrapping_add(1);
            self.interrupt_status |= interrupt::CONFIG;
        }
        for queue in &mut self.queues {
            match queue.take_interrupt(env.ram) {
                Ok(true) => self.interrupt_status |= interrupt::QUEUE,
                Ok(false) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        if let Err(error) = result {
            self.fault = Some(error);
            self.status |= status::NEEDS_RESET;
            self.interrupt_status |= interrupt::CONFIG;
        }
        self.update_irq();
    }

    fn update_irq(&self) {
        self.irq.set(self.interrupt_status != 0);
    }

    fn reset(&mut self) {
        self.device.reset();
        for queue in &mut self.queues {
            *queue = Queue::new(queue.max_size());
        }
        self.status = 0;
        self.interrupt_status = 0;
        self.driver_features = 0;
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.queue_select = 0;
        self.fault = None;
        self.update_irq();
    }

    fn selected_queue(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(self.queue_select as usize)
    }

    fn read_register(&mut self, register: Register) -> u32 {
        match register {
            Register::Magic => MAGIC,
            Register::Version => VERSION,
            Register::DeviceId => self.device.id() as u32,
            Register::Vendor => VENDOR,
            Register::DeviceFeatures => {
                let features = offered(&*self.device);
                match self.device_features_select {
                    0 => features as u32,
                    1 => (features >> 32) as u32,
                    _ => 0,
                }
            }
            Register::QueueSizeMax => self.selected_queue().map_or(0, |queue| queue.max_size().into()),
            Register::QueueReady => self.selected_queue().is_some_and(|queue| queue.is_ready()).into(),
            Register::InterruptStatus => self.interrupt_status,
            Register::Status => self.status,
            Register::SharedMemory => u32::MAX,
            Register::ConfigGeneration => self.config_generation,
            Register::DeviceFeaturesSelect
            | Register::DriverFeatures
            | Register::DriverFeaturesSelect
            | Register::QueueSelect
            | Register::QueueSize
            | Register::QueueNotify
            | Register::InterruptAck
            | Register::QueueDescriptors(_)
            | Register::QueueAvailable(_)
            | Register::QueueUsed(_) => 0,
        }
    }

    fn write_register(&mut self, register: Register, value: u32, env: &mut DeviceEnv<'_>) {
        match register {
            Register::DeviceFeaturesSelect => self.device_features_select = value,
            Register::DriverFeaturesSelect => self.driver_features_select = value,
            Register::DriverFeatures => {
                // Nothing is renegotiated once agreed on (§3.1.1).
                if self.status & status::FEATURES_OK == 0 && self.driver_features_select < 2 {
                    set_half(&mut self.driver_features, self.driver_features_select, value);
                }
            }
            Register::QueueSelect => self.queue_select = value,
            Register::QueueSize => self.setup_queue(|queue| queue.size = u16::try_from(value).unwrap_or(0)),
            Register::QueueDescriptors(half) => {
                self.setup_queue(|queue| set_half(&mut queue.descriptors, half, value))
            }
            Register::QueueAvailable(half) => {
                self.setup_queue(|queue| set_half(&mut queue.available, half, value))
            }
            Register::QueueUsed(half) => self.setup_queue(|queue| set_half(&mut queue.used, half, value)),
            Register::QueueReady => {
                let features = self.driver_features;
                if let Some(queue) = self.selected_queue() {
                    queue.set_features(features);
                    queue.set_ready(value & 1 != 0, env.ram);
                }
            }
            Register::QueueNotify => self.notify(value, env),
            Register::InterruptAck => {
                self.interrupt_status &= !value;
                self.update_irq();
            }
            Register::Status => self.write_status(value, env),
            Register::Magic
            | Register::Version
            | Register::DeviceId
            | Register::Vendor
            | Register::DeviceFeatures
            | Register::QueueSizeMax
            | Register::InterruptStatus
            | Register::SharedMemory
            | Register::ConfigGeneration => {}
        }
    }

    fn setup_queue(&mut self, change: impl FnOnce(&mut QueueState)) {
        if let Some(state) = self.selected_queue().and_then(Queue::setup) {
            change(state);
        }
    }

    fn notify(&mut self, queue: u32, env: &mut DeviceEnv<'_>) {
        if self.is_running() && (queue as usize) < self.queues.len() {
            self.with_device(env, |device, io| device.notify(QueueIndex(queue as u16), io));
        }
    }

    /// The status machine (§3.1.1): zero resets, bits are only added, FEATURES_OK sticks only if the features are
    /// acceptable, DRIVER_OK only after it.
    fn write_status(&mut self, value: u32, env: &mut DeviceEnv<'_>) {
        if value == 0 {
            return self.reset();
        }
        let mut added = value & status::DRIVER & !self.status;
        if added & status::FEATURES_OK != 0 && !features_are_acceptable(&*self.device, self.driver_features) {
            added &= !status::FEATURES_OK;
        }
        if (self.status | added) & status::FEATURES_OK == 0 {
            added &= !status::DRIVER_OK;
        }
        self.status |= added;
        if added & status::FEATURES_OK != 0 {
            for queue in &mut self.queues {
                queue.set_features(self.driver_features);
            }
        }
        if added & status::DRIVER_OK != 0 {
            self.device.activate(self.driver_features);
            // Buffers may have been made available, and notifications ignored, before this moment.
            for queue in 0..self.queues.len() as u32 {
                self.notify(queue, env);
            }
            self.poll(env);
        }
    }
}

impl MmioDevice for VirtioMmio {
    fn read(&mut self, offset: u64, width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        if let Some(config_offset) = offset.checked_sub(CONFIG) {
            let mut bytes = [0; 8];
            self.device.read_config(config_offset, &mut bytes[..width.bytes() as usize]);
            return u64::from_le_bytes(bytes);
        }
        match (width, Register::at(offset)) {
            (Width::W32, Some(register)) => self.read_register(register).into(),
            // §4.2.2.2: registers are 32 bits wide, other accesses are the driver's mistake.
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        if let Some(config_offset) = offset.checked_sub(CONFIG) {
            self.device.write_config(config_offset, &value.to_le_bytes()[..width.bytes() as usize]);
        } else if let (Width::W32, Some(register)) = (width, Register::at(offset)) {
            self.write_register(register, value as u32, env);
        }
    }
}

fn offered(device: &dyn VirtioDevice) -> u64 {
    device.features() | feature::TRANSPORT
}

/// The driver chose from what was offered and accepts version 1 (§6.1).
fn features_are_acceptable(device: &dyn VirtioDevice, chosen: u64) -> bool {
    chosen & !offered(device) == 0 && chosen & feature::VERSION_1 != 0
}

/// Replaces the low (`half` 0) or high word of `value`.
fn set_half(value: &mut u64, half: u32, word: u32) {
    let shift = 32 * half;
    *value = *value & !(u64::from(u32::MAX) << shift) | u64::from(word) << shift;
}

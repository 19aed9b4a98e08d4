//! The virtio console device with several ports (virtio 1.2 §5.3).
//!
//! A port is a byte stream to the host. Nothing is buffered here: output stays in the guest's descriptors until the
//! host takes it, and host input stays with the host until the guest gives buffers for it.

mod control;
mod port;

pub use control::ConsoleSize;
pub use port::{PortOptions, PortState};

use super::queue::{QueueError, QueueIndex};
use super::{Chain, DeviceId, DeviceState, RestoreError, VirtioDevice, VirtioIo, read_config_bytes};
use control::{Control, Event, Pending};
use port::Port;
use serde::{Deserialize, Serialize};

/// Most ports of a device.
pub const MAX_PORTS: usize = 31;
const DATA_QUEUE_SIZE: u16 = 128;
const CONTROL_QUEUE_SIZE: u16 = 32;

/// Queues of port 0, then of control messages; the other ports follow (§5.3.2).
const CONTROL_IN: QueueIndex = QueueIndex(2);
const CONTROL_OUT: QueueIndex = QueueIndex(3);

/// Feature bits (§5.3.3).
mod feature {
    pub const SIZE: u64 = 1 << 0;
    pub const MULTIPORT: u64 = 1 << 1;
}

/// State of the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// The driver of the whole device said that it is ready.
    pub driver_ready: bool,
    /// Columns and rows the guest was told last; 0 if unknown.
    pub size: (u16, u16),
    /// Each port.
    pub ports: Vec<PortState>,
}

/// The console device.
pub struct Console {
    ports: Vec<Port>,
    queue_sizes: Vec<u16>,
    size: ConsoleSize,
    told_size: (u16, u16),
    driver_ready: bool,
    chain: Chain,
}

impl Console {
    /// A console with `ports`; the first is the one a driver without multiport support uses. `size` is the size of
    /// every port that is a terminal.
    ///
    /// # Panics
    /// If there is no port or more than [`MAX_PORTS`]: a mistake of the board.
    pub fn new(ports: Vec<PortOptions>, size: ConsoleSize) -> Self {
        assert!((1..=MAX_PORTS).contains(&ports.len()), "a console has 1 to {MAX_PORTS} ports");
        let mut queue_sizes = vec![DATA_QUEUE_SIZE; 2 * ports.len() + 2];
        queue_sizes[usize::from(CONTROL_IN.0)] = CONTROL_QUEUE_SIZE;
        queue_sizes[usize::from(CONTROL_OUT.0)] = CONTROL_QUEUE_SIZE;
        let told_size = size.get();
        let ports = ports.into_iter().map(Port::new).collect();
        Self { ports, queue_sizes, size, told_size, driver_ready: false, chain: Chain::default() }
    }

    /// The saved console over new backends, which must be as many as before.
    pub fn restore(
        ports: Vec<PortOptions>,
        size: ConsoleSize,
        state: &ConsoleState,
    ) -> Result<Self, RestoreError> {
        let impossible = |field| RestoreError::Impossible { device: DeviceId::Console, field };
        if ports.len() != state.ports.len() {
            return Err(impossible("number of ports"));
        }
        let mut console = Self::new(ports, size);
        for (port, state) in console.ports.iter_mut().zip(&state.ports) {
            port.load(state).ok_or_else(|| impossible("pending message"))?;
        }
        console.told_size = state.size;
        console.driver_ready = state.driver_ready;
        Ok(console)
    }

    /// Queues of a port: input to the guest, output from it.
    fn queues_of(port: usize) -> (usize, usize) {
        let first = if port == 0 { 0 } else { 2 * port + 2 };
        (first, first + 1)
    }

    /// The port whose input (even) or output (odd) queue this is.
    fn port_of(queue: QueueIndex) -> usize {
        match queue.0 {
            0 | 1 => 0,
            queue => usize::from(queue) / 2 - 1,
        }
    }

    fn receive(&mut self, port: usize, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let multiport = io.features & feature::MULTIPORT != 0;
        let queue = &mut io.queues[Self::queues_of(port).0];
        self.ports[port].receive(multiport, queue, &mut self.chain, io.ram)
    }

    fn transmit(&mut self, port: usize, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let queue = &mut io.queues[Self::queues_of(port).1];
        self.ports[port].transmit(queue, &mut self.chain, io.ram)
    }

    /// Handles the driver's control messages. Ones that make no sense are ignored.
    fn take_control(&mut self, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let queue = &mut io.queues[usize::from(CONTROL_OUT.0)];
        while queue.pop(io.ram, &mut self.chain)? {
            if let Some(message) = Control::parse(&self.chain, io.ram)? {
                self.handle_control(message);
            }
            queue.push(io.ram, &self.chain, 0)?;
        }
        Ok(())
    }

    fn handle_control(&mut self, message: Control) {
        let Control { port, event, value } = message;
        if event == Event::DeviceReady {
            if value == 1 && !self.driver_ready {
                self.driver_ready = true;
                self.ports.iter_mut().for_each(|port| port.tell(Pending::ADD));
            }
            return;
        }
        let Some(port) = self.ports.get_mut(port as usize) else {
            return;
        };
        match event {
            Event::PortReady if value == 1 => port.driver_became_ready(self.told_size != (0, 0)),
            Event::PortOpen => port.set_guest_open(value == 1),
            _ => {}
        }
    }

    /// Notes what changed on the host and sends what control messages the guest has buffers for.
    fn send_control(&mut self, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        self.ports.iter_mut().for_each(Port::notice_host);
        let queue = &mut io.queues[usize::from(CONTROL_IN.0)];
        for (number, port) in self.ports.iter_mut().enumerate() {
            while let Some(message) = port.next_message(number as u32, self.told_size) {
                if !queue.pop(io.ram, &mut self.chain)? {
                    return Ok(());
                }
                let written = self.chain.writable().copy_from(io.ram, 0, &message)?;
                queue.push(io.ram, &self.chain, written as u32)?;
                port.message_sent();
            }
        }
        Ok(())
    }

    /// Everything that may go on: the host did something, or port states changed.
    fn run(&mut self, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let size = self.size.get();
        if size != self.told_size {
            self.told_size = size;
            io.config_changed |= io.features & feature::SIZE != 0;
            self.ports.iter_mut().for_each(Port::size_changed);
        }
        let ports = if io.features & feature::MULTIPORT != 0 {
            self.send_control(io)?;
            self.ports.len()
        } else {
            1
        };
        for port in 0..ports {
            self.transmit(port, io)?;
            self.receive(port, io)?;
        }
        Ok(())
    }
}

impl VirtioDevice for Console {
    fn id(&self) -> DeviceId {
        DeviceId::Console
    }

    fn features(&self) -> u64 {
        feature::SIZE | feature::MULTIPORT
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, to: &mut [u8]) {
        // struct virtio_console_config, §5.3.4, without the emergency write register.
        let mut config = [0; 8];
        config[0..2].copy_from_slice(&self.told_size.0.to_le_bytes());
        config[2..4].copy_from_slice(&self.told_size.1.to_le_bytes());
        config[4..8].copy_from_slice(&(self.ports.len() as u32).to_le_bytes());
        read_config_bytes(&config, offset, to);
    }

    fn reset(&mut self) {
        self.driver_ready = false;
        self.told_size = self.size.get();
        self.ports.iter_mut().for_each(Port::reset);
    }

    fn notify(&mut self, queue: QueueIndex, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let multiport = io.features & feature::MULTIPORT != 0;
        match queue {
            CONTROL_OUT if multiport => {
                self.take_control(io)?;
                self.run(io)
            }
            CONTROL_IN if multiport => self.send_control(io),
            QueueIndex(number) if multiport || number < 2 => {
                let port = Self::port_of(queue);
                if number % 2 == 0 { self.receive(port, io) } else { self.transmit(port, io) }
            }
            _ => Ok(()),
        }
    }

    fn poll(&mut self, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        self.run(io)
    }

    fn save(&self) -> DeviceState {
        DeviceState::Console(ConsoleState {
            driver_ready: self.driver_ready,
            size: self.told_size,
            ports: self.ports.iter().map(Port::save).collect(),
        })
    }
}

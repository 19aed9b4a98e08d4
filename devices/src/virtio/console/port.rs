//! One port of a console: its stream, who has it open, and what the driver is still to be told about it.

use super::super::Chain;
use super::super::queue::{Queue, QueueError};
use super::control::{Control, Event, Pending};
use crate::backend::char::CharBackend;
use c2w_engine::mem::ram::Ram;
use serde::{Deserialize, Serialize};

/// How a port is made.
pub struct PortOptions {
    /// Name the guest finds it by, may be empty.
    pub name: String,
    /// Whether it is a terminal (`/dev/hvcN`) rather than a plain stream (`/dev/vportNpM`).
    pub is_console: bool,
    /// The host's end.
    pub backend: Box<dyn CharBackend>,
}

/// State of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    /// The driver knows the port.
    pub driver_ready: bool,
    /// The guest has it open.
    pub guest_open: bool,
    /// Whether the guest was told that the host has it open.
    pub told_open: bool,
    /// Messages that wait for a buffer, bits of `Pending`.
    pub pending: u8,
    /// Bytes of the first waiting output chain that the host has taken already.
    pub transmitted_bytes: u64,
}

pub(super) struct Port {
    options: PortOptions,
    driver_ready: bool,
    guest_open: bool,
    told_open: bool,
    pending: Pending,
    transmitted_bytes: u64,
}

impl Port {
    pub fn new(options: PortOptions) -> Self {
        Self {
            options,
            driver_ready: false,
            guest_open: false,
            told_open: false,
            pending: Pending::empty(),
            transmitted_bytes: 0,
        }
    }

    pub fn save(&self) -> PortState {
        PortState {
            driver_ready: self.driver_ready,
            guest_open: self.guest_open,
            told_open: self.told_open,
            pending: self.pending.bits(),
            transmitted_bytes: self.transmitted_bytes,
        }
    }

    /// Takes over a saved state; `None` if it is not one.
    pub fn load(&mut self, state: &PortState) -> Option<()> {
        self.pending = Pending::from_bits(state.pending)?;
        self.driver_ready = state.driver_ready;
        self.told_open = state.told_open;
        self.transmitted_bytes = state.transmitted_bytes;
        self.set_guest_open(state.guest_open);
        Some(())
    }

    pub fn reset(&mut self) {
        self.driver_ready = false;
        self.told_open = false;
        self.pending = Pending::empty();
        self.transmitted_bytes = 0;
        self.set_guest_open(false);
    }

    pub fn set_guest_open(&mut self, open: bool) {
        if self.guest_open != open {
            self.guest_open = open;
            self.options.backend.set_guest_open(open);
        }
    }

    pub fn tell(&mut self, what: Pending) {
        self.pending |= what;
    }

    /// The driver has set the port up and wants to know everything about it.
    pub fn driver_became_ready(&mut self, size_is_known: bool) {
        self.driver_ready = true;
        self.told_open = false;
        if self.options.is_console {
            self.tell(Pending::CONSOLE);
            self.pending.set(Pending::RESIZE, size_is_known);
        }
        if !self.options.name.is_empty() {
            self.tell(Pending::NAME);
        }
    }

    /// The host opened or closed its end, perhaps.
    pub fn notice_host(&mut self) {
        if self.driver_ready && self.options.backend.is_open() != self.told_open {
            self.tell(Pending::OPEN);
        }
    }

    pub fn size_changed(&mut self) {
        if self.driver_ready && self.options.is_console {
            self.tell(Pending::RESIZE);
        }
    }

    fn next_pending(&self) -> Option<Pending> {
        self.pending.iter().next()
    }

    /// The message the driver gets next.
    pub fn next_message(&self, number: u32, (columns, rows): (u16, u16)) -> Option<Vec<u8>> {
        let message = |event, value, payload: &[u8]| Some(Control::encode(number, event, value, payload));
        match self.next_pending()? {
            Pending::ADD => message(Event::PortAdd, 1, &[]),
            Pending::CONSOLE => message(Event::ConsolePort, 1, &[]),
            Pending::RESIZE => {
                let size = u32::from(columns) | u32::from(rows) << 16;
                message(Event::Resize, 0, &size.to_le_bytes())
            }
            Pending::NAME => message(Event::PortName, 1, self.options.name.as_bytes()),
            _ => message(Event::PortOpen, self.options.backend.is_open().into(), &[]),
        }
    }

    /// The message that `next_message` gave is with the driver.
    pub fn message_sent(&mut self) {
        if let Some(sent) = self.next_pending() {
            self.pending -= sent;
            if sent == Pending::OPEN {
                self.told_open = self.options.backend.is_open();
            }
        }
    }

    /// Fills the guest's buffers with host input. With several ports, drivers drop what comes before the port is open.
    pub fn receive(
        &mut self,
        multiport: bool,
        queue: &mut Queue,
        chain: &mut Chain,
        ram: &mut Ram,
    ) -> Result<(), QueueError> {
        let backend = &mut *self.options.backend;
        while (self.guest_open || !multiport) && backend.has_input() && queue.pop(ram, chain)? {
            let mut written = 0;
            for segment in chain.writable().list() {
                let count = backend.read(ram.slice_mut(segment.gpa, segment.len_bytes.into())?);
                written += count as u64;
                if count < segment.len_bytes as usize {
                    break;
                }
            }
            queue.push(ram, chain, u32::try_from(written).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }

    /// Hands the guest's output to the host, as much as it takes. A chain that it took only a part of stays in the
    /// available ring.
    pub fn transmit(
        &mut self,
        queue: &mut Queue,
        chain: &mut Chain,
        ram: &mut Ram,
    ) -> Result<(), QueueError> {
        while queue.pop(ram, chain)? {
            for segment in chain.readable().window(self.transmitted_bytes, u64::MAX) {
                let bytes = ram.slice(segment.gpa, segment.len_bytes.into())?;
                let count = self.options.backend.write(bytes);
                self.transmitted_bytes += count as u64;
                if count < bytes.len() {
                    queue.undo_pop();
                    return Ok(());
                }
            }
            self.transmitted_bytes = 0;
            queue.push(ram, chain, 0)?;
        }
        Ok(())
    }
}

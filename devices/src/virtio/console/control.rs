//! Control messages of the console (virtio 1.2 §5.3.6.2) and the size of its terminals.

use super::super::Chain;
use super::super::queue::QueueError;
use bitflags::bitflags;
use c2w_engine::irq::Attention;
use c2w_engine::mem::ram::Ram;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const MESSAGE_BYTES: usize = 8;

/// What a control message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Event {
    DeviceReady = 0,
    PortAdd = 1,
    PortReady = 3,
    ConsolePort = 4,
    Resize = 5,
    PortOpen = 6,
    PortName = 7,
}

/// A control message from the driver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    pub port: u32,
    pub event: Event,
    pub value: u16,
}

impl Control {
    /// The message in `chain`, or `None` if it is none a driver may send.
    pub fn parse(chain: &Chain, ram: &Ram) -> Result<Option<Self>, QueueError> {
        let Some(bytes) = chain.readable().header::<MESSAGE_BYTES>(ram)? else {
            return Ok(None);
        };
        let raw = u64::from_le_bytes(bytes);
        let event = match (raw >> 32) as u16 {
            0 => Event::DeviceReady,
            3 => Event::PortReady,
            6 => Event::PortOpen,
            _ => return Ok(None),
        };
        Ok(Some(Self { port: raw as u32, event, value: (raw >> 48) as u16 }))
    }

    /// The bytes of a message to the driver.
    pub fn encode(port: u32, event: Event, value: u16, payload: &[u8]) -> Vec<u8> {
        let raw = u64::from(port) | (event as u64) << 32 | u64::from(value) << 48;
        [&raw.to_le_bytes()[..], payload].concat()
    }
}

bitflags! {
    /// Messages about a port that wait for a buffer, lowest bit first.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Pending: u8 {
        /// The port exists.
        const ADD = 1;
        /// It is a terminal.
        const CONSOLE = 2;
        /// The terminal's size.
        const RESIZE = 4;
        /// Its name.
        const NAME = 8;
        /// Whether the host has it open.
        const OPEN = 16;
    }
}

/// The size of a console's terminals, set by the host from any thread.
#[derive(Clone, Debug, Default)]
pub struct ConsoleSize {
    /// Columns in the low half, rows in the high half.
    packed: Arc<AtomicU32>,
    attention: Attention,
}

impl ConsoleSize {
    /// An unknown size; changes set `attention`.
    pub fn new(attention: &Attention) -> Self {
        Self { packed: Arc::default(), attention: attention.clone() }
    }

    /// Tells the guest a new size, 0 for unknown.
    pub fn set(&self, columns: u16, rows: u16) {
        self.packed.store(u32::from(columns) | u32::from(rows) << 16, Ordering::Release);
        self.attention.set();
    }

    /// Columns and rows.
    pub fn get(&self) -> (u16, u16) {
        let packed = self.packed.load(Ordering::Acquire);
        (packed as u16, (packed >> 16) as u16)
    }
}

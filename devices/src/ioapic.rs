//! The IO-APIC: interrupt lines to messages for local APICs (82093AA data sheet; version 0x20 with an EOI register).
//!
//! Lines are as the board sees them, high for asserted: the polarity bit of an entry is kept and has no effect.

use crate::lapic::{Delivery, Message};
use c2w_engine::addr::Width;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// Length of the window.
pub const WINDOW_BYTES: u64 = 0x1000;
/// Input pins.
pub const PINS: usize = 24;

/// Registers of the window.
const SELECT: u64 = 0x00;
const DATA: u64 = 0x10;
const END_OF_INTERRUPT: u64 = 0x40;

/// Registers behind the window.
const ID: u8 = 0;
const VERSION: u8 = 1;
const ARBITRATION: u8 = 2;
const REDIRECTION: u8 = 0x10;

const VERSION_VALUE: u32 = 0x20 | (PINS as u32 - 1) << 16;

/// Bits of a redirection entry.
mod entry {
    pub const VECTOR: u64 = 0xff;
    pub const LOGICAL: u64 = 1 << 11;
    pub const REMOTE_IRR: u64 = 1 << 14;
    pub const LEVEL: u64 = 1 << 15;
    pub const MASKED: u64 = 1 << 16;
    /// Delivery status and remote IRR are the controller's.
    pub const WRITABLE: u64 = 0xff00_0000_0001_ffff & !(1 << 12) & !REMOTE_IRR;
}

/// State of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoApicState {
    /// Identifier.
    pub id: u8,
    /// Selected register.
    pub select: u8,
    /// Redirection table.
    pub entries: [u64; PINS],
    /// Lines as last seen, bit n for pin n.
    pub levels: u32,
}

/// The controller.
#[derive(Clone, Debug)]
pub struct IoApic {
    state: IoApicState,
    messages: Vec<Message>,
}

impl Default for IoApic {
    fn default() -> Self {
        Self::new()
    }
}

impl IoApic {
    /// A controller after reset: every pin is masked.
    pub fn new() -> Self {
        Self::restore(&IoApicState { id: 0, select: 0, entries: [entry::MASKED; PINS], levels: 0 })
    }

    /// The saved controller.
    pub fn restore(state: &IoApicState) -> Self {
        Self { state: state.clone(), messages: Vec::new() }
    }

    /// The state. Messages are passed on before anyone can save.
    pub fn save(&self) -> IoApicState {
        self.state.clone()
    }

    /// Messages since the last call, oldest first: the board gives them to the local APICs.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    /// Looks at the lines, bit n for pin n.
    pub fn set_levels(&mut self, levels: u32) {
        let rising = levels & !self.state.levels;
        self.state.levels = levels;
        for pin in 0..PINS {
            let entry = self.state.entries[pin];
            if entry & entry::LEVEL != 0 {
                self.send_level(pin);
            } else if rising >> pin & 1 != 0 && entry & entry::MASKED == 0 {
                self.send(pin);
            }
        }
    }

    /// The end of the interrupt with `vector`: level-triggered pins whose line is still high interrupt again.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        for pin in 0..PINS {
            let entry = &mut self.state.entries[pin];
            if *entry & entry::LEVEL != 0 && *entry & entry::VECTOR == u64::from(vector) {
                *entry &= !entry::REMOTE_IRR;
                self.send_level(pin);
            }
        }
    }

    fn send_level(&mut self, pin: usize) {
        let ready = self.state.entries[pin] & (entry::MASKED | entry::REMOTE_IRR) == 0;
        if ready && self.state.levels >> pin & 1 != 0 {
            self.send(pin);
        }
    }

    fn send(&mut self, pin: usize) {
        let bits = self.state.entries[pin];
        let delivery = Delivery::from_number((bits >> 8) as u32);
        // Only what a local APIC ends may wait for an end.
        let level = bits & entry::LEVEL != 0 && delivery == Delivery::Fixed;
        if level {
            self.state.entries[pin] |= entry::REMOTE_IRR;
        }
        self.messages.push(Message {
            destination: (bits >> 56) as u32,
            logical: bits & entry::LOGICAL != 0,
            delivery,
            vector: bits as u8,
            level,
        });
    }

    fn read_selected(&self) -> u32 {
        let place = usize::from(self.state.select.wrapping_sub(REDIRECTION));
        match self.state.select {
            ID | ARBITRATION => u32::from(self.state.id) << 24,
            VERSION => VERSION_VALUE,
            REDIRECTION.. if place / 2 < PINS => (self.state.entries[place / 2] >> (32 * (place & 1))) as u32,
            _ => 0,
        }
    }

    fn write_selected(&mut self, value: u32) {
        let place = usize::from(self.state.select.wrapping_sub(REDIRECTION));
        match self.state.select {
            ID => self.state.id = (value >> 24 & 15) as u8,
            REDIRECTION.. if place / 2 < PINS => {
                let (pin, shift) = (place / 2, 32 * (place & 1));
                let writable = entry::WRITABLE & u64::from(u32::MAX) << shift;
                let entry = &mut self.state.entries[pin];
                *entry = *entry & !writable | u64::from(value) << shift & writable;
                if *entry & entry::LEVEL == 0 {
                    *entry &= !entry::REMOTE_IRR;
                } else {
                    self.send_level(pin);
                }
            }
            _ => {}
        }
    }
}

impl MmioDevice for IoApic {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8, Width::W32]
    }

    fn read(&mut self, offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        match offset {
            SELECT => self.state.select.into(),
            DATA => self.read_selected().into(),
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, _env: &mut DeviceEnv<'_>) {
        match offset {
            SELECT => self.state.select = value as u8,
            DATA => self.write_selected(value as u32),
            END_OF_INTERRUPT => self.end_of_interrupt(value as u8),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn set(ioapic: &mut IoApic, register: u8, value: u32) {
        let mut bench = Bench::new();
        ioapic.write(SELECT, Width::W32, register.into(), &mut bench.env());
        ioapic.write(DATA, Width::W32, value.into(), &mut bench.env());
    }

    fn get(ioapic: &mut IoApic, register: u8) -> u32 {
        let mut bench = Bench::new();
        ioapic.write(SELECT, Width::W32, register.into(), &mut bench.env());
        ioapic.read(DATA, Width::W32, &mut bench.env()) as u32
    }

    fn vectors(ioapic: &mut IoApic) -> Vec<u8> {
        ioapic.take_messages().iter().map(|message| message.vector).collect()
    }

    #[test]
    fn an_edge_is_sent_once_and_not_while_masked() {
        let mut ioapic = IoApic::new();
        ioapic.set_levels(1 << 4);
        set(&mut ioapic, 0x18, 0x0000_0831);
        set(&mut ioapic, 0x19, 0x0300_0000);
        ioapic.set_levels(1 << 4);
        assert!(vectors(&mut ioapic).is_empty());
        ioapic.set_levels(0);
        ioapic.set_levels(1 << 4);
        let message =
            Message { destination: 3, logical: true, delivery: Delivery::Fixed, vector: 0x31, level: false };
        assert_eq!(ioapic.take_messages(), [message]);
        ioapic.set_levels(1 << 4);
        assert!(vectors(&mut ioapic).is_empty());
    }

    #[test]
    fn a_level_is_sent_again_when_its_interrupt_ended() {
        let mut ioapic = IoApic::new();
        set(&mut ioapic, 0x30, 0x0000_8040);
        ioapic.set_levels(1 << 16);
        ioapic.set_levels(1 << 16);
        assert_eq!(vectors(&mut ioapic), [0x40]);
        assert_eq!(get(&mut ioapic, 0x30), 0x0000_c040);
        ioapic.end_of_interrupt(0x41);
        assert!(vectors(&mut ioapic).is_empty());
        let mut saved = IoApic::restore(&ioapic.save());
        for ioapic in [&mut ioapic, &mut saved] {
            ioapic.end_of_interrupt(0x40);
            assert_eq!(vectors(ioapic), [0x40]);
            ioapic.set_levels(0);
            ioapic.end_of_interrupt(0x40);
            assert!(vectors(ioapic).is_empty());
            assert_eq!(get(ioapic, 0x30), 0x0000_8040);
        }
        // Unmasking looks at the line, and going to edge forgets the remote IRR.
        set(&mut ioapic, 0x30, 0x0001_8040);
        ioapic.set_levels(1 << 16);
        set(&mut ioapic, 0x30, 0x0000_8040);
        assert_eq!(vectors(&mut ioapic), [0x40]);
        set(&mut ioapic, 0x30, 0x0001_0040);
        set(&mut ioapic, 0x30, 0x0001_8040);
        assert_eq!(get(&mut ioapic, 0x30), 0x0001_8040);
    }

    #[test]
    fn registers_that_do_not_exist_read_as_zero() {
        let mut ioapic = IoApic::new();
        assert_eq!(get(&mut ioapic, 1), 0x0017_0020);
        set(&mut ioapic, 0, 0xffff_ffff);
        assert_eq!(get(&mut ioapic, 0), 0x0f00_0000);
        for register in [0x03, 0x0f, 0x40, 0xff] {
            set(&mut ioapic, register, u32::MAX);
            assert_eq!(get(&mut ioapic, register), 0, "{register:#x}");
        }
        assert_eq!(get(&mut ioapic, 0x3f), 0);
    }
}

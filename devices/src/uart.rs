//! A 16550A serial port with FIFOs, as its data sheet (National Semiconductor PC16550D) and Linux's 8250 driver have it.
//!
//! Bytes go out as fast as the host takes them; a host that takes none makes the transmitter look busy. Input is
//! taken from the host only as far as the receive FIFO has room.

use crate::backend::char::CharBackend;
use crate::fdt::{self, FdtWriter, Place};
use c2w_engine::addr::Width;
use c2w_engine::irq::IrqLine;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Length of the window on boards that map it into memory.
pub const WINDOW_BYTES: u64 = 0x100;
/// Bytes in each FIFO.
const FIFO_BYTES: usize = 16;
/// Input clock that boards announce; the baud rate has no effect here.
const CLOCK_HZ: u32 = 3_686_400;

/// Data register. It and the next are the divisor while `lcr::DIVISOR` is set.
pub const DATA: u64 = 0;
const INTERRUPT_ENABLE: u64 = 1;
const INTERRUPT_ID_OR_FIFO_CONTROL: u64 = 2;
const LINE_CONTROL: u64 = 3;
const MODEM_CONTROL: u64 = 4;
/// Line status register.
pub const LINE_STATUS: u64 = 5;
const MODEM_STATUS: u64 = 6;
const SCRATCH: u64 = 7;

mod ier {
    pub const RECEIVED: u8 = 1;
    pub const TRANSMITTER_EMPTY: u8 = 2;
    pub const LINE_STATUS: u8 = 4;
    pub const MODEM_STATUS: u8 = 8;
    pub const ALL: u8 = 15;
}

/// Interrupt identification, highest priority last.
mod iir {
    pub const MODEM_STATUS: u8 = 0;
    pub const NONE: u8 = 1;
    pub const TRANSMITTER_EMPTY: u8 = 2;
    pub const RECEIVED: u8 = 4;
    pub const LINE_STATUS: u8 = 6;
    pub const TIMEOUT: u8 = 12;
    pub const FIFOS_ENABLED: u8 = 0xc0;
}

mod fcr {
    pub const ENABLE: u8 = 1;
    pub const CLEAR_RECEIVER: u8 = 2;
    pub const CLEAR_TRANSMITTER: u8 = 4;
    pub const TRIGGER_SHIFT: u8 = 6;
}

mod lcr {
    pub const DIVISOR: u8 = 0x80;
}

mod mcr {
    pub const LOOPBACK: u8 = 0x10;
    pub const ALL: u8 = 0x1f;
}

/// Bits of the line status register.
pub mod lsr {
    /// A received byte waits.
    pub const READY: u8 = 1;
    /// A received byte was lost.
    pub const OVERRUN: u8 = 2;
    /// There is room for a byte to send.
    pub const HOLDING_EMPTY: u8 = 0x20;
    /// Everything has been sent.
    pub const TRANSMITTER_EMPTY: u8 = 0x40;
}

/// Modem status without loopback: carrier, data set ready, clear to send.
const MODEM_CONNECTED: u8 = 0xb0;

/// State of the port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UartState {
    /// Divisor latch.
    pub divisor: u16,
    /// Interrupt enable register.
    pub interrupt_enable: u8,
    /// FIFO control register, without the bits that act once.
    pub fifo_control: u8,
    /// Line control register.
    pub line_control: u8,
    /// Modem control register.
    pub modem_control: u8,
    /// Modem inputs as last seen, high half of the modem status register.
    pub modem_inputs: u8,
    /// Changes of the modem inputs since the register was read, its low half.
    pub modem_changes: u8,
    /// Scratch register.
    pub scratch: u8,
    /// A byte was lost in loopback since the line status register was read.
    pub overrun: bool,
    /// The transmitter became empty and nobody was told yet.
    pub empty_event: bool,
    /// Received bytes the guest has not read.
    pub received: VecDeque<u8>,
    /// Bytes the host has not taken.
    pub unsent: VecDeque<u8>,
}

/// The serial port.
pub struct Uart {
    backend: Box<dyn CharBackend>,
    irq: IrqLine,
    state: UartState,
}

impl Uart {
    /// A port after reset.
    pub fn new(backend: Box<dyn CharBackend>, irq: IrqLine) -> Self {
        let state = UartState {
            divisor: 12,
            interrupt_enable: 0,
            fifo_control: 0,
            line_control: 0,
            modem_control: 8,
            modem_inputs: MODEM_CONNECTED,
            modem_changes: 0,
            scratch: 0,
            overrun: false,
            empty_event: false,
            received: VecDeque::with_capacity(FIFO_BYTES),
            unsent: VecDeque::with_capacity(FIFO_BYTES),
        };
        Self { backend, irq, state }
    }

    /// The saved port, or `None` if its FIFOs hold more than a port's can.
    pub fn restore(backend: Box<dyn CharBackend>, irq: IrqLine, state: &UartState) -> Option<Self> {
        if state.received.len() > FIFO_BYTES || state.unsent.len() > FIFO_BYTES {
            return None;
        }
        let uart = Self { backend, irq, state: state.clone() };
        uart.update_irq();
        Some(uart)
    }

    /// The state.
    pub fn save(&self) -> UartState {
        self.state.clone()
    }

    /// Moves bytes from and to the host.
    pub fn poll(&mut self) {
        self.send();
        self.receive();
        self.update_irq();
    }

    /// Writes the device tree node (binding `ns16550a`).
    pub fn write_fdt(&self, fdt: &mut FdtWriter, place: &Place) -> Result<(), fdt::Error> {
        let node = fdt.begin_node(&place.node_name("serial"))?;
        fdt.property_string("compatible", "ns16550a")?;
        place.write_reg(fdt)?;
        fdt.property_u32("clock-frequency", CLOCK_HZ)?;
        place.write_interrupt(fdt)?;
        fdt.end_node(node)
    }

    fn has_fifos(&self) -> bool {
        self.state.fifo_control & fcr::ENABLE != 0
    }

    fn fifo_bytes(&self) -> usize {
        if self.has_fifos() { FIFO_BYTES } else { 1 }
    }

    fn is_looped(&self) -> bool {
        self.state.modem_control & mcr::LOOPBACK != 0
    }

    /// Offers unsent bytes to the host.
    fn send(&mut self) {
        while !self.state.unsent.is_empty() {
            let count = self.backend.write(self.state.unsent.as_slices().0);
            if count == 0 {
                return;
            }
            self.state.unsent.drain(..count);
            self.state.empty_event |= self.state.unsent.is_empty();
        }
    }

    fn transmit(&mut self, byte: u8) {
        self.state.empty_event = false;
        if self.is_looped() {
            if self.state.received.len() < self.fifo_bytes() {
                self.state.received.push_back(byte);
            } else {
                self.state.overrun = true;
            }
            self.state.empty_event = true;
        } else {
            // A guest that does not wait for room overwrites nothing, but its byte is lost, as on a real port.
            if self.state.unsent.len() < self.fifo_bytes() {
                self.state.unsent.push_back(byte);
            }
            self.send();
        }
    }

    fn receive(&mut self) {
        if self.is_looped() {
            return;
        }
        let mut bytes = [0; FIFO_BYTES];
        let room = self.fifo_bytes().saturating_sub(self.state.received.len());
        if room > 0 {
            let count = self.backend.read(&mut bytes[..room]);
            self.state.received.extend(&bytes[..count]);
        }
    }

    /// The interrupt with the highest priority, as the identification register shows it (data sheet, table 4).
    fn interrupt(&self) -> u8 {
        let state = &self.state;
        let enabled = |bit| state.interrupt_enable & bit != 0;
        let trigger = if self.has_fifos() {
            [1, 4, 8, 14][usize::from(state.fifo_control >> fcr::TRIGGER_SHIFT)]
        } else {
            1
        };
        if enabled(ier::LINE_STATUS) && state.overrun {
            iir::LINE_STATUS
        } else if enabled(ier::RECEIVED) && state.received.len() >= trigger {
            iir::RECEIVED
        } else if enabled(ier::RECEIVED) && !state.received.is_empty() {
            // No more came at once, which is what the timeout waits for.
            iir::TIMEOUT
        } else if enabled(ier::TRANSMITTER_EMPTY) && state.empty_event {
            iir::TRANSMITTER_EMPTY
        } else if enabled(ier::MODEM_STATUS) && state.modem_changes != 0 {
            iir::MODEM_STATUS
        } else {
            iir::NONE
        }
    }

    fn update_irq(&self) {
        self.irq.set(self.interrupt() != iir::NONE);
    }

    /// In loopback the outputs RTS, DTR, OUT1, OUT2 are the inputs CTS, DSR, RI, DCD.
    fn update_modem_inputs(&mut self) {
        let outputs = self.state.modem_control;
        let inputs = if self.is_looped() {
            (outputs & 2) << 3 | (outputs & 1) << 5 | (outputs & 4) << 4 | (outputs & 8) << 4
        } else {
            MODEM_CONNECTED
        };
        let old = std::mem::replace(&mut self.state.modem_inputs, inputs);
        const RING: u8 = 0x40;
        let changed = (old ^ inputs) & !RING | old & !inputs & RING;
        self.state.modem_changes |= changed >> 4;
    }

    fn read_byte(&mut self, offset: u64) -> u8 {
        let divisor = self.state.line_control & lcr::DIVISOR != 0;
        match offset {
            DATA if divisor => self.state.divisor as u8,
            INTERRUPT_ENABLE if divisor => (self.state.divisor >> 8) as u8,
            DATA => {
                let byte = self.state.received.pop_front().unwrap_or(0);
                if self.state.received.is_empty() {
                    self.receive();
                }
                byte
            }
            INTERRUPT_ENABLE => self.state.interrupt_enable,
            INTERRUPT_ID_OR_FIFO_CONTROL => {
                let interrupt = self.interrupt();
                if interrupt == iir::TRANSMITTER_EMPTY {
                    self.state.empty_event = false;
                }
                interrupt | if self.has_fifos() { iir::FIFOS_ENABLED } else { 0 }
            }
            LINE_CONTROL => self.state.line_control,
            MODEM_CONTROL => self.state.modem_control,
            LINE_STATUS => {
                let ready = if self.state.received.is_empty() { 0 } else { lsr::READY };
                let overrun = if std::mem::take(&mut self.state.overrun) { lsr::OVERRUN } else { 0 };
                let idle = lsr::HOLDING_EMPTY | lsr::TRANSMITTER_EMPTY;
                ready | overrun | if self.state.unsent.is_empty() { idle } else { 0 }
            }
            MODEM_STATUS => self.state.modem_inputs | std::mem::take(&mut self.state.modem_changes),
            SCRATCH => self.state.scratch,
            _ => 0,
        }
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        let divisor = self.state.line_control & lcr::DIVISOR != 0;
        match offset {
            DATA if divisor => self.state.divisor = self.state.divisor & 0xff00 | u16::from(value),
            INTERRUPT_ENABLE if divisor => {
                self.state.divisor = self.state.divisor & 0xff | u16::from(value) << 8;
            }
            DATA => self.transmit(value),
            INTERRUPT_ENABLE => {
                let added = value & !self.state.interrupt_enable;
                self.state.interrupt_enable = value & ier::ALL;
                // Asking while the transmitter is empty is answered at once; drivers start sending that way.
                self.state.empty_event |= added & ier::TRANSMITTER_EMPTY != 0 && self.state.unsent.is_empty();
            }
            INTERRUPT_ID_OR_FIFO_CONTROL => {
                let toggled = (value ^ self.state.fifo_control) & fcr::ENABLE != 0;
                self.state.fifo_control = value & (fcr::ENABLE | 3 << fcr::TRIGGER_SHIFT);
                if toggled || value & fcr::CLEAR_RECEIVER != 0 {
                    self.state.received.clear();
                }
                if (toggled || value & fcr::CLEAR_TRANSMITTER != 0) && !self.state.unsent.is_empty() {
                    self.state.unsent.clear();
                    self.state.empty_event = true;
                }
                self.receive();
            }
            LINE_CONTROL => self.state.line_control = value,
            MODEM_CONTROL => {
                self.state.modem_control = value & mcr::ALL;
                self.update_modem_inputs();
                self.receive();
            }
            SCRATCH => self.state.scratch = value,
            _ => {}
        }
    }
}

impl MmioDevice for Uart {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        let value = self.read_byte(offset);
        self.update_irq();
        value.into()
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, _env: &mut DeviceEnv<'_>) {
        self.write_byte(offset, value as u8);
        self.update_irq();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::char::{CharHost, char_channel};
    use c2w_engine::irq::{Attention, IrqLines};

    struct Rig {
        uart: Uart,
        host: CharHost,
        line: IrqLine,
    }

    impl Rig {
        fn new(capacity_bytes: usize) -> Self {
            let attention = Attention::default();
            let line = IrqLines::new(&attention).line(0);
            let (channel, host) = char_channel(capacity_bytes, &attention);
            Self { uart: Uart::new(Box::new(channel), line.clone()), host, line }
        }
        fn read(&mut self, offset: u64) -> u8 {
            let value = self.uart.read_byte(offset);
            self.uart.update_irq();
            value
        }
        fn write(&mut self, offset: u64, value: u8) {
            self.uart.write_byte(offset, value);
            self.uart.update_irq();
        }
        fn host_bytes(&self) -> Vec<u8> {
            let mut bytes = [0; 64];
            let count = self.host.read(&mut bytes);
            bytes[..count].to_vec()
        }
    }

    #[test]
    fn output_waits_in_the_port_while_the_host_is_full() {
        let mut rig = Rig::new(2);
        rig.write(INTERRUPT_ID_OR_FIFO_CONTROL, fcr::ENABLE);
        for byte in *b"abcd" {
            rig.write(DATA, byte);
        }
        assert_eq!(rig.read(LINE_STATUS), 0);
        assert_eq!(rig.host_bytes(), b"ab");
        rig.uart.poll();
        assert_eq!(rig.read(LINE_STATUS), lsr::HOLDING_EMPTY | lsr::TRANSMITTER_EMPTY);
        assert_eq!(rig.host_bytes(), b"cd");
    }

    #[test]
    fn the_empty_interrupt_comes_when_asked_for_and_after_each_byte() {
        let mut rig = Rig::new(64);
        rig.write(INTERRUPT_ENABLE, ier::TRANSMITTER_EMPTY);
        assert!(rig.line.is_high());
        assert_eq!(rig.read(INTERRUPT_ID_OR_FIFO_CONTROL), iir::TRANSMITTER_EMPTY);
        assert!(!rig.line.is_high(), "reading the identification acknowledges");
        rig.write(DATA, b'x');
        assert!(rig.line.is_high());
    }

    #[test]
    fn input_follows_the_room_in_the_fifo() {
        let mut rig = Rig::new(64);
        rig.write(INTERRUPT_ID_OR_FIFO_CONTROL, fcr::ENABLE | 2 << fcr::TRIGGER_SHIFT);
        rig.write(INTERRUPT_ENABLE, ier::RECEIVED);
        rig.host.write(&[7; 20]);
        rig.uart.poll();
        assert_eq!((rig.host.room_bytes(), rig.line.is_high()), (60, true));
        assert_eq!(rig.read(INTERRUPT_ID_OR_FIFO_CONTROL), iir::RECEIVED | iir::FIFOS_ENABLED);
        for _ in 0..16 {
            assert_eq!(rig.read(DATA), 7);
        }
        assert_eq!(rig.read(INTERRUPT_ID_OR_FIFO_CONTROL), iir::TIMEOUT | iir::FIFOS_ENABLED);
        for _ in 0..4 {
            assert_eq!(rig.read(DATA), 7);
        }
        assert_eq!((rig.read(LINE_STATUS) & lsr::READY, rig.line.is_high()), (0, false));
    }

    #[test]
    fn loopback_is_what_the_linux_probe_looks_for() {
        let mut rig = Rig::new(64);
        rig.host.write(b"held back");
        rig.write(MODEM_CONTROL, mcr::LOOPBACK | 0x0a);
        assert_eq!(rig.read(MODEM_STATUS) & 0xf0, 0x90);
        rig.write(INTERRUPT_ENABLE, ier::ALL);
        assert_eq!(rig.read(INTERRUPT_ENABLE), ier::ALL);
        rig.write(DATA, 1);
        rig.write(DATA, 2);
        assert_eq!(rig.read(INTERRUPT_ID_OR_FIFO_CONTROL), iir::LINE_STATUS);
        assert_eq!(rig.read(LINE_STATUS) & (lsr::OVERRUN | lsr::READY), lsr::OVERRUN | lsr::READY);
        assert_eq!((rig.read(DATA), rig.host_bytes()), (1, Vec::new()));
        rig.write(MODEM_CONTROL, 0);
        assert_eq!(rig.read(DATA), b'h');
    }

    #[test]
    fn the_divisor_hides_data_and_interrupt_enable() {
        let mut rig = Rig::new(64);
        rig.write(LINE_CONTROL, lcr::DIVISOR | 3);
        rig.write(DATA, 0x34);
        rig.write(INTERRUPT_ENABLE, 0x12);
        assert_eq!((rig.read(DATA), rig.read(INTERRUPT_ENABLE)), (0x34, 0x12));
        rig.write(LINE_CONTROL, 3);
        assert_eq!((rig.read(INTERRUPT_ENABLE), rig.host_bytes()), (0, Vec::new()));
        assert_eq!(rig.uart.save().divisor, 0x1234);
    }

    #[test]
    fn a_saved_port_goes_on() {
        let mut rig = Rig::new(1);
        rig.write(INTERRUPT_ID_OR_FIFO_CONTROL, fcr::ENABLE);
        rig.write(INTERRUPT_ENABLE, ier::RECEIVED);
        rig.write(DATA, b'a');
        rig.write(DATA, b'b');
        rig.host.write(b"i");
        rig.uart.poll();
        let saved = rig.uart.save();
        let mut other = Rig::new(64);
        other.uart = Uart::restore(
            std::mem::replace(&mut rig.uart, Rig::new(1).uart).backend,
            other.line.clone(),
            &saved,
        )
        .unwrap();
        assert_eq!((other.uart.save(), other.line.is_high()), (saved.clone(), true));
        assert_eq!(rig.host_bytes(), b"a");
        other.uart.poll();
        assert_eq!(rig.host_bytes(), b"b");
        let too_long = UartState { received: [0; 17].into(), ..saved };
        assert!(Uart::restore(Box::new(crate::backend::char::NullChar), other.line, &too_long).is_none());
    }
}

//! Which device is at which port and physical address, and which interrupt it has.

use c2w_devices::ioapic;
use c2w_devices::virtio::mmio;
use c2w_engine::addr::Gpa;

use crate::board::VIRTIO_SLOTS;
use std::ops::Range;

/// First byte of RAM.
pub const RAM_BASE: Gpa = Gpa(0);
/// Where there are devices rather than RAM, which goes on behind.
pub const DEVICES: Range<Gpa> = Gpa(0xc000_0000)..Gpa(0x1_0000_0000);

/// First virtio slot.
pub const VIRTIO_BASE: u64 = 0xfeb0_0000;
/// IO-APIC.
pub const IOAPIC_BASE: u64 = 0xfec0_0000;

/// Interrupt of the interval timer at the IO-APIC; at the 8259 it is 0.
pub const TIMER_GSI: u32 = 2;
/// Interrupt of the serial port.
pub const UART_GSI: u32 = 4;
/// Interrupt of the real-time clock.
pub const CMOS_GSI: u32 = 8;
/// Interrupt of the first virtio slot: the pins behind those of ISA.
pub const VIRTIO_GSI: u32 = 16;

/// First port of the serial port.
pub const UART_PORT: u16 = 0x3f8;
/// Its number of ports.
pub const UART_PORTS: u16 = 8;
/// Index and data of the real-time clock.
pub const CMOS_PORT: u16 = 0x70;
/// ACPI's sleep control; sleep status is the next.
pub const SLEEP_PORT: u16 = 0x600;
/// Reset control.
pub const RESET_PORT: u16 = 0xcf9;

/// A device in memory, besides the local APIC, which moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// A virtio slot.
    Virtio(usize),
    /// The IO-APIC.
    IoApic,
}

impl Window {
    /// The device at `gpa` and the offset in its window.
    pub fn at(gpa: Gpa) -> Option<(Self, u64)> {
        let ioapic = gpa.0.wrapping_sub(IOAPIC_BASE);
        if ioapic < ioapic::WINDOW_BYTES {
            return Some((Self::IoApic, ioapic));
        }
        let virtio = gpa.0.wrapping_sub(VIRTIO_BASE);
        let slot = virtio / mmio::WINDOW_BYTES;
        (slot < VIRTIO_SLOTS as u64).then_some((Self::Virtio(slot as usize), virtio % mmio::WINDOW_BYTES))
    }
}

/// A device behind ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortDevice {
    /// The first 8259.
    FirstPic,
    /// The second 8259.
    SecondPic,
    /// Trigger modes of the 8259s.
    PicLevels,
    /// Interval timer.
    Pit,
    /// Gate and output of the interval timer's channel 2.
    Speaker,
    /// Command port of the absent keyboard controller.
    Keyboard,
    /// Real-time clock.
    Cmos,
    /// Port 0x92.
    SystemControl,
    /// `isa-debug-exit`.
    DebugExit,
    /// Serial port.
    Uart,
    /// ACPI's sleep registers.
    Sleep,
    /// Reset control.
    Reset,
}

impl PortDevice {
    /// The device at `port` and the offset among its ports.
    pub fn at(port: u16) -> Option<(Self, u64)> {
        let (device, first) = match port {
            0x20..=0x21 => (Self::FirstPic, 0x20),
            0x40..=0x43 => (Self::Pit, 0x40),
            0x61 => (Self::Speaker, 0x61),
            0x64 => (Self::Keyboard, 0x64),
            0x70..=0x71 => (Self::Cmos, CMOS_PORT),
            0x92 => (Self::SystemControl, 0x92),
            0xa0..=0xa1 => (Self::SecondPic, 0xa0),
            0xf4..=0xf7 => (Self::DebugExit, 0xf4),
            0x3f8..=0x3ff => (Self::Uart, UART_PORT),
            0x4d0..=0x4d1 => (Self::PicLevels, 0x4d0),
            0x600..=0x601 => (Self::Sleep, SLEEP_PORT),
            RESET_PORT => (Self::Reset, RESET_PORT),
            _ => return None,
        };
        Some((device, (port - first).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_do_not_overlap() {
        for (gpa, expected) in [
            (0xfeaf_ffff, None),
            (0xfeb0_0000, Some((Window::Virtio(0), 0))),
            (0xfeb0_7fff, Some((Window::Virtio(7), 0xfff))),
            (0xfeb0_8000, None),
            (0xfec0_0010, Some((Window::IoApic, 0x10))),
            (0xfec0_1000, None),
            (0, None),
            (u64::MAX, None),
        ] {
            assert_eq!(Window::at(Gpa(gpa)), expected, "{gpa:#x}");
        }
    }

    #[test]
    fn ports_are_those_of_a_pc() {
        for (port, expected) in [
            (0x1f, None),
            (0x21, Some((PortDevice::FirstPic, 1))),
            (0x43, Some((PortDevice::Pit, 3))),
            (0x60, None),
            (0x71, Some((PortDevice::Cmos, 1))),
            (0xf4, Some((PortDevice::DebugExit, 0))),
            (0x3fd, Some((PortDevice::Uart, 5))),
            (0xcf8, None),
            (0xcf9, Some((PortDevice::Reset, 0))),
            (u16::MAX, None),
        ] {
            assert_eq!(PortDevice::at(port), expected, "{port:#x}");
        }
    }
}

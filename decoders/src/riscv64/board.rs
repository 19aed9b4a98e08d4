//! QEMU's `virt` board: which device is at which physical address and how its interrupt is wired.

use super::htif::{Htif, HtifState};
use super::irq;
pub use crate::board::{BoardParts, BoardRestoreError, VIRTIO_SLOTS};
use c2w_devices::aclint::{self, Aclint, AclintState, HartLines};
use c2w_devices::fdt::Place;
use c2w_devices::plic::{self, Plic, PlicState};
use c2w_devices::poweroff::{self, Poweroff};
use c2w_devices::rtc::{self, Rtc, RtcState};
use c2w_devices::uart::{self, Uart, UartState};
use c2w_devices::virtio::mmio::{self, VirtioMmio, VirtioMmioState};
use c2w_engine::addr::{Gpa, Width};
use c2w_engine::irq::{Attention, IrqLine, IrqLines};
use c2w_engine::mem::device::{Board, DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// First byte of RAM.
pub const RAM_BASE: Gpa = Gpa(0x8000_0000);
/// Interrupt sources of the PLIC, the unusable number 0 included (QEMU's VIRT_IRQCHIP_NUM_SOURCES).
const PLIC_SOURCES: u32 = 96;

const TEST_BASE: u64 = 0x10_0000;
const RTC_BASE: u64 = 0x10_1000;
const CLINT_BASE: u64 = 0x200_0000;
const PLIC_BASE: u64 = 0xc00_0000;
const UART_BASE: u64 = 0x1000_0000;
const VIRTIO_BASE: u64 = 0x1000_1000;
const UART_IRQ: u32 = 10;
const RTC_IRQ: u32 = 11;
/// Interrupt of the first virtio slot.
const VIRTIO_IRQ: u32 = 1;

/// Phandle of the PLIC in the device tree.
pub(super) const PLIC_PHANDLE: u32 = 2;

/// A device of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Test,
    Rtc,
    Clint,
    Plic,
    Uart,
    Virtio(usize),
}

impl Window {
    /// The device at `gpa` and the offset in its window.
    fn at(gpa: Gpa) -> Option<(Self, u64)> {
        let virtio = (gpa.0.wrapping_sub(VIRTIO_BASE) / mmio::WINDOW_BYTES) as usize;
        let window = match gpa.0 {
            VIRTIO_BASE.. => Self::Virtio(if virtio < VIRTIO_SLOTS { virtio } else { return None }),
            UART_BASE.. => Self::Uart,
            PLIC_BASE.. => Self::Plic,
            CLINT_BASE.. => Self::Clint,
            RTC_BASE.. => Self::Rtc,
            _ => Self::Test,
        };
        let place = window.place();
        let offset = gpa.0.checked_sub(place.base.0)?;
        (offset < place.len_bytes).then_some((window, offset))
    }

    /// Where the device is and which interrupt it has; 0 if none.
    pub(super) fn place(self) -> Place {
        let (base, len_bytes, irq) = match self {
            Self::Test => (TEST_BASE, poweroff::WINDOW_BYTES, 0),
            Self::Rtc => (RTC_BASE, rtc::WINDOW_BYTES, RTC_IRQ),
            Self::Clint => (CLINT_BASE, aclint::WINDOW_BYTES, 0),
            Self::Plic => (PLIC_BASE, plic::WINDOW_BYTES, 0),
            Self::Uart => (UART_BASE, uart::WINDOW_BYTES, UART_IRQ),
            Self::Virtio(slot) => {
                (VIRTIO_BASE + slot as u64 * mmio::WINDOW_BYTES, mmio::WINDOW_BYTES, VIRTIO_IRQ + slot as u32)
            }
        };
        Place { base: Gpa(base), len_bytes, irq, interrupt_parent: PLIC_PHANDLE }
    }
}

/// State of the board and its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardState {
    /// Timer and software interrupts.
    pub aclint: AclintState,
    /// Interrupt controller.
    pub plic: PlicState,
    /// Serial port.
    pub uart: UartState,
    /// Real-time clock.
    pub rtc: RtcState,
    /// Occupied virtio slots, from 0 on.
    pub virtio: Vec<VirtioMmioState>,
    /// Host-target interface of test programs.
    pub htif: Option<HtifState>,
}

/// The board.
pub struct VirtBoard {
    pub(super) aclint: Aclint,
    pub(super) plic: Plic,
    pub(super) uart: Uart,
    pub(super) rtc: Rtc,
    pub(super) poweroff: Poweroff,
    pub(super) virtio: Vec<VirtioMmio>,
    /// Host-target interface, for test programs that have one.
    pub htif: Option<Htif>,
}

/// The lines from the board's controllers to the hart.
fn hart_lines(hart: &IrqLines) -> (Vec<HartLines>, Vec<IrqLine>) {
    let timer = HartLines { msip: hart.line(irq::MSI), mtip: hart.line(irq::MTI) };
    // The PLIC's contexts of a hart: M-mode, then S-mode.
    (vec![timer], vec![hart.line(irq::MEI), hart.line(irq::SEI)])
}

impl VirtBoard {
    /// A board after reset, whose interrupts go to `hart`.
    ///
    /// # Panics
    /// If there are more virtio devices than slots: the caller checks user input.
    pub fn new(parts: BoardParts, hart: &IrqLines, attention: &Attention) -> Self {
        assert!(parts.virtio.len() <= VIRTIO_SLOTS, "the board has {VIRTIO_SLOTS} virtio slots");
        let (timer, external) = hart_lines(hart);
        let plic = Plic::new(PLIC_SOURCES, external, attention);
        let virtio = parts.virtio.into_iter().enumerate();
        let virtio =
            virtio.map(|(slot, device)| VirtioMmio::new(device, plic.source(VIRTIO_IRQ + slot as u32)));
        Self {
            aclint: Aclint::new(timer),
            uart: Uart::new(parts.console, plic.source(UART_IRQ)),
            rtc: Rtc::new(parts.wall_clock, plic.source(RTC_IRQ)),
            poweroff: Poweroff,
            virtio: virtio.collect(),
            plic,
            htif: None,
        }
    }

    /// The saved board. `parts.virtio` are the devices, each restored from its state in [`BoardState::virtio`].
    pub fn restore(
        parts: BoardParts,
        hart: &IrqLines,
        attention: &Attention,
        state: &BoardState,
    ) -> Result<Self, BoardRestoreError> {
        let impossible = BoardRestoreError::Impossible;
        let (saved, present) = (state.virtio.len(), parts.virtio.len());
        if saved != present || saved > VIRTIO_SLOTS {
            return Err(BoardRestoreError::OtherDevices { saved, present });
        }
        let (timer, external) = hart_lines(hart);
        let plic = Plic::restore(PLIC_SOURCES, external, attention, &state.plic)
            .ok_or(impossible("interrupt controller"))?;
        let mut virtio = Vec::new();
        for (slot, (device, state)) in parts.virtio.into_iter().zip(&state.virtio).enumerate() {
            virtio.push(VirtioMmio::restore(device, plic.source(VIRTIO_IRQ + slot as u32), state)?);
        }
        Ok(Self {
            aclint: Aclint::restore(timer, &state.aclint).ok_or(impossible("timer"))?,
            uart: Uart::restore(parts.console, plic.source(UART_IRQ), &state.uart)
                .ok_or(impossible("serial port"))?,
            rtc: Rtc::restore(parts.wall_clock, plic.source(RTC_IRQ), &state.rtc),
            poweroff: Poweroff,
            virtio,
            plic,
            htif: state.htif.as_ref().map(Htif::restore),
        })
    }

    /// The state of the board and its devices.
    pub fn save(&self) -> BoardState {
        BoardState {
            aclint: self.aclint.save(),
            plic: self.plic.save(),
            uart: self.uart.save(),
            rtc: self.rtc.save(),
            virtio: self.virtio.iter().map(VirtioMmio::save).collect(),
            htif: self.htif.as_ref().map(Htif::save),
        }
    }

    /// The timer in ticks at guest time `now_ns`: the `time` register.
    pub fn mtime(&self, now_ns: u64) -> u64 {
        self.aclint.mtime(now_ns)
    }

    /// Guest time at which the timer shows `tick`; `None` if it never does.
    pub fn mtime_to_ns(&self, tick: u64) -> Option<u64> {
        self.aclint.tick_to_ns(tick)
    }

    /// The devices of the virtio slots.
    pub fn virtio(&self) -> &[VirtioMmio] {
        &self.virtio
    }

    fn device(&mut self, window: Window) -> Option<&mut dyn MmioDevice> {
        Some(match window {
            Window::Test => &mut self.poweroff,
            Window::Rtc => &mut self.rtc,
            Window::Clint => &mut self.aclint,
            Window::Plic => &mut self.plic,
            Window::Uart => &mut self.uart,
            Window::Virtio(slot) => self.virtio.get_mut(slot)?,
        })
    }

    /// The device that answers an access of `width` at `gpa`, and the offset in its window.
    fn route(&mut self, gpa: Gpa, width: Width) -> Option<(&mut dyn MmioDevice, u64)> {
        let (window, offset) = Window::at(gpa)?;
        let device = self.device(window)?;
        let answers = offset & (width.bytes() - 1) == 0 && device.widths().contains(&width);
        answers.then_some((device, offset))
    }
}

impl Board for VirtBoard {
    fn read(&mut self, gpa: Gpa, width: Width, env: &mut DeviceEnv<'_>) -> Option<u64> {
        if let Some((Window::Virtio(slot), offset)) = Window::at(gpa)
            && slot >= self.virtio.len()
        {
            return mmio_placeholder(offset, width);
        }
        let (device, offset) = self.route(gpa, width)?;
        Some(device.read(offset, width, env))
    }

    fn write(&mut self, gpa: Gpa, width: Width, value: u64, env: &mut DeviceEnv<'_>) -> Option<()> {
        if let Some((Window::Virtio(slot), _)) = Window::at(gpa)
            && slot >= self.virtio.len()
        {
            return Some(());
        }
        let (device, offset) = self.route(gpa, width)?;
        device.write(offset, width, value, env);
        Some(())
    }

    fn service(&mut self, env: &mut DeviceEnv<'_>) {
        self.uart.poll();
        self.rtc.service(env);
        for device in &mut self.virtio {
            device.poll(env);
        }
        self.aclint.service(env);
        // Last: it passes on what the devices just raised.
        self.plic.service();
        if let Some(htif) = &self.htif {
            htif.service(&mut self.uart, env);
        }
    }

    fn deadline_ns(&self) -> Option<u64> {
        [self.aclint.deadline_ns(), self.rtc.deadline_ns()].into_iter().flatten().min()
    }
}

/// An empty slot: the magic number and version of a transport with device type 0 (virtio 1.2 §4.2.2.2), as software
/// that looks for devices at fixed addresses expects it.
fn mmio_placeholder(offset: u64, width: Width) -> Option<u64> {
    Some(match (offset, width) {
        (0, Width::W32) => u64::from(u32::from_le_bytes(*b"virt")),
        (4, Width::W32) => 2,
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_that_of_qemu_virt() {
        for (gpa, expected) in [
            (0, None),
            (0xf_ffff, None),
            (0x10_0000, Some((Window::Test, 0))),
            (0x10_1004, Some((Window::Rtc, 4))),
            (0x10_2000, None),
            (0x200_bff8, Some((Window::Clint, 0xbff8))),
            (0x201_0000, None),
            (0xc20_1004, Some((Window::Plic, 0x20_1004))),
            (0xc60_0000, None),
            (0x1000_0007, Some((Window::Uart, 7))),
            (0x1000_0100, None),
            (0x1000_1000, Some((Window::Virtio(0), 0))),
            (0x1000_8fff, Some((Window::Virtio(7), 0xfff))),
            (0x1000_9000, None),
            (0x7fff_ffff, None),
            (u64::MAX, None),
        ] {
            assert_eq!(Window::at(Gpa(gpa)), expected, "{gpa:#x}");
        }
        assert_eq!(Window::Virtio(7).place().irq, 8);
    }
}

//! The PC's board: its devices, and how their interrupts reach the vCPU.
//!
//! Lines go to the IO-APIC and to the 8259s; what those ask for goes through the local APIC to the INTR pin. Nothing
//! rests on the way: after every access and every look at devices [`PcBoard::settle`] has passed everything on.
//! Reading order: [`map`] (what is where), this file, [`acpi`] (how a guest is told).

pub mod acpi;
pub mod map;
#[cfg(test)]
mod tests;

use super::interrupt::{INTR, NMI};
pub use crate::board::{BoardParts, BoardRestoreError, VIRTIO_SLOTS};
use c2w_devices::backend::char::NullChar;
use c2w_devices::cmos::{Cmos, CmosState};
use c2w_devices::ioapic::{IoApic, IoApicState};
use c2w_devices::lapic::{self, Lapic, LapicState};
use c2w_devices::pc_power::{DebugExit, KeyboardReset, ResetControl, SleepControl, SystemControl};
use c2w_devices::pic8259::{Pic, PicState};
use c2w_devices::pit8254::{Pit, PitState};
use c2w_devices::uart::{Uart, UartState};
use c2w_devices::virtio::mmio::{VirtioMmio, VirtioMmioState};
use c2w_engine::addr::{Gpa, Width};
use c2w_engine::irq::{Attention, IrqLine, IrqLines};
use c2w_engine::mem::device::{Board, DeviceEnv, MmioDevice};
use map::{CMOS_GSI, PortDevice, TIMER_GSI, UART_GSI, VIRTIO_GSI, Window};
use serde::{Deserialize, Serialize};

/// Identifier of the vCPU's local APIC.
pub const APIC_ID: u32 = 0;

/// State of the board and its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardState {
    /// Local APIC.
    pub lapic: LapicState,
    /// IO-APIC, which holds the levels of all interrupt lines, too.
    pub ioapic: IoApicState,
    /// 8259s.
    pub pic: PicState,
    /// Interval timer.
    pub pit: PitState,
    /// Real-time clock.
    pub cmos: CmosState,
    /// Serial port.
    pub uart: UartState,
    /// Occupied virtio slots, from 0 on.
    pub virtio: Vec<VirtioMmioState>,
}

/// The board.
pub struct PcBoard {
    lapic: Lapic,
    ioapic: IoApic,
    pic: Pic,
    pit: Pit,
    cmos: Cmos,
    uart: Uart,
    virtio: Vec<VirtioMmio>,
    /// The devices' interrupt lines, by GSI.
    inputs: IrqLines,
    /// Their levels when they were passed on last.
    passed: u64,
    intr: IrqLine,
    nmi: IrqLine,
}

/// The lines of the devices. Nobody has to be told when they change: whoever lets a device work settles afterwards.
fn input_lines() -> IrqLines {
    IrqLines::new(&Attention::default())
}

impl PcBoard {
    /// A board whose interrupts go to `vcpu`, as firmware leaves it: the 8259s reach the vCPU through the local APIC.
    ///
    /// # Panics
    /// If there are more virtio devices than slots: the caller checks user input.
    pub fn new(parts: BoardParts, vcpu: &IrqLines) -> Self {
        assert!(parts.virtio.len() <= VIRTIO_SLOTS, "the board has {VIRTIO_SLOTS} virtio slots");
        let inputs = input_lines();
        let virtio = parts.virtio.into_iter().zip(VIRTIO_GSI..);
        let virtio = virtio.map(|(device, gsi)| VirtioMmio::new(device, inputs.line(gsi))).collect();
        let mut lapic = Lapic::new(APIC_ID);
        lapic.enter_virtual_wire();
        Self {
            lapic,
            ioapic: IoApic::new(),
            pic: Pic::new(),
            pit: Pit::new(),
            cmos: Cmos::new(parts.wall_clock, inputs.line(CMOS_GSI)),
            uart: Uart::new(parts.console, inputs.line(UART_GSI)),
            virtio,
            inputs,
            passed: 0,
            intr: vcpu.line(INTR),
            nmi: vcpu.line(NMI),
        }
    }

    /// A board to which nothing is connected: instruction tests.
    pub fn bare() -> Self {
        let parts =
            BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio: Vec::new() };
        Self::new(parts, &input_lines())
    }

    /// The saved board. `parts.virtio` are the devices, each restored from its state in [`BoardState::virtio`].
    pub fn restore(
        parts: BoardParts,
        vcpu: &IrqLines,
        state: &BoardState,
    ) -> Result<Self, BoardRestoreError> {
        let impossible = BoardRestoreError::Impossible;
        let (saved, present) = (state.virtio.len(), parts.virtio.len());
        if saved != present || saved > VIRTIO_SLOTS {
            return Err(BoardRestoreError::OtherDevices { saved, present });
        }
        let inputs = input_lines();
        inputs.restore(state.ioapic.levels.into());
        let mut virtio = Vec::new();
        for ((device, state), gsi) in parts.virtio.into_iter().zip(&state.virtio).zip(VIRTIO_GSI..) {
            virtio.push(VirtioMmio::restore(device, inputs.line(gsi), state)?);
        }
        let mut board = Self {
            lapic: Lapic::restore(&state.lapic),
            ioapic: IoApic::restore(&state.ioapic),
            pic: Pic::restore(&state.pic).ok_or(impossible("8259 interrupt controllers"))?,
            pit: Pit::restore(&state.pit).ok_or(impossible("interval timer"))?,
            cmos: Cmos::restore(parts.wall_clock, inputs.line(CMOS_GSI), &state.cmos)
                .ok_or(impossible("real-time clock"))?,
            uart: Uart::restore(parts.console, inputs.line(UART_GSI), &state.uart)
                .ok_or(impossible("serial port"))?,
            virtio,
            inputs,
            passed: state.ioapic.levels.into(),
            intr: vcpu.line(INTR),
            nmi: vcpu.line(NMI),
        };
        board.settle();
        Ok(board)
    }

    /// The state of the board and its devices.
    pub fn save(&self) -> BoardState {
        BoardState {
            lapic: self.lapic.save(),
            ioapic: self.ioapic.save(),
            pic: self.pic.save(),
            pit: self.pit.save(),
            cmos: self.cmos.save(),
            uart: self.uart.save(),
            virtio: self.virtio.iter().map(VirtioMmio::save).collect(),
        }
    }

    /// The devices of the virtio slots.
    pub fn virtio(&self) -> &[VirtioMmio] {
        &self.virtio
    }

    /// IN. What nothing answers reads as all ones.
    pub fn port_read(&mut self, port: u16, width: Width, env: &mut DeviceEnv<'_>) -> u64 {
        let value = self.with_port(port, |device, offset| {
            device.widths().contains(&width).then(|| device.read(offset, width, env))
        });
        let value = value.flatten().unwrap_or_else(|| {
            let bytes = 0..width.bytes() as u16;
            // As the bus does it, byte by byte, if nothing takes the access whole.
            let byte = |i: u16| self.port_byte_read(port.wrapping_add(i), env) << (8 * i);
            bytes.map(byte).fold(0, |value, byte| value | byte)
        });
        self.settle();
        value
    }

    fn port_byte_read(&mut self, port: u16, env: &mut DeviceEnv<'_>) -> u64 {
        let value = self.with_port(port, |device, offset| device.read(offset, Width::W8, env));
        value.unwrap_or(Width::W8.mask())
    }

    /// OUT. What nothing answers is lost.
    pub fn port_write(&mut self, port: u16, width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        let value = value & width.mask();
        let whole = self.with_port(port, |device, offset| {
            let takes = device.widths().contains(&width);
            if takes {
                device.write(offset, width, value, env);
            }
            takes
        });
        if whole != Some(true) {
            for (i, byte) in value.to_le_bytes().into_iter().take(width.bytes() as usize).enumerate() {
                let port = port.wrapping_add(i as u16);
                self.with_port(port, |device, offset| device.write(offset, Width::W8, byte.into(), env));
            }
        }
        self.settle();
    }

    fn with_port<R>(&mut self, port: u16, f: impl FnOnce(&mut dyn MmioDevice, u64) -> R) -> Option<R> {
        let (device, offset) = PortDevice::at(port)?;
        Some(match device {
            PortDevice::FirstPic => f(&mut self.pic.first_ports(), offset),
            PortDevice::SecondPic => f(&mut self.pic.second_ports(), offset),
            PortDevice::PicLevels => f(&mut self.pic.level_ports(), offset),
            PortDevice::Pit => f(&mut self.pit, offset),
            PortDevice::Speaker => f(&mut self.pit.speaker_port(), offset),
            PortDevice::Keyboard => f(&mut KeyboardReset, offset),
            PortDevice::Cmos => f(&mut self.cmos, offset),
            PortDevice::SystemControl => f(&mut SystemControl, offset),
            PortDevice::DebugExit => f(&mut DebugExit, offset),
            PortDevice::Uart => f(&mut self.uart, offset),
            PortDevice::Sleep => f(&mut SleepControl, offset),
            PortDevice::Reset => f(&mut ResetControl, offset),
        })
    }

    /// The vector of the interrupt to take, now that the INTR pin is high and the vCPU takes it; `None` if it has gone.
    pub fn acknowledge(&mut self) -> Option<u8> {
        let vector = match self.lapic.acknowledge() {
            None if self.pic_interrupts() => Some(self.pic.acknowledge()),
            vector => vector,
        };
        self.settle();
        vector
    }

    /// RDMSR of one of the local APIC's registers (IA32_APIC_BASE, IA32_TSC_DEADLINE, those of the x2APIC); `None` is
    /// #GP.
    pub fn lapic_msr_read(&mut self, index: u32, env: &mut DeviceEnv<'_>) -> Option<u64> {
        let value = self.lapic.read_msr(index, env.now_ns);
        self.settle();
        value
    }

    /// WRMSR to one of them; `None` is #GP.
    pub fn lapic_msr_write(&mut self, index: u32, value: u64, env: &mut DeviceEnv<'_>) -> Option<()> {
        let done = self.lapic.write_msr(index, value, env.now_ns);
        self.settle();
        done
    }

    /// CR8: the local APIC's task priority class, 0 to 15.
    pub fn task_priority(&self) -> u8 {
        self.lapic.priority_class()
    }

    /// MOV to CR8.
    pub fn set_task_priority(&mut self, class: u8, _env: &mut DeviceEnv<'_>) {
        self.lapic.set_priority_class(class);
        self.settle();
    }

    /// What is added to guest time to give the time-stamp counter has changed: deadlines are counted in that.
    pub fn set_tsc_adjust(&mut self, adjust: u64, env: &mut DeviceEnv<'_>) {
        self.lapic.set_tsc_adjust(adjust, env.now_ns);
        self.settle();
    }

    fn pic_interrupts(&self) -> bool {
        self.lapic.passes_8259() && self.pic.has_interrupt()
    }

    /// Passes on what devices and controllers have for the next one on the way to the vCPU.
    fn settle(&mut self) {
        let levels = self.inputs.levels();
        if levels != self.passed {
            self.passed = levels;
            self.ioapic.set_levels(levels as u32);
            // ISA's lines are the first 16; the timer's is input 0, and input 2 is not a line.
            let isa = levels & !(1 | 1 << TIMER_GSI) | levels >> TIMER_GSI & 1;
            self.pic.set_levels(isa as u16);
        }
        if let Some(vector) = self.lapic.take_end_of_interrupt() {
            self.ioapic.end_of_interrupt(vector);
        }
        for message in self.ioapic.take_messages() {
            self.lapic.receive(message);
        }
        if self.lapic.take_nmi() {
            self.nmi.raise();
        }
        self.intr.set(self.lapic.has_interrupt() || self.pic_interrupts());
    }

    /// The timer's line falls and rises whenever a count ended.
    fn service_pit(&mut self, now_ns: u64) {
        if self.pit.expire(now_ns) {
            let line = self.inputs.line(TIMER_GSI);
            line.lower();
            self.settle();
            line.raise();
            self.settle();
        }
    }

    /// The device that answers an access of `width` at `gpa`, and the offset in its window.
    fn route(&mut self, gpa: Gpa, width: Width) -> Option<(&mut dyn MmioDevice, u64)> {
        let (device, offset): (&mut dyn MmioDevice, u64) = match Window::at(gpa) {
            Some((Window::Virtio(slot), offset)) => (self.virtio.get_mut(slot)?, offset),
            Some((Window::IoApic, offset)) => (&mut self.ioapic, offset),
            None => {
                let offset = gpa.0.checked_sub(self.lapic.window()?.0)?;
                if offset >= lapic::WINDOW_BYTES {
                    return None;
                }
                (&mut self.lapic, offset)
            }
        };
        let answers = offset & (width.bytes() - 1) == 0 && device.widths().contains(&width);
        answers.then_some((device, offset))
    }
}

impl Board for PcBoard {
    /// What nothing answers reads as all ones.
    fn read(&mut self, gpa: Gpa, width: Width, env: &mut DeviceEnv<'_>) -> Option<u64> {
        let Some((device, offset)) = self.route(gpa, width) else { return Some(width.mask()) };
        let value = device.read(offset, width, env);
        self.settle();
        Some(value)
    }

    /// What nothing answers is lost.
    fn write(&mut self, gpa: Gpa, width: Width, value: u64, env: &mut DeviceEnv<'_>) -> Option<()> {
        if let Some((device, offset)) = self.route(gpa, width) {
            device.write(offset, width, value, env);
            self.settle();
        }
        Some(())
    }

    fn service(&mut self, env: &mut DeviceEnv<'_>) {
        self.lapic.service(env.now_ns);
        self.service_pit(env.now_ns);
        self.cmos.service(env);
        self.uart.poll();
        for device in &mut self.virtio {
            device.poll(env);
        }
        self.settle();
    }

    fn deadline_ns(&self) -> Option<u64> {
        let deadlines = [self.lapic.deadline_ns(), self.pit.deadline_ns(), self.cmos.deadline_ns()];
        deadlines.into_iter().flatten().min()
    }
}

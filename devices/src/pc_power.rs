//! The ways in which software ends or restarts a PC: ACPI's sleep control, the reset control register, the keyboard
//! controller, the fast reset of port 0x92, and the debug exit that test programs use. None has state.

use c2w_engine::addr::Width;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice, Request};

/// Sleep type that the board's `_S5` object names.
pub const SLEEP_TYPE_OFF: u8 = 5;
/// What is written to [`ResetControl`] to reset.
pub const RESET_VALUE: u8 = 0x06;

/// Sleep control and sleep status of hardware-reduced ACPI, two bytes (ACPI 6.4, 4.8.3.7).
#[derive(Clone, Copy, Debug, Default)]
pub struct SleepControl;

impl MmioDevice for SleepControl {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, _offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        0
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        const ENABLE: u8 = 1 << 5;
        let (sleeps, kind) = (value as u8 & ENABLE != 0, value as u8 >> 2 & 7);
        if offset == 0 && sleeps && kind == SLEEP_TYPE_OFF {
            *env.request = Some(Request::PowerOff);
        }
    }
}

/// The reset control register of chipsets, port 0xcf9.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResetControl;

impl MmioDevice for ResetControl {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, _offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        0
    }

    fn write(&mut self, _offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        const RESET_CPU: u64 = 1 << 2;
        if value & RESET_CPU != 0 {
            *env.request = Some(Request::Reset);
        }
    }
}

/// System control port A, 0x92: the A20 gate, which is always open, and the fast reset.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemControl;

impl MmioDevice for SystemControl {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, _offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        const A20: u64 = 2;
        A20
    }

    fn write(&mut self, _offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        if value & 1 != 0 {
            *env.request = Some(Request::Reset);
        }
    }
}

/// Command port of a keyboard controller, 0x64, without keyboard and without the rest of the controller: it reads as
/// if nothing were there, and pulses the reset line.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyboardReset;

impl MmioDevice for KeyboardReset {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, _offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        0xff
    }

    fn write(&mut self, _offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        // Pulse output port: a clear bit pulses its line low, and line 0 is reset.
        if value & 0xf1 == 0xf0 {
            *env.request = Some(Request::Reset);
        }
    }
}

/// QEMU's `isa-debug-exit`: what is written ends the run, doubled and with bit 0 set, so that it is never success.
#[derive(Clone, Copy, Debug, Default)]
pub struct DebugExit;

impl MmioDevice for DebugExit {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8, Width::W16, Width::W32]
    }

    fn read(&mut self, _offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        0
    }

    fn write(&mut self, _offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        *env.request = Some(Request::Finish(value << 1 | 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn each_asks_for_its_end() {
        let mut bench = Bench::new();
        let mut written = |device: &mut dyn MmioDevice, offset, value| {
            bench.request = None;
            device.write(offset, Width::W8, value, &mut bench.env());
            bench.request
        };
        assert_eq!(written(&mut SleepControl, 0, 0x34), Some(Request::PowerOff));
        assert_eq!(written(&mut SleepControl, 0, 0x14), None, "not enabled");
        assert_eq!(written(&mut SleepControl, 0, 0x24), None, "another sleep");
        assert_eq!(written(&mut SleepControl, 1, 0x34), None, "the status register");
        assert_eq!(written(&mut ResetControl, 0, 0x02), None);
        assert_eq!(written(&mut ResetControl, 0, RESET_VALUE.into()), Some(Request::Reset));
        assert_eq!(written(&mut SystemControl, 0, 2), None);
        assert_eq!(written(&mut SystemControl, 0, 3), Some(Request::Reset));
        assert_eq!(written(&mut KeyboardReset, 0, 0xfe), Some(Request::Reset));
        assert_eq!(written(&mut KeyboardReset, 0, 0xff), None);
        assert_eq!(written(&mut DebugExit, 0, 0), Some(Request::Finish(1)));
        assert_eq!(written(&mut DebugExit, 0, 0x31), Some(Request::Finish(0x63)));
    }
}

//! The PC's board: which device is at which port or physical address and how its interrupt is wired.

use c2w_engine::addr::{Gpa, Width};
use c2w_engine::mem::device::{Board, DeviceEnv};

/// The board.
pub struct PcBoard;

impl PcBoard {
    /// A board without devices: instruction tests.
    pub fn bare() -> Self {
        Self
    }

    /// IN. What nothing answers reads as all ones.
    pub fn port_read(&mut self, _port: u16, width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        width.mask()
    }

    /// OUT. What nothing answers is lost.
    pub fn port_write(&mut self, _port: u16, _width: Width, _value: u64, _env: &mut DeviceEnv<'_>) {}

    /// The vector of the interrupt to take, now that the INTR pin is high and the vCPU takes it; `None` if it has gone.
    pub fn acknowledge(&mut self) -> Option<u8> {
        None
    }

    /// RDMSR of one of the local APIC's registers (IA32_APIC_BASE, IA32_TSC_DEADLINE, those of the x2APIC); `None` is #GP.
    pub fn lapic_msr_read(&mut self, _index: u32, _env: &mut DeviceEnv<'_>) -> Option<u64> {
        None
    }

    /// WRMSR to one of them; `None` is #GP.
    pub fn lapic_msr_write(&mut self, _index: u32, _value: u64, _env: &mut DeviceEnv<'_>) -> Option<()> {
        None
    }

    /// CR8: the local APIC's task priority class, 0 to 15.
    pub fn task_priority(&self) -> u8 {
        0
    }

    /// MOV to CR8.
    pub fn set_task_priority(&mut self, _class: u8, _env: &mut DeviceEnv<'_>) {}

    /// What is added to guest time to give the time-stamp counter has changed: deadlines are counted in that.
    pub fn set_tsc_adjust(&mut self, _adjust: u64, _env: &mut DeviceEnv<'_>) {}
}

impl Board for PcBoard {
    fn read(&mut self, _gpa: Gpa, width: Width, _env: &mut DeviceEnv<'_>) -> Option<u64> {
        Some(width.mask())
    }

    fn write(&mut self, _gpa: Gpa, _width: Width, _value: u64, _env: &mut DeviceEnv<'_>) -> Option<()> {
        Some(())
    }

    fn service(&mut self, _env: &mut DeviceEnv<'_>) {}

    fn deadline_ns(&self) -> Option<u64> {
        None
    }
}

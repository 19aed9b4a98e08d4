//! Emulated devices of c2w: virtio over MMIO, serial port, clocks, timers, power switches, interrupt controllers.
//!
//! A device is ignorant of its address and of who listens to its interrupt line; the board of each guest places it.
//! Every device has a plain `State` (`save`, `restore`) and writes its own device tree node ([`fdt`]). What a device
//! stands on outside the guest is a narrow trait in [`backend`].
//!
//! Reading order: [`virtio`] (the contract of a virtio device), [`virtio::queue`], [`virtio::mmio`], then any device.

pub mod aclint;
pub mod backend;
pub mod cmos;
pub mod fdt;
pub mod ioapic;
pub mod lapic;
pub mod pc_power;
pub mod pic8259;
pub mod pit8254;
pub mod plic;
pub mod poweroff;
pub mod rtc;
#[cfg(test)]
mod testing;
pub mod uart;
pub mod virtio;

//! The contract between a memory-mapped device and whoever routes accesses to it.
//!
//! A device sees an offset into its own window, never its address. The board decodes addresses, so a device
//! is never asked for a width it did not declare.

use super::ram::Ram;
use crate::addr::Width;

/// Something the machine as a whole must do; the run loop returns it to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The guest turned the machine off.
    PowerOff,
    /// The guest asks for a restart.
    Reset,
    /// The guest ended the run with a status of its own (test devices): 0 is success.
    Finish(u64),
}

/// What a device may use while it handles an access.
pub struct DeviceEnv<'a> {
    /// Guest RAM, for DMA.
    pub ram: &'a mut Ram,
    /// Guest time, in nanoseconds since the machine was powered on.
    pub now_ns: u64,
    /// Set by a device that ends or restarts the machine.
    pub request: &'a mut Option<Request>,
}

/// A device behind a window of guest physical addresses.
pub trait MmioDevice {
    /// Access widths the device answers; other widths are bus errors.
    fn widths(&self) -> &'static [Width] {
        &[Width::W8, Width::W16, Width::W32, Width::W64]
    }

    /// Reads `width` at `offset`, which is aligned to `width` and inside the window. Bits above the width are zero.
    fn read(&mut self, offset: u64, width: Width, env: &mut DeviceEnv<'_>) -> u64;

    /// Writes the low `width` bits of `value` at `offset`, which is aligned to `width` and inside the window.
    fn write(&mut self, offset: u64, width: Width, value: u64, env: &mut DeviceEnv<'_>);
}

/// A board: all of a machine that is not its vCPU or its RAM.
pub trait Board {
    /// Reads from a device, or `None` if no device answers there at that width.
    fn read(&mut self, gpa: crate::addr::Gpa, width: Width, env: &mut DeviceEnv<'_>) -> Option<u64>;

    /// Writes to a device, or `None` if no device answers there at that width.
    fn write(
        &mut self,
        gpa: crate::addr::Gpa,
        width: Width,
        value: u64,
        env: &mut DeviceEnv<'_>,
    ) -> Option<()>;

    /// Looks at time, interrupt lines and host input: called at the start of a run and when the machine's
    /// `Attention` was set.
    fn service(&mut self, env: &mut DeviceEnv<'_>);

    /// Guest time of the next timer event, if one is armed.
    fn deadline_ns(&self) -> Option<u64>;
}

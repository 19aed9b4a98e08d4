//! What every device needs to write its flattened device tree node: where the board put it.

use c2w_engine::addr::Gpa;
pub use vm_fdt::{Error, FdtWriter};

/// Where a board placed a device and how it wired its interrupt. The board's root node has two address cells and
/// two size cells, and its interrupt controller one interrupt cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte of the device's window.
    pub base: Gpa,
    /// Length of the window.
    pub len_bytes: u64,
    /// Input number at the interrupt controller.
    pub irq: u32,
    /// Phandle of the interrupt controller.
    pub interrupt_parent: u32,
}

impl Place {
    /// The name of a node at this place: `name@address`.
    pub fn node_name(&self, name: &str) -> String {
        format!("{name}@{:x}", self.base.0)
    }

    /// Writes `reg` of a node.
    pub fn write_reg(&self, fdt: &mut FdtWriter) -> Result<(), Error> {
        fdt.property_array_u64("reg", &[self.base.0, self.len_bytes])
    }

    /// Writes `interrupts` and `interrupt-parent` of a node.
    pub fn write_interrupt(&self, fdt: &mut FdtWriter) -> Result<(), Error> {
        fdt.property_u32("interrupts", self.irq)?;
        fdt.property_u32("interrupt-parent", self.interrupt_parent)
    }
}

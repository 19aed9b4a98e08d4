//! The SiFive test device: one register that ends or restarts the machine, found by Linux as a syscon.

use crate::fdt::{self, FdtWriter, Place};
use c2w_engine::addr::Width;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice, Request};

/// Length of the window.
pub const WINDOW_BYTES: u64 = 0x1000;

/// Values of the register's low half (sifive-blocks, TestFinisher).
const PASS: u32 = 0x5555;
const RESET: u32 = 0x7777;
const FAIL: u32 = 0x3333;

/// The test device. It has no state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Poweroff;

impl Poweroff {
    /// Writes the node of the device, with `phandle` as its own, and the nodes that tell Linux how to use it.
    pub fn write_fdt(&self, fdt: &mut FdtWriter, place: &Place, phandle: u32) -> Result<(), fdt::Error> {
        let node = fdt.begin_node(&place.node_name("test"))?;
        let names = ["sifive,test1", "sifive,test0", "syscon"];
        fdt.property_string_list("compatible", names.map(String::from).to_vec())?;
        place.write_reg(fdt)?;
        fdt.property_phandle(phandle)?;
        fdt.end_node(node)?;
        for (name, value) in [("poweroff", PASS), ("reboot", RESET)] {
            let node = fdt.begin_node(name)?;
            fdt.property_string("compatible", &format!("syscon-{name}"))?;
            fdt.property_u32("regmap", phandle)?;
            fdt.property_u32("offset", 0)?;
            fdt.property_u32("value", value)?;
            fdt.end_node(node)?;
        }
        Ok(())
    }
}

impl MmioDevice for Poweroff {
    fn widths(&self) -> &'static [Width] {
        &[Width::W16, Width::W32]
    }

    fn read(&mut self, _offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        0
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        if offset != 0 {
            return;
        }
        *env.request = match value as u32 & 0xffff {
            PASS => Some(Request::PowerOff),
            RESET => Some(Request::Reset),
            // Zero would read as success.
            FAIL => Some(Request::Finish((value >> 16 & 0xffff).max(1))),
            _ => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn each_command_makes_its_request() {
        let mut bench = Bench::new();
        for (offset, value, request) in [
            (0, 0x5555, Some(Request::PowerOff)),
            (0, 0x7777, Some(Request::Reset)),
            (0, 0x0007_3333, Some(Request::Finish(7))),
            (0, 0x3333, Some(Request::Finish(1))),
            (0, 0x1234, None),
            (4, 0x5555, None),
        ] {
            bench.request = None;
            Poweroff.write(offset, Width::W32, value, &mut bench.env());
            assert_eq!(bench.request, request, "{value:#x} at {offset}");
        }
    }
}

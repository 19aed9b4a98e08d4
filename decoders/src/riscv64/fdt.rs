//! The device tree that describes the board to firmware and kernels (Devicetree Specification 0.4, Linux bindings).

use super::board::{PLIC_PHANDLE, RAM_BASE, VirtBoard, Window};
use super::cbo;
use c2w_devices::aclint::TIMEBASE_HZ;
pub use c2w_devices::fdt::Error;
use c2w_devices::fdt::FdtWriter;
use c2w_engine::addr::Gpa;
use std::ops::Range;

/// Phandle of the hart's own interrupt controller.
const HART_PHANDLE: u32 = 1;
/// Phandle of the power switch.
const TEST_PHANDLE: u32 = 3;

/// The base instruction set.
const ISA_BASE: &str = "rv64i";
/// Extensions that work, by their names in the `riscv,isa-extensions` binding, in canonical order. Of Svade and Svadu
/// only the latter: hardware updates accessed and dirty bits from the start.
const EXTENSIONS: &[&str] = &[
    "i",
    "m",
    "a",
    "f",
    "d",
    "c",
    "zicbom",
    "zicboz",
    "zicntr",
    "zicond",
    "zicsr",
    "zifencei",
    "zihintpause",
    "zawrs",
    "zfa",
    "zfh",
    "zfhmin",
    "zba",
    "zbb",
    "zbc",
    "zbs",
    "sstc",
    "svadu",
    "svinval",
    "svnapot",
    "svpbmt",
];

/// What the device tree says besides what the board itself knows.
#[derive(Clone, Debug, Default)]
pub struct FdtConfig<'a> {
    /// Length of RAM.
    pub memory_bytes: u64,
    /// Kernel command line.
    pub bootargs: &'a str,
    /// Where the initial RAM disk is.
    pub initrd: Option<Range<u64>>,
    /// Entropy for the kernel's random number generator.
    pub rng_seed: &'a [u8],
}

/// The older spelling of the same: one string, single letters first.
fn isa_string() -> String {
    let (single, multi): (Vec<&str>, Vec<&str>) = EXTENSIONS[1..].iter().partition(|name| name.len() == 1);
    format!("{ISA_BASE}{}_{}", single.concat(), multi.join("_"))
}

/// Writes the device tree of `board`.
pub fn write(board: &VirtBoard, config: &FdtConfig<'_>) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_string("compatible", "riscv-virtio")?;
    fdt.property_string("model", "riscv-virtio,c2w")?;
    write_chosen(&mut fdt, config)?;
    write_memory(&mut fdt, RAM_BASE, config.memory_bytes)?;
    write_cpus(&mut fdt)?;
    let soc = fdt.begin_node("soc")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_string("compatible", "simple-bus")?;
    fdt.property_null("ranges")?;
    board.poweroff.write_fdt(&mut fdt, &Window::Test.place(), TEST_PHANDLE)?;
    board.rtc.write_fdt(&mut fdt, &Window::Rtc.place())?;
    board.aclint.write_fdt(&mut fdt, &Window::Clint.place(), &[HART_PHANDLE])?;
    board.plic.write_fdt(&mut fdt, &Window::Plic.place(), PLIC_PHANDLE, &[HART_PHANDLE])?;
    board.uart.write_fdt(&mut fdt, &Window::Uart.place())?;
    for (slot, device) in board.virtio.iter().enumerate() {
        device.write_fdt(&mut fdt, &Window::Virtio(slot).place())?;
    }
    fdt.end_node(soc)?;
    fdt.end_node(root)?;
    fdt.finish()
}

fn write_chosen(fdt: &mut FdtWriter, config: &FdtConfig<'_>) -> Result<(), Error> {
    let chosen = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", config.bootargs)?;
    let uart = Window::Uart.place().node_name("serial");
    fdt.property_string("stdout-path", &format!("/soc/{uart}"))?;
    if let Some(initrd) = &config.initrd {
        fdt.property_u64("linux,initrd-start", initrd.start)?;
        fdt.property_u64("linux,initrd-end", initrd.end)?;
    }
    if !config.rng_seed.is_empty() {
        fdt.property("rng-seed", config.rng_seed)?;
    }
    fdt.end_node(chosen)
}

fn write_memory(fdt: &mut FdtWriter, base: Gpa, len_bytes: u64) -> Result<(), Error> {
    let memory = fdt.begin_node(&format!("memory@{:x}", base.0))?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &[base.0, len_bytes])?;
    fdt.end_node(memory)
}

fn write_cpus(fdt: &mut FdtWriter) -> Result<(), Error> {
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    fdt.property_u32("timebase-frequency", TIMEBASE_HZ as u32)?;
    let cpu = fdt.begin_node("cpu@0")?;
    fdt.property_string("device_type", "cpu")?;
    fdt.property_u32("reg", 0)?;
    fdt.property_string("status", "okay")?;
    fdt.property_string("compatible", "riscv")?;
    fdt.property_string("riscv,isa", &isa_string())?;
    fdt.property_string("riscv,isa-base", ISA_BASE)?;
    fdt.property_string_list(
        "riscv,isa-extensions",
        EXTENSIONS.iter().map(|name| name.to_string()).collect(),
    )?;
    fdt.property_u32("riscv,cbom-block-size", cbo::BLOCK_BYTES as u32)?;
    fdt.property_u32("riscv,cboz-block-size", cbo::BLOCK_BYTES as u32)?;
    fdt.property_string("mmu-type", "riscv,sv48")?;
    let controller = fdt.begin_node("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 1)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_string("compatible", "riscv,cpu-intc")?;
    fdt.property_phandle(HART_PHANDLE)?;
    fdt.end_node(controller)?;
    fdt.end_node(cpu)?;
    fdt.end_node(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::riscv64::testing;

    #[test]
    fn the_tree_has_what_a_kernel_looks_for() {
        let config = FdtConfig {
            memory_bytes: 64 << 20,
            bootargs: "console=ttyS0 quiet",
            initrd: Some(0x8300_0000..0x8310_0000),
            rng_seed: &[7; 32],
        };
        let tree = write(&testing::cpu().board, &config).unwrap();
        assert_eq!(tree[..4], [0xd0, 0x0d, 0xfe, 0xed]);
        let has = |text: &str| tree.windows(text.len()).any(|at| at == text.as_bytes());
        for text in [
            "console=ttyS0 quiet\0",
            "/soc/serial@10000000\0",
            "test@100000\0",
            "rtc@101000\0",
            "clint@2000000\0",
            "plic@c000000\0",
            "linux,initrd-end\0",
            "rng-seed\0",
            "rv64imafdc_zicbom_zicboz_",
        ] {
            assert!(has(text), "{text:?}");
        }
        assert!(!has("virtio_mmio"), "no device, no node");
    }
}

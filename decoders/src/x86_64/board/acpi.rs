//! ACPI tables of the board: hardware-reduced ACPI, in which everything that cannot be probed is in the DSDT.

use super::map::{
    CMOS_GSI, CMOS_PORT, IOAPIC_BASE, RESET_PORT, SLEEP_PORT, TIMER_GSI, UART_GSI, UART_PORT, UART_PORTS,
    VIRTIO_BASE, VIRTIO_GSI,
};
use super::{APIC_ID, VIRTIO_SLOTS};
use acpi_tables::Aml;
use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use c2w_devices::lapic;
use c2w_devices::pc_power::{RESET_VALUE, SLEEP_TYPE_OFF};
use c2w_devices::virtio::mmio;
use c2w_engine::addr::Gpa;

const OEM: [u8; 6] = *b"C2W   ";
const OEM_TABLE: [u8; 8] = *b"C2WPC   ";
const OEM_REVISION: u32 = 1;
/// Tables start at multiples of this; the RSDP has to (ACPI 6.4, 5.2.5.1).
const ALIGN: usize = 16;

/// IA-PC boot architecture flags (ACPI 6.4, table 5.11).
mod boot_arch {
    pub const LEGACY_DEVICES: u16 = 1 << 0;
    pub const NO_VGA: u16 = 1 << 2;
    pub const NO_MSI: u16 = 1 << 3;
}

/// Length of the root pointer, the first of the tables.
pub const ROOT_BYTES: usize = 36;

/// The tables as they are to be at `base`, the root pointer first. `virtio_slots` are occupied.
pub fn tables(base: Gpa, virtio_slots: usize) -> Vec<u8> {
    let mut blob = vec![0; ROOT_BYTES];
    let mut place = |table: &[u8]| {
        blob.resize(blob.len().next_multiple_of(ALIGN), 0);
        let at = base.0 + blob.len() as u64;
        blob.extend_from_slice(table);
        at
    };
    let dsdt = place(dsdt(virtio_slots).as_slice());
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(place(&bytes(&fadt(dsdt))));
    xsdt.add_entry(place(madt().as_slice()));
    let xsdt = place(&bytes(&xsdt));
    let root = bytes(&Rsdp::new(OEM, xsdt));
    blob[..root.len()].copy_from_slice(&root);
    blob
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

fn port(port: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port.into())
}

/// Fixed description: the registers to sleep and to reset, and what a PC usually has and this one has not.
fn fadt(dsdt: u64) -> impl Aml {
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        .flag(Flags::HwReducedAcpi);
    let boot = boot_arch::LEGACY_DEVICES | boot_arch::NO_VGA | boot_arch::NO_MSI;
    fadt.iapc_boot_arch = boot.into();
    fadt.century = c2w_devices::cmos::CENTURY;
    fadt.reset_reg = port(RESET_PORT);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = port(SLEEP_PORT);
    fadt.sleep_status_reg = port(SLEEP_PORT + 1);
    fadt.finalize()
}

/// Interrupt controllers (ACPI 6.4, 5.2.12): one local APIC, one IO-APIC, and the timer that is not at the pin with its
/// number.
fn madt() -> Sdt {
    const LENGTH: u32 = 36;
    const REVISION: u8 = 5;
    const DUAL_8259: u32 = 1;
    let mut madt = Sdt::new(*b"APIC", LENGTH, REVISION, OEM, OEM_TABLE, OEM_REVISION);
    let mut put = |bytes: &[u8]| madt.append_slice(bytes);
    put(&(lapic::DEFAULT_BASE.0 as u32).to_le_bytes());
    put(&DUAL_8259.to_le_bytes());
    // Processor 0, enabled.
    put(&[0, 8, 0, APIC_ID as u8, 1, 0, 0, 0]);
    // IO-APIC 0 from GSI 0 on.
    put(&[1, 12, 0, 0]);
    put(&(IOAPIC_BASE as u32).to_le_bytes());
    put(&0u32.to_le_bytes());
    // ISA interrupt 0, as ISA has it.
    put(&[2, 10, 0, 0]);
    put(&TIMER_GSI.to_le_bytes());
    put(&[0, 0]);
    // NMI at LINT1 of all processors.
    put(&[4, 6, 0xff, 0, 0, 1]);
    madt
}

/// The devices.
fn dsdt(virtio_slots: usize) -> Sdt {
    let mut body = Vec::new();
    isa_device("COM1", "PNP0501", UART_PORT, UART_PORTS as u8, UART_GSI, &mut body);
    isa_device("RTC_", "PNP0B00", CMOS_PORT, 2, CMOS_GSI, &mut body);
    (0..virtio_slots.min(VIRTIO_SLOTS)).for_each(|slot| virtio_device(slot, &mut body));
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, OEM_REVISION);
    dsdt.append_slice(&Scope::raw(Path::new("_SB_"), body));
    let off = Package::new(vec![&SLEEP_TYPE_OFF, &0u8, &0u8, &0u8]);
    dsdt.append_slice(&bytes(&Name::new(Path::new("_S5_"), &off)));
    dsdt
}

fn isa_device(name: &str, id: &str, first: u16, ports: u8, gsi: u32, to: &mut Vec<u8>) {
    let id = EISAName::new(id);
    let ports = IO::new(first, first, 1, ports);
    let interrupt = Interrupt::new(true, true, false, false, gsi);
    let resources = ResourceTemplate::new(vec![&ports, &interrupt]);
    let (id, resources) = (Name::new(Path::new("_HID"), &id), Name::new(Path::new("_CRS"), &resources));
    Device::new(Path::new(name), vec![&id, &resources]).to_aml_bytes(to);
}

/// A virtio transport, under the identifier by which Linux's `virtio_mmio` finds it.
fn virtio_device(slot: usize, to: &mut Vec<u8>) {
    let base = VIRTIO_BASE + slot as u64 * mmio::WINDOW_BYTES;
    let memory = Memory32Fixed::new(true, base as u32, mmio::WINDOW_BYTES as u32);
    let interrupt = Interrupt::new(true, false, false, false, VIRTIO_GSI + slot as u32);
    let resources = ResourceTemplate::new(vec![&memory, &interrupt]);
    let children: [Name; 4] = [
        Name::new(Path::new("_HID"), &"LNRO0005"),
        Name::new(Path::new("_UID"), &(slot as u8)),
        Name::new(Path::new("_CCA"), &1u8),
        Name::new(Path::new("_CRS"), &resources),
    ];
    let children = children.iter().map(|child| child as &dyn Aml).collect();
    Device::new(Path::new(&format!("VR{slot:02}")), children).to_aml_bytes(to);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Gpa = Gpa(0xe_0000);

    fn u32_at(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    fn offset_at(bytes: &[u8], at: usize) -> usize {
        (u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) - BASE.0) as usize
    }

    /// The table at an offset, whose sum must be 0.
    fn table<'a>(blob: &'a [u8], at: usize, signature: &[u8]) -> &'a [u8] {
        let table = &blob[at..at + u32_at(blob, at + 4)];
        assert_eq!(&table[..4], signature);
        assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        table
    }

    #[test]
    fn every_table_is_found_from_the_root() {
        let blob = tables(BASE, 8);
        assert_eq!(&blob[..8], b"RSD PTR ");
        assert_eq!(blob[..36].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        let xsdt = table(&blob, offset_at(&blob, 24), b"XSDT");
        assert_eq!(xsdt.len(), 36 + 2 * 8);
        let fadt = table(&blob, offset_at(xsdt, 36), b"FACP");
        let madt = table(&blob, offset_at(xsdt, 44), b"APIC");
        let dsdt = table(&blob, offset_at(fadt, 140), b"DSDT");
        assert_eq!(fadt.len(), 276);
        assert_eq!(u32_at(fadt, 112) & 1 << 20, 1 << 20, "hardware-reduced");
        assert_eq!(madt.len(), 44 + 8 + 12 + 10 + 6);
        let devices = |dsdt: &[u8]| dsdt.windows(8).filter(|name| name == b"LNRO0005").count();
        assert_eq!(devices(dsdt), 8);
        let fewer = tables(BASE, 3);
        assert_eq!(devices(&fewer), 3);
    }
}

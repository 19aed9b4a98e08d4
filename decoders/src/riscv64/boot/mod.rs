//! Booting: from files to a machine whose first instruction is the kernel's, the firmware's or the test program's.
//!
//! [`kernel`] says what a file is, without looking at the machine; [`layout`] finds a place for everything;
//! [`machine`] builds the board, writes the device tree and loads.

pub mod elf;
pub mod kernel;
mod layout;
pub mod linux;

use super::board::{RAM_BASE, VIRTIO_SLOTS, VirtBoard};
use super::fdt::{self, FdtConfig};
use super::guest::{HartState, Riscv64, resume};
use super::htif::{Htif, HtifState};
use super::{regs, sbi};
use crate::boot::MachineConfig;
use c2w_devices::virtio::VirtioDevice;
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::cpu::Cpu;
use c2w_engine::irq::IrqLines;
use c2w_engine::machine::{Backing, Machine};
use kernel::{Program, ProgramError};
use layout::Layout;

/// Least RAM of a machine.
pub const MIN_MEMORY_BYTES: u64 = 1 << 20;
/// Most RAM of a machine: what a wasm32 host can address, else what no host has.
pub const MAX_MEMORY_BYTES: u64 = if usize::BITS == 32 { 3 << 30 } else { 1 << 40 };

/// Room behind the device tree, because firmware adds to it where it is.
const FDT_ROOM_BYTES: u64 = 0x1_0000;

/// What runs in M-mode.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Firmware {
    /// The built-in SBI; the kernel starts in S-mode.
    #[default]
    BuiltIn,
    /// Nothing: the kernel itself starts in M-mode.
    None,
    /// A firmware file, like OpenSBI's: flat or ELF, started in M-mode with a description of the kernel.
    File(Vec<u8>),
}

/// The files a machine boots from. They are not consumed, so that a reboot can use them again.
#[derive(Clone, Debug, Default)]
pub struct BootFiles {
    /// Firmware.
    pub firmware: Firmware,
    /// Kernel or test program: a Linux `Image` or an ELF file. Only firmware can do without.
    pub kernel: Option<Vec<u8>>,
    /// Initial RAM disk.
    pub initrd: Option<Vec<u8>>,
    /// Kernel command line.
    pub cmdline: String,
}

/// Why a machine cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// A size of RAM that cannot be.
    #[error("memory must be {} to {} MiB in steps of 4096 bytes", MIN_MEMORY_BYTES >> 20, MAX_MEMORY_BYTES >> 20)]
    MemorySize,
    /// The host cannot provide the RAM.
    #[error("this host cannot provide {} MiB of memory", .0 >> 20)]
    HostMemory(u64),
    /// More devices than slots.
    #[error("{0} virtio devices, but the board has only {VIRTIO_SLOTS} slots")]
    TooManyDevices(usize),
    /// No kernel.
    #[error("there is no kernel to boot")]
    NoKernel,
    /// The kernel cannot be run.
    #[error("cannot boot the kernel: {0}")]
    Kernel(ProgramError),
    /// The firmware cannot be run.
    #[error("cannot start the firmware: {0}")]
    Firmware(ProgramError),
    /// A Linux `Image` in M-mode.
    #[error("a Linux Image needs an SBI: boot it with firmware or with the built-in SBI")]
    LinuxWithoutSbi,
    /// Something does not fit.
    #[error("{what} does not fit in {} MiB of memory", memory_bytes >> 20)]
    DoesNotFit {
        /// What.
        what: &'static str,
        /// Length of RAM.
        memory_bytes: u64,
    },
    /// An ELF segment outside RAM.
    #[error("{what} wants to be at {start:#x}..{end:#x}, but memory is at {:#x}..{:#x}", RAM_BASE.0, RAM_BASE.0 + memory_bytes)]
    OutsideMemory {
        /// Whose segment.
        what: &'static str,
        /// First byte.
        start: u64,
        /// First byte after it.
        end: u64,
        /// Length of RAM.
        memory_bytes: u64,
    },
    /// The command line cannot be in a device tree.
    #[error("the kernel command line contains a zero byte")]
    CommandLine,
    /// The device tree cannot be written.
    #[error("cannot write the device tree: {0}")]
    Fdt(String),
}

/// Builds a machine that is about to execute the first instruction of what boots.
pub fn machine(files: &BootFiles, config: MachineConfig) -> Result<Machine<Riscv64>, BootError> {
    let MachineConfig { memory_bytes, backing, parts, clock, attention, rng_seed } = config;
    let plan = Plan::new(files)?;
    check_machine(memory_bytes, &parts.virtio)?;
    let mut layout = Layout::new(memory_bytes);
    let entry = plan.place(&mut layout)?;
    let initrd = match &files.initrd {
        Some(bytes) => Some(layout.take_top("the initial RAM disk", bytes.len() as u64)?),
        None => None,
    };

    let lines = IrqLines::new(&attention);
    let mut board = VirtBoard::new(parts, &lines, &attention);
    board.htif = plan.htif();
    let config = FdtConfig {
        memory_bytes,
        bootargs: &files.cmdline,
        initrd: initrd.map(|start| start.0..start.0 + files.initrd.as_ref().map_or(0, Vec::len) as u64),
        rng_seed: &rng_seed,
    };
    if files.cmdline.contains('\0') {
        return Err(BootError::CommandLine);
    }
    let tree = fdt::write(&board, &config).map_err(|error| BootError::Fdt(error.to_string()))?;
    let fdt = layout.take_top("the device tree", tree.len() as u64 + FDT_ROOM_BYTES)?;
    let info = layout.take_top("the firmware's description of the kernel", PAGE_BYTES)?;

    let (mut ram, vcpu) =
        Backing::take(backing, RAM_BASE, memory_bytes).ok_or(BootError::HostMemory(memory_bytes))?;
    let mut load = |at: Gpa, bytes: &[u8]| ram.write(at, bytes).expect("the layout lies in RAM");
    plan.load(&mut load);
    if let (Some(at), Some(bytes)) = (initrd, &files.initrd) {
        load(at, bytes);
    }
    load(fdt, &tree);
    load(info, &dynamic_info(entry.kernel));
    // Loading is not the guest's writing: what is dirty counts from here.
    ram.clear_dirty();

    let state = match files.firmware {
        Firmware::BuiltIn => sbi::hart_state(0),
        Firmware::None | Firmware::File(_) => HartState::reset(0),
    };
    let guest = Riscv64::try_from(state).expect("the state at reset is possible");
    let mut cpu = Cpu::with_backing(vcpu, guest, ram, board, lines, attention, clock);
    cpu.pc = Gva(entry.first.0);
    // What firmware and kernels expect in a0 to a2: hart, device tree and, from OpenSBI's fw_dynamic, its info.
    for (register, value) in [(10, 0), (11, fdt.0), (12, info.0)] {
        cpu.slots[regs::x(register).0 as usize] = value;
    }
    resume(&mut cpu);
    Ok(Machine::new(cpu))
}

fn check_machine(memory_bytes: u64, virtio: &[Box<dyn VirtioDevice>]) -> Result<(), BootError> {
    let possible = (MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&memory_bytes);
    if !possible || !memory_bytes.is_multiple_of(PAGE_BYTES) {
        return Err(BootError::MemorySize);
    }
    if virtio.len() > VIRTIO_SLOTS {
        return Err(BootError::TooManyDevices(virtio.len()));
    }
    Ok(())
}

/// The recognized files.
struct Plan<'a> {
    firmware: Option<(Program, &'a [u8])>,
    kernel: Option<(Program, &'a [u8])>,
}

/// Makes programs fit that are not quite in RAM: OpenSBI is linked at 0 and runs anywhere, and linkers that are told
/// only an address for the code put the ELF header, which nobody needs, just below RAM.
fn into_memory(program: Program) -> Program {
    match program {
        Program::Elf(elf) if elf.movable && elf.extent().start < RAM_BASE.0 => {
            let moved = elf.moved(RAM_BASE.0 - Gpa(elf.extent().start).page_start().0);
            Program::Elf(moved.unwrap_or(elf))
        }
        Program::Elf(elf) => Program::Elf(elf.without_header_below(RAM_BASE.0)),
        other => other,
    }
}

/// Where execution starts.
struct Entry {
    /// The first instruction of all.
    first: Gpa,
    /// The kernel's, for the firmware; 0 without a kernel.
    kernel: Gpa,
}

impl<'a> Plan<'a> {
    fn new(files: &'a BootFiles) -> Result<Self, BootError> {
        let kernel = match &files.kernel {
            Some(bytes) => {
                let program = kernel::recognize(bytes).map_err(BootError::Kernel)?;
                Some((into_memory(program), bytes.as_slice()))
            }
            None => None,
        };
        let firmware = match &files.firmware {
            Firmware::File(bytes) => {
                let program = kernel::recognize_firmware(bytes).map_err(BootError::Firmware)?;
                Some((into_memory(program), bytes.as_slice()))
            }
            Firmware::BuiltIn | Firmware::None => None,
        };
        match (&kernel, &files.firmware) {
            (None, Firmware::BuiltIn | Firmware::None) => Err(BootError::NoKernel),
            (Some((Program::Linux(_), _)), Firmware::None) => Err(BootError::LinuxWithoutSbi),
            _ => Ok(Self { firmware, kernel }),
        }
    }

    fn place(&self, layout: &mut Layout) -> Result<Entry, BootError> {
        let firmware = match &self.firmware {
            Some((program, bytes)) => Some(layout.place("the firmware", program, bytes)?),
            None => None,
        };
        let kernel = match &self.kernel {
            Some((program, bytes)) => Some(layout.place("the kernel", program, bytes)?),
            None => None,
        };
        let first = firmware.or(kernel).ok_or(BootError::NoKernel)?;
        Ok(Entry { first, kernel: kernel.unwrap_or(Gpa(0)) })
    }

    fn load(&self, write: &mut impl FnMut(Gpa, &[u8])) {
        for (program, bytes) in self.firmware.iter().chain(&self.kernel) {
            match program {
                Program::Linux(header) => write(RAM_BASE.offset(header.text_offset_bytes), bytes),
                Program::Flat => write(RAM_BASE, bytes),
                Program::Elf(elf) => {
                    // RAM is zero, so only the bytes of the file are written.
                    for segment in &elf.segments {
                        write(Gpa(segment.memory.start), &bytes[segment.file.clone()]);
                    }
                }
            }
        }
    }

    /// The interface of a test program that has a `tohost` word.
    fn htif(&self) -> Option<Htif> {
        let (Program::Elf(elf), _) = self.kernel.as_ref()? else { return None };
        let tohost = Gpa(elf.tohost?);
        Some(Htif::restore(&HtifState { tohost, fromhost: elf.fromhost.map(Gpa) }))
    }
}

/// What OpenSBI's `fw_dynamic` is told (struct fw_dynamic_info, version 2): start `kernel` in S-mode on this hart.
fn dynamic_info(kernel: Gpa) -> [u8; 48] {
    const MAGIC: u64 = 0x4942_534f;
    const VERSION: u64 = 2;
    const SUPERVISOR: u64 = 1;
    let mut info = [0; 48];
    let words = [MAGIC, VERSION, kernel.0, SUPERVISOR, 0, 0];
    info.chunks_exact_mut(8).zip(words).for_each(|(at, word)| at.copy_from_slice(&word.to_le_bytes()));
    info
}

/// The little-endian number at `at`, if it is inside.
fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests;

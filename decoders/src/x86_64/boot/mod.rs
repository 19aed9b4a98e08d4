//! Booting: from files to a machine whose first instruction is the kernel's or the test program's.
//!
//! [`kernel`] says what a file is, without looking at the machine; [`layout`] finds a place for everything;
//! [`machine`] builds the board, tells the kernel what there is in the way its protocol says ([`pvh`], [`linux`],
//! [`multiboot`]), and loads. Nothing starts in real mode.

pub mod bzimage;
pub mod elf;
pub mod kernel;
mod layout;
mod linux;
pub mod multiboot;
mod pvh;
#[cfg(test)]
mod tests;
mod vcpu;

use super::board::map::{DEVICES, RAM_BASE};
use super::board::{PcBoard, VIRTIO_SLOTS, acpi};
use super::guest::X86_64;
use super::regs;
use crate::boot::MachineConfig;
use bzimage::{ENTRY_64_OFFSET, SetupHeader};
use c2w_devices::virtio::VirtioDevice;
use c2w_engine::addr::{Gpa, PAGE_BYTES};
use c2w_engine::cpu::Cpu;
use c2w_engine::irq::IrqLines;
use c2w_engine::machine::{Backing, Machine};
use kernel::{Program, ProgramError, Protocol};
use layout::{ACPI_BASE, HIGH_START, Layout};
use linux::ZeroPage;
use multiboot::Information;
use std::ops::Range;
use vcpu::Start;

/// Least RAM of a machine.
pub const MIN_MEMORY_BYTES: u64 = 2 << 20;
/// Most RAM of a machine: what a wasm32 host can address, else what no host has.
pub const MAX_MEMORY_BYTES: u64 = if usize::BITS == 32 { 3 << 30 } else { 1 << 38 };

/// The files a machine boots from. They are not consumed, so that a reboot can use them again.
#[derive(Clone, Debug, Default)]
pub struct BootFiles {
    /// Kernel or test program: a bzImage, an ELF file or a Multiboot kernel.
    pub kernel: Vec<u8>,
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
    /// The kernel cannot be run.
    #[error("cannot boot the kernel: {0}")]
    Kernel(#[from] ProgramError),
    /// Something does not fit.
    #[error("{what} does not fit in {} MiB of memory", memory_bytes >> 20)]
    DoesNotFit {
        /// What.
        what: &'static str,
        /// Length of RAM.
        memory_bytes: u64,
    },
    /// A part of a program outside RAM.
    #[error("{what} wants to be at {start:#x}..{end:#x}, but memory is at 0x0..{memory_bytes:#x}")]
    OutsideMemory {
        /// What.
        what: &'static str,
        /// First byte.
        start: u64,
        /// First byte after it.
        end: u64,
        /// Length of RAM.
        memory_bytes: u64,
    },
    /// A part of a program where something else is.
    #[error("{what} wants to be at {start:#x}..{end:#x}, but {taken_start:#x}..{taken_end:#x} is in use")]
    Overlaps {
        /// What.
        what: &'static str,
        /// First byte.
        start: u64,
        /// First byte after it.
        end: u64,
        /// First byte of what is there.
        taken_start: u64,
        /// First byte after that.
        taken_end: u64,
    },
    /// A zero byte would end it early.
    #[error("the kernel command line contains a zero byte")]
    CommandLine,
    /// More than the kernel takes.
    #[error("the kernel command line has {found_bytes} bytes, the kernel takes {most_bytes}")]
    LongCommandLine {
        /// Its length.
        found_bytes: u64,
        /// The kernel's limit.
        most_bytes: u64,
    },
}

/// What will be where in RAM.
struct Contents<'a> {
    layout: Layout,
    pieces: Vec<(u64, std::borrow::Cow<'a, [u8]>)>,
}

impl<'a> Contents<'a> {
    fn put(&mut self, at: u64, bytes: impl Into<std::borrow::Cow<'a, [u8]>>) {
        self.pieces.push((at, bytes.into()));
    }

    /// Places something small low in memory.
    fn put_low(&mut self, what: &'static str, align_bytes: u64, bytes: Vec<u8>) -> Result<u64, BootError> {
        let at = self.layout.take_bottom(what, bytes.len() as u64, align_bytes, 0)?;
        self.put(at, bytes);
        Ok(at)
    }
}

/// Builds a machine that is about to execute the first instruction of what boots.
pub fn machine(files: &BootFiles, config: MachineConfig) -> Result<Machine<X86_64>, BootError> {
    let MachineConfig { memory_bytes, backing, parts, clock, attention, rng_seed } = config;
    let (rng_seed, rdrand_seed) = rng_seed.split_at(rng_seed.len().div_ceil(2));
    let program = kernel::recognize(&files.kernel)?;
    check_machine(memory_bytes, &parts.virtio)?;
    if files.cmdline.contains('\0') {
        return Err(BootError::CommandLine);
    }
    let mut contents = Contents { layout: Layout::new(memory_bytes), pieces: Vec::new() };
    let tables = acpi::tables(Gpa(ACPI_BASE), parts.virtio.len());
    let rsdp = tables[..acpi::ROOT_BYTES].to_vec();
    contents.put(ACPI_BASE, tables);
    let start = match &program {
        Program::BzImage(header) => load_bzimage(&mut contents, header, files, rng_seed)?,
        Program::Fixed { protocol, entry, segments } => {
            for segment in segments {
                contents.layout.take("the kernel", segment.memory.clone())?;
                contents.put(segment.memory.start, &files.kernel[segment.file.clone()]);
            }
            match protocol {
                Protocol::Linux64 => start_linux(&mut contents, None, *entry, files, rng_seed)?,
                Protocol::Pvh => start_pvh(&mut contents, *entry, files)?,
                Protocol::Multiboot(version) => {
                    start_multiboot(&mut contents, *version, *entry, files, &rsdp)?
                }
            }
        }
    };

    let (mut ram, vcpu) =
        Backing::take(backing, RAM_BASE, memory_bytes).ok_or(BootError::HostMemory(memory_bytes))?;
    ram = ram.with_hole(DEVICES);
    for (at, bytes) in &contents.pieces {
        ram.write(Gpa(*at), bytes).expect("the layout lies in RAM");
    }
    // Loading is not the guest's writing: what is dirty counts from here.
    ram.clear_dirty();
    let lines = IrqLines::new(&attention);
    let board = PcBoard::new(parts, &lines);
    let mut cpu = Cpu::with_backing(vcpu, start.guest(), ram, board, lines, attention, clock);
    start.apply(&mut cpu);
    cpu.guest.random.reseed(seed_words(rdrand_seed));
    Ok(Machine::new(cpu))
}

/// Entropy of any length as the seed of a generator.
pub(super) fn seed_words(bytes: &[u8]) -> [u64; 4] {
    let mut words = [0u64; 4];
    for (i, byte) in bytes.iter().enumerate() {
        words[i / 8 % 4] ^= u64::from(*byte) << (i % 8 * 8);
    }
    words
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

/// Places the initial RAM disk, if there is one, as high as it may be.
fn load_initrd<'a>(
    contents: &mut Contents<'a>,
    files: &'a BootFiles,
    limit: u64,
) -> Result<Option<Range<u64>>, BootError> {
    let Some(bytes) = files.initrd.as_deref().filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    let len_bytes = bytes.len() as u64;
    let at = contents.layout.take_top("the initial RAM disk", len_bytes, limit)?;
    contents.put(at, bytes);
    Ok(Some(at..at + len_bytes))
}

fn load_cmdline(contents: &mut Contents<'_>, files: &BootFiles) -> Result<u64, BootError> {
    let text = [files.cmdline.as_bytes(), b"\0"].concat();
    contents.put_low("the kernel command line", 16, text)
}

/// Loads the protected-mode part where it wants to be or, if it can, where there is room for it.
fn load_bzimage<'a>(
    contents: &mut Contents<'a>,
    header: &SetupHeader,
    files: &'a BootFiles,
    rng_seed: &[u8],
) -> Result<Start, BootError> {
    let preferred = header.preferred_address;
    let wanted = preferred..preferred + header.init_bytes;
    let at = match contents.layout.take("the kernel", wanted) {
        Ok(()) => preferred,
        Err(_) if header.relocatable => contents.layout.take_bottom(
            "the kernel",
            header.init_bytes,
            header.alignment_bytes,
            HIGH_START,
        )?,
        Err(error) => return Err(error),
    };
    contents.put(at, &files.kernel[header.payload_at..]);
    start_linux(contents, Some(header), at + ENTRY_64_OFFSET, files, rng_seed)
}

/// Linux's 64-bit entry: the address of the zero page is in RSI.
fn start_linux<'a>(
    contents: &mut Contents<'a>,
    header: Option<&SetupHeader>,
    entry: u64,
    files: &'a BootFiles,
    rng_seed: &[u8],
) -> Result<Start, BootError> {
    let found_bytes = files.cmdline.len() as u64;
    if let Some(most_bytes) = header.map(|header| header.cmdline_bytes).filter(|most| found_bytes > *most) {
        return Err(BootError::LongCommandLine { found_bytes, most_bytes });
    }
    let initrd_end = header.map_or(1 << 31, |header| header.initrd_end);
    let initrd = load_initrd(contents, files, initrd_end)?;
    let cmdline = load_cmdline(contents, files)?;
    let setup_data = match rng_seed {
        [] => 0,
        seed => contents.put_low("the random seed", 16, linux::seed_data(seed))?,
    };
    let memory = contents.layout.memory_map();
    let page = ZeroPage { cmdline, initrd, rsdp: ACPI_BASE, memory: &memory, setup_data };
    let zero_page = contents.put_low("the zero page", PAGE_BYTES, page.write(header))?;
    let tables = contents.layout.take_bottom("the first page tables", linux::TABLE_BYTES, PAGE_BYTES, 0)?;
    contents.put(tables, linux::identity_tables(tables));
    let descriptors = contents.put_low("the descriptor table", 16, vcpu::descriptor_table(true))?;
    Ok(Start { entry, descriptors, page_tables: Some(tables), registers: vec![(regs::RSI, zero_page)] })
}

/// PVH: the address of the start information is in EBX.
fn start_pvh<'a>(contents: &mut Contents<'a>, entry: u64, files: &'a BootFiles) -> Result<Start, BootError> {
    const INFO_BYTES: u64 = 1024;
    let initrd = load_initrd(contents, files, u64::MAX)?;
    let cmdline = load_cmdline(contents, files)?;
    let memory = contents.layout.memory_map();
    let info = contents.layout.take_bottom("the start information", INFO_BYTES, 16, 0)?;
    contents.put(info, pvh::start_info(info, cmdline, initrd, ACPI_BASE, &memory));
    let descriptors = contents.put_low("the descriptor table", 16, vcpu::descriptor_table(false))?;
    Ok(Start { entry, descriptors, page_tables: None, registers: vec![(regs::RBX, info)] })
}

/// Multiboot: EAX says that it is, EBX where the information is.
fn start_multiboot<'a>(
    contents: &mut Contents<'a>,
    version: multiboot::Version,
    entry: u64,
    files: &'a BootFiles,
    rsdp: &[u8],
) -> Result<Start, BootError> {
    let module = load_initrd(contents, files, u64::MAX)?;
    let memory = contents.layout.memory_map();
    let information = Information { cmdline: &files.cmdline, module, memory: &memory, rsdp };
    // Its length does not depend on where it is.
    let len_bytes = information.write(version, 0).len() as u64;
    let at = contents.layout.take_bottom("the Multiboot information", len_bytes, 16, 0)?;
    contents.put(at, information.write(version, at));
    let descriptors = contents.put_low("the descriptor table", 16, vcpu::descriptor_table(false))?;
    let registers = vec![(regs::RAX, version.boot_magic()), (regs::RBX, at)];
    Ok(Start { entry, descriptors, page_tables: None, registers })
}

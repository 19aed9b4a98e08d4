//! QEMU's user mode emulation as the other opinion: a static ELF program written from bytes, run, and what it
//! printed.

use c2w_packer::cache::Cache;
use c2w_packer::toolchain::qemu_riscv64;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A program for Linux on riscv64: one segment that may be read, written and executed.
#[derive(Clone, Debug)]
pub struct Program {
    /// Address of the first byte of `image`; a multiple of the page size.
    pub base: u64,
    /// Code and data.
    pub image: Vec<u8>,
    /// Offset of the first instruction.
    pub entry: u64,
}

const EHDR_BYTES: u64 = 64;
const PHDR_BYTES: u16 = 56;
/// Where the segment starts in the file: a page further on, so that it is aligned as it is in memory.
const SEGMENT_OFFSET: u64 = 0x1000;

/// The ELF file of a program (ELF-64 object file format, "ELF header" and "Program header").
pub fn elf(program: &Program) -> Vec<u8> {
    let mut file = Vec::with_capacity(SEGMENT_OFFSET as usize + program.image.len());
    // 64-bit, little-endian, version 1, System V.
    file.extend_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend_from_slice(&2u16.to_le_bytes()); // executable
    file.extend_from_slice(&243u16.to_le_bytes()); // RISC-V
    file.extend_from_slice(&1u32.to_le_bytes());
    file.extend_from_slice(&(program.base + program.entry).to_le_bytes());
    file.extend_from_slice(&EHDR_BYTES.to_le_bytes()); // program headers
    file.extend_from_slice(&0u64.to_le_bytes()); // no section headers
    file.extend_from_slice(&5u32.to_le_bytes()); // compressed code, double-float ABI
    for half in [EHDR_BYTES as u16, PHDR_BYTES, 1, 64, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(&1u32.to_le_bytes()); // load
    file.extend_from_slice(&7u32.to_le_bytes()); // read, write, execute
    let len = program.image.len() as u64;
    for word in [SEGMENT_OFFSET, program.base, program.base, len, len, SEGMENT_OFFSET] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.resize(SEGMENT_OFFSET as usize, 0);
    file.extend_from_slice(&program.image);
    file
}

/// Runs a program and returns what it wrote to standard output. QEMU is fetched first where it is missing.
///
/// # Errors
/// QEMU cannot be had, or the program did not exit with status 0.
pub fn run(program: &Program, scratch: &Path) -> anyhow::Result<Vec<u8>> {
    let qemu = qemu_riscv64(&Cache::of_user()?, &|line| eprintln!("{line}"))?;
    let (executable, output) = (scratch.join("program"), scratch.join("output"));
    fs::write(&executable, elf(program))?;
    make_executable(&executable)?;
    // A file takes a write of any size at once, which a pipe does not.
    let status = Command::new(qemu)
        .args(["-cpu", "max"])
        .arg(&executable)
        .stdout(fs::File::create(&output)?)
        .status()?;
    anyhow::ensure!(status.success(), "QEMU's run ended with {status}");
    Ok(fs::read(&output)?)
}

fn make_executable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

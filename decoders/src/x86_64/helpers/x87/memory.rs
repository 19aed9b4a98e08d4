//! Memory of more than eight bytes, for helpers: all of it is checked before any of it is written.

use crate::x86_64::guest::X86_64;
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::tlb::Access;

/// Widths that bytes are written in, largest first.
const PIECES: [Width; 4] = [Width::W64, Width::W32, Width::W16, Width::W8];

/// Traps unless `len_bytes` from `gva` can be written.
pub fn check_write(cpu: &mut Cpu<X86_64>, gva: Gva, len_bytes: u64) -> Result<(), Trap> {
    cpu.translate(gva, Access::Write, cpu.data_context())?;
    cpu.check_crossing_write(gva, len_bytes)
}

/// Writes bytes that [`check_write`] found writable.
pub fn write_checked(cpu: &mut Cpu<X86_64>, gva: Gva, bytes: &[u8]) -> Result<(), Trap> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let piece = PIECES.into_iter().find(|w| w.bytes() as usize <= rest.len()).unwrap_or(Width::W8);
        let len_bytes = piece.bytes() as usize;
        let mut value = [0; 8];
        value[..len_bytes].copy_from_slice(&rest[..len_bytes]);
        cpu.store(gva.offset(done as u64), piece, u64::from_le_bytes(value))?;
        done += len_bytes;
    }
    Ok(())
}

/// Writes bytes, all or none.
pub fn write(cpu: &mut Cpu<X86_64>, gva: Gva, bytes: &[u8]) -> Result<(), Trap> {
    check_write(cpu, gva, bytes.len() as u64)?;
    write_checked(cpu, gva, bytes)
}

/// The 16 bits at an offset of an image.
pub fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    let mut value = [0; 2];
    value.copy_from_slice(&bytes[offset..offset + 2]);
    u16::from_le_bytes(value)
}

/// The 32 bits at an offset of an image.
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(value)
}

/// The 64 bits at an offset of an image.
pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(value)
}

/// Writes a number's bytes at an offset of an image.
pub fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&value);
}

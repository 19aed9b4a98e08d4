//! Where everything goes in RAM: programs where they want to be, from the bottom; the rest from the top down.

use super::BootError;
use super::kernel::Program;
use crate::riscv64::board::RAM_BASE;
use c2w_engine::addr::{Gpa, PAGE_BYTES};

/// The RAM of a machine while it is being filled.
pub struct Layout {
    memory_bytes: u64,
    /// First free byte above the programs, as an offset in RAM.
    bottom: u64,
    /// First byte of what was placed at the top, as an offset in RAM.
    top: u64,
}

impl Layout {
    /// Empty RAM.
    pub fn new(memory_bytes: u64) -> Self {
        Self { memory_bytes, bottom: 0, top: memory_bytes }
    }

    /// Places a program; gives the address of its first instruction. A kernel comes after firmware, whose memory
    /// it must not use.
    pub fn place(&mut self, what: &'static str, program: &Program, bytes: &[u8]) -> Result<Gpa, BootError> {
        let (start, end, entry) = match program {
            Program::Flat => (0, bytes.len() as u64, RAM_BASE),
            Program::Linux(header) => {
                let start = header.text_offset_bytes;
                let end = start.checked_add(header.image_bytes).ok_or(self.does_not_fit(what))?;
                (start, end, RAM_BASE.offset(start))
            }
            Program::Elf(elf) => {
                for segment in &elf.segments {
                    self.check_inside(what, segment.memory.start, segment.memory.end)?;
                }
                let extent = elf.extent();
                (extent.start - RAM_BASE.0, extent.end - RAM_BASE.0, Gpa(elf.entry))
            }
        };
        if start < self.bottom || end > self.top {
            return Err(self.does_not_fit(what));
        }
        self.bottom = end;
        Ok(entry)
    }

    /// Places `len_bytes` below what is at the top already, at the start of a page.
    pub fn take_top(&mut self, what: &'static str, len_bytes: u64) -> Result<Gpa, BootError> {
        let start = self.top.checked_sub(len_bytes).map(|start| start & !(PAGE_BYTES - 1));
        let start = start.filter(|&start| start >= self.bottom).ok_or(self.does_not_fit(what))?;
        self.top = start;
        Ok(RAM_BASE.offset(start))
    }

    fn check_inside(&self, what: &'static str, start: u64, end: u64) -> Result<(), BootError> {
        let memory_bytes = self.memory_bytes;
        if start < RAM_BASE.0 || end > RAM_BASE.0 + memory_bytes {
            return Err(BootError::OutsideMemory { what, start, end, memory_bytes });
        }
        Ok(())
    }

    fn does_not_fit(&self, what: &'static str) -> BootError {
        BootError::DoesNotFit { what, memory_bytes: self.memory_bytes }
    }
}

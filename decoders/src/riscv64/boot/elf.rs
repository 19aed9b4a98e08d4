//! ELF programs for riscv64: the segments to load, the entry point and the symbols that matter.

use crate::formats;
use object::LittleEndian;
use object::elf::{EM_RISCV, ET_DYN, ET_EXEC, FileHeader64, PT_LOAD, SHT_SYMTAB};
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use std::ops::Range;

/// Why an ELF file cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not a 64-bit little-endian ELF file, or cut off.
    #[error("damaged or unsupported ELF file: {0}")]
    Damaged(String),
    /// For another processor.
    #[error("it is for {0}, this machine is riscv64")]
    OtherMachine(&'static str),
    /// An object file or a core dump.
    #[error("it is not an executable ELF file")]
    NotExecutable,
    /// It loads nothing.
    #[error("it has nothing to load")]
    Empty,
    /// A segment wraps around the address space.
    #[error("its segment at {0:#x} wraps around the address space")]
    Wraps(u64),
}

/// Bytes to copy to memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Physical addresses, what is only zeroed included.
    pub memory: Range<u64>,
    /// Where the bytes are in the file.
    pub file: Range<usize>,
}

/// What an ELF file says about loading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// Physical address of the first instruction.
    pub entry: u64,
    /// What to load.
    pub segments: Vec<Segment>,
    /// It runs at any address (ET_DYN).
    pub movable: bool,
    /// Address of the symbol `tohost`.
    pub tohost: Option<u64>,
    /// Address of the symbol `fromhost`.
    pub fromhost: Option<u64>,
}

fn damaged(error: impl ToString) -> ElfError {
    ElfError::Damaged(error.to_string())
}

impl Elf {
    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        let machine = formats::elf_machine(bytes).ok_or_else(|| damaged("it ends in its header"))?;
        if machine != (EM_RISCV, true) {
            return Err(ElfError::OtherMachine(formats::machine_name(machine)));
        }
        let endian = LittleEndian;
        let header = FileHeader64::<LittleEndian>::parse(bytes).map_err(damaged)?;
        header.endian().map_err(damaged)?;
        if ![ET_EXEC, ET_DYN].contains(&header.e_type(endian)) {
            return Err(ElfError::NotExecutable);
        }
        let mut entry = header.e_entry(endian);
        let mut entry_is_virtual = true;
        let mut segments = Vec::new();
        for program in header.program_headers(endian, bytes).map_err(damaged)? {
            let (start, len_bytes) = (program.p_paddr(endian), program.p_memsz(endian));
            if program.p_type(endian) != PT_LOAD || len_bytes == 0 {
                continue;
            }
            let data = program.data(endian, bytes).map_err(|()| damaged("a segment is cut off"))?;
            if data.len() as u64 > len_bytes {
                return Err(damaged("a segment is longer in the file than in memory"));
            }
            let end = start.checked_add(len_bytes).ok_or(ElfError::Wraps(start))?;
            let virtual_offset = header.e_entry(endian).wrapping_sub(program.p_vaddr(endian));
            if entry_is_virtual && virtual_offset < len_bytes {
                entry = start + virtual_offset;
                entry_is_virtual = false;
            }
            // The header's own numbers were checked by `data`.
            let file = program.p_offset(endian) as usize;
            segments.push(Segment { memory: start..end, file: file..file + data.len() });
        }
        if segments.is_empty() {
            return Err(ElfError::Empty);
        }
        let (tohost, fromhost) = find_host_words(header, bytes)?;
        let movable = header.e_type(endian) == ET_DYN;
        Ok(Self { entry, segments, movable, tohost, fromhost })
    }

    /// The program `bytes` further up; `None` past the end of the address space.
    pub fn moved(&self, bytes: u64) -> Option<Self> {
        let move_segment = |segment: &Segment| {
            let Range { start, end } = segment.memory;
            let memory = start.checked_add(bytes)?..end.checked_add(bytes)?;
            Some(Segment { memory, file: segment.file.clone() })
        };
        Some(Self {
            entry: self.entry.wrapping_add(bytes),
            segments: self.segments.iter().map(move_segment).collect::<Option<_>>()?,
            movable: self.movable,
            tohost: self.tohost.map(|at| at.wrapping_add(bytes)),
            fromhost: self.fromhost.map(|at| at.wrapping_add(bytes)),
        })
    }

    /// The program without what its segments hold below `start`, as far as that is the file's own header.
    pub fn without_header_below(mut self, start: u64) -> Self {
        for segment in self.segments.iter_mut().filter(|segment| segment.file.start == 0) {
            let below = start.saturating_sub(segment.memory.start);
            if below > 0 && below < segment.file.len() as u64 {
                segment.memory.start = start;
                segment.file.start += below as usize;
            }
        }
        self
    }

    /// The physical addresses from the first to the last byte that is loaded.
    pub fn extent(&self) -> Range<u64> {
        let start = self.segments.iter().map(|segment| segment.memory.start).min().unwrap_or(0);
        let end = self.segments.iter().map(|segment| segment.memory.end).max().unwrap_or(0);
        start..end
    }
}

fn find_host_words(
    header: &FileHeader64<LittleEndian>,
    bytes: &[u8],
) -> Result<(Option<u64>, Option<u64>), ElfError> {
    let endian = LittleEndian;
    let sections = header.sections(endian, bytes).map_err(damaged)?;
    let symbols = sections.symbols(endian, bytes, SHT_SYMTAB).map_err(damaged)?;
    let address_of = |name: &[u8]| {
        let mut named = symbols.iter().filter(|symbol| symbol.name(endian, symbols.strings()) == Ok(name));
        named.next().map(|symbol| symbol.st_value(endian))
    };
    Ok((address_of(b"tohost"), address_of(b"fromhost")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with one segment of 16 bytes in 32 at `paddr`, mapped at `vaddr`.
    fn sample(machine: u16, kind: u16, entry: u64, vaddr: u64, paddr: u64) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for half in [kind, machine] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1u32.to_le_bytes());
        for word in [entry, 64, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0u32.to_le_bytes());
        for half in [64u16, 56, 1, 0, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        file.extend(1u32.to_le_bytes());
        file.extend(5u32.to_le_bytes());
        for word in [120u64, vaddr, paddr, 16, 32, 8] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0x13; 16]);
        file
    }

    #[test]
    fn a_program_is_read() {
        let file = sample(EM_RISCV, ET_EXEC, 0xffff_8004, 0xffff_8000, 0x8000_0000);
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(elf.entry, 0x8000_0004);
        assert_eq!(elf.segments, [Segment { memory: 0x8000_0000..0x8000_0020, file: 120..136 }]);
        assert_eq!((elf.extent(), elf.tohost), (0x8000_0000..0x8000_0020, None));
        let moved = elf.moved(0x1000).unwrap();
        assert_eq!((moved.entry, moved.extent()), (0x8000_1004, 0x8000_1000..0x8000_1020));
        assert_eq!(elf.moved(u64::MAX), None);
        assert_eq!(elf.clone().without_header_below(0x8000_0008), elf, "the segment is not the header");
        let header = Segment { memory: 0x7fff_ff80..0x8000_0020, file: 0..136 };
        let clipped = Elf { segments: vec![header], ..elf }.without_header_below(0x8000_0000);
        assert_eq!(clipped.segments, [Segment { memory: 0x8000_0000..0x8000_0020, file: 128..136 }]);
    }

    #[test]
    fn wrong_files_are_named() {
        for (file, error) in [
            (sample(62, 2, 0, 0, 0), ElfError::OtherMachine("x86_64")),
            (sample(183, 2, 0, 0, 0), ElfError::OtherMachine("aarch64")),
            (sample(EM_RISCV, 1, 0, 0, 0), ElfError::NotExecutable),
            (sample(EM_RISCV, 2, 0, 0, u64::MAX - 3), ElfError::Wraps(u64::MAX - 3)),
        ] {
            assert_eq!(Elf::parse(&file), Err(error));
        }
        let whole = sample(EM_RISCV, 2, 0, 0, 0x8000_0000);
        for len in 0..whole.len() {
            assert!(Elf::parse(&whole[..len]).is_err(), "{len} bytes");
        }
        // Any byte may be wrong: an error or another program, never a panic.
        for at in 0..120 {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut file = whole.clone();
                file[at] = value;
                if let Ok(elf) = Elf::parse(&file) {
                    assert!(elf.segments.iter().all(|s| s.file.end <= file.len() && !s.memory.is_empty()));
                }
            }
        }
    }
}

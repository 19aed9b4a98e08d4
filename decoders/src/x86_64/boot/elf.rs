//! ELF programs for x86, 32-bit and 64-bit: the segments to load, the entry point, and the note of the PVH entry.

use crate::formats;
use object::LittleEndian;
use object::elf::{EM_386, EM_X86_64, ET_DYN, ET_EXEC, FileHeader32, FileHeader64, PT_INTERP, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use std::ops::Range;

/// Note with the physical address of a 32-bit entry point, by the name "Xen" (Xen, public/elfnote.h).
const XEN_PHYS32_ENTRY: u32 = 18;

/// Why an ELF file cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not a little-endian ELF file, or cut off.
    #[error("damaged or unsupported ELF file: {0}")]
    Damaged(String),
    /// For another processor.
    #[error("it is for {0}, this machine is x86_64")]
    OtherMachine(&'static str),
    /// An object file or a core dump.
    #[error("it is not an executable ELF file")]
    NotExecutable,
    /// It asks for a dynamic linker.
    #[error("it is a program that runs under an operating system, not a kernel for x86_64")]
    Program,
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
    /// It is a 64-bit file.
    pub is_64: bool,
    /// Physical address of the first instruction.
    pub entry: u64,
    /// What to load.
    pub segments: Vec<Segment>,
    /// Physical address of the PVH entry point.
    pub pvh_entry: Option<u64>,
}

fn damaged(error: impl ToString) -> ElfError {
    ElfError::Damaged(error.to_string())
}

impl Elf {
    /// Reads the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        let machine = formats::elf_machine(bytes).ok_or_else(|| damaged("it ends in its header"))?;
        match machine {
            (EM_X86_64, true) => Self::parse_class::<FileHeader64<LittleEndian>>(bytes, true),
            (EM_386 | EM_X86_64, false) => Self::parse_class::<FileHeader32<LittleEndian>>(bytes, false),
            _ => Err(ElfError::OtherMachine(formats::machine_name(machine))),
        }
    }

    fn parse_class<H: FileHeader<Endian = LittleEndian>>(
        bytes: &[u8],
        is_64: bool,
    ) -> Result<Self, ElfError> {
        let endian = LittleEndian;
        let header = H::parse(bytes).map_err(damaged)?;
        header.endian().map_err(damaged)?;
        if ![ET_EXEC, ET_DYN].contains(&header.e_type(endian)) {
            return Err(ElfError::NotExecutable);
        }
        let virtual_entry: u64 = header.e_entry(endian).into();
        let mut entry = None;
        let mut segments = Vec::new();
        let mut pvh_entry = None;
        for program in header.program_headers(endian, bytes).map_err(damaged)? {
            if program.p_type(endian) == PT_INTERP {
                return Err(ElfError::Program);
            }
            if let Some(notes) = program.notes(endian, bytes).map_err(damaged)? {
                pvh_entry = pvh_entry.or(find_pvh_entry::<H>(notes)?);
            }
            let (start, len_bytes): (u64, u64) =
                (program.p_paddr(endian).into(), program.p_memsz(endian).into());
            if program.p_type(endian) != PT_LOAD || len_bytes == 0 {
                continue;
            }
            let data = program.data(endian, bytes).map_err(|()| damaged("a segment is cut off"))?;
            if data.len() as u64 > len_bytes {
                return Err(damaged("a segment is longer in the file than in memory"));
            }
            let end = start.checked_add(len_bytes).ok_or(ElfError::Wraps(start))?;
            let offset = virtual_entry.wrapping_sub(program.p_vaddr(endian).into());
            if entry.is_none() && offset < len_bytes {
                entry = Some(start + offset);
            }
            // The header's own numbers were checked by `data`.
            let file: u64 = program.p_offset(endian).into();
            segments.push(Segment { memory: start..end, file: file as usize..file as usize + data.len() });
        }
        if segments.is_empty() {
            return Err(ElfError::Empty);
        }
        // Kernels give a physical address of their own.
        Ok(Self { is_64, entry: entry.unwrap_or(virtual_entry), segments, pvh_entry })
    }
}

fn find_pvh_entry<H: FileHeader<Endian = LittleEndian>>(
    mut notes: object::read::elf::NoteIterator<'_, H>,
) -> Result<Option<u64>, ElfError> {
    while let Some(note) = notes.next().map_err(damaged)? {
        if note.name() == b"Xen" && note.n_type(LittleEndian) == XEN_PHYS32_ENTRY {
            let mut value = [0; 8];
            let desc = note.desc();
            let len = desc.len().min(8);
            value[..len].copy_from_slice(&desc[..len]);
            return Ok(Some(u64::from_le_bytes(value)));
        }
    }
    Ok(None)
}

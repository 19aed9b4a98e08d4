//! What a section holds, however it is stored.

use super::chunks::{ChunkError, ReadStored, Table};
use super::error::FormatError;
use super::format::{Encoding, Section};
use crate::rootfs::erofs::ReadAt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// Chunks that are kept decompressed: readers go back and forth between tables and data.
const KEPT_CHUNKS: usize = 8;

/// The content of a section, to be read anywhere. Errors about the image's bytes are a [`FormatError`] in an `io::Error`.
#[derive(Debug)]
pub struct Content {
    file: File,
    section: Section,
    /// Of a compressed section.
    chunks: Option<Chunks>,
}

#[derive(Debug)]
struct Chunks {
    table: Table,
    prefix: Vec<u8>,
    /// By number, the last used one last.
    kept: Mutex<Vec<(usize, Vec<u8>)>>,
}

impl Content {
    pub(super) fn open(file: File, section: &Section, prefix: Vec<u8>) -> io::Result<Self> {
        let section = section.clone();
        if section.encoding == Encoding::Plain {
            return Ok(Self { file, section, chunks: None });
        }
        let read: ReadStored<'_> = &|part, offset| file.read_exact_at(part, section.offset + offset);
        let table = Table::read(read, section.len_bytes)?.map_err(|problem| damaged(&section, problem))?;
        let chunks = Chunks { table, prefix, kept: Mutex::new(Vec::new()) };
        Ok(Self { file, section, chunks: Some(chunks) })
    }

    /// Gives each chunk of a compressed section, with its offset in the content, to `work`, on several threads and in no
    /// order. There is none of a plain section, and this does nothing.
    pub(super) fn for_each_chunk(
        &self,
        work: impl Fn(u64, &[u8]) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        let Some(chunks) = &self.chunks else { return Ok(()) };
        chunks.table.for_each(|number| {
            let content = self.decode(chunks, number)?;
            work(chunks.table.chunks[number].content_offset, &content)
        })
    }

    fn decode(&self, chunks: &Chunks, number: usize) -> io::Result<Vec<u8>> {
        let chunk = &chunks.table.chunks[number];
        let mut frame = vec![0; chunk.stored_bytes as usize];
        self.file.read_exact_at(&mut frame, self.section.offset + chunk.stored_offset)?;
        let decoded = chunk.decode(number, &frame, &chunks.prefix);
        decoded.map_err(|problem| damaged(&self.section, problem))
    }

    fn read_chunks(&self, chunks: &Chunks, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        let mut kept = chunks.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while !buffer.is_empty() {
            let number = chunks.table.find(offset);
            let entry = match kept.iter().position(|(known, _)| *known == number) {
                Some(at) => kept.remove(at),
                None => {
                    if kept.len() >= KEPT_CHUNKS {
                        kept.remove(0);
                    }
                    (number, self.decode(chunks, number)?)
                }
            };
            let from = &entry.1[(offset - chunks.table.chunks[number].content_offset) as usize..];
            let (part, rest) = buffer.split_at_mut(from.len().min(buffer.len()));
            part.copy_from_slice(&from[..part.len()]);
            offset += part.len() as u64;
            buffer = rest;
            kept.push(entry);
        }
        Ok(())
    }
}

fn damaged(section: &Section, problem: ChunkError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, FormatError::Compressed { section: section.id, problem })
}

impl ReadAt for Content {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len_bytes()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.chunks {
            None => self.file.read_exact_at(buffer, self.section.offset + offset),
            Some(chunks) => self.read_chunks(chunks, buffer, offset),
        }
    }

    fn len_bytes(&self) -> u64 {
        self.chunks.as_ref().map_or(self.section.len_bytes, |chunks| chunks.table.content_bytes)
    }
}

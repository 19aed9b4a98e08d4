//! A section's content in chunks that are compressed each by itself, so that a part can be read without the rest and several
//! threads can work on it: Zstandard frames, then their lengths in a skippable frame. This is the "seekable format" of zstd
//! (contrib/seekable_format/zstd_seekable_compression_format.md), which `zstd -d` reads, too.

use std::io::{self, Read, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use zstd::stream::{read::Decoder, write::Encoder};
use zstd::zstd_safe::CParameter;

/// Content of a chunk that is written here. Larger ones are hardly smaller altogether.
pub(super) const CHUNK_BYTES: usize = 2 << 20;
/// Largest chunk that is read.
const MAX_CHUNK_BYTES: u32 = 8 << 20;
/// Chunks of a section at most.
const MAX_CHUNKS: u64 = 1 << 20;
/// Most that the content of one section may be: far more than any machine has, far less than what frames can promise.
const MAX_CONTENT_BYTES: u64 = 64 << 30;
/// Beyond this, compressing takes several times as long for a few per cent.
const LEVEL: i32 = 9;
/// Window that reaches over the prefix: 32 MiB.
const PREFIX_WINDOW_LOG: u32 = 25;
/// Threads at most: each has tables of its own.
const MAX_WORKERS: usize = 4;

// Numbers of the seekable format.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const FOOTER_BYTES: u64 = 9;
const SKIPPABLE_HEAD_BYTES: u64 = 8;
const ENTRY_BYTES: u64 = 8;

/// Why the content cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The end is not that of such a stream.
    #[error("its table of chunks cannot be read")]
    Table,
    /// The lengths in the table are not those of the stream.
    #[error("its table of chunks does not fit its length")]
    Lengths,
    /// The content would be too long.
    #[error("it would be longer than {} GiB", MAX_CONTENT_BYTES >> 30)]
    TooLong,
    /// A frame is none, or not of this length.
    #[error("chunk {number} is damaged: {reason}")]
    Frame {
        /// Counted from 0.
        number: usize,
        /// What the decompressor says.
        reason: String,
    },
}

/// A chunk's places in the file's section and in its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub stored_offset: u64,
    pub stored_bytes: u32,
    pub content_offset: u64,
    pub content_bytes: u32,
}

/// Where the chunks of a section are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub chunks: Vec<Chunk>,
    pub content_bytes: u64,
}

/// What reading a table takes: bytes of the stored section at an offset.
pub(super) type ReadStored<'a> = &'a dyn Fn(&mut [u8], u64) -> io::Result<()>;

impl Table {
    /// Reads the table of a section of this length.
    pub(super) fn read(read: ReadStored<'_>, len_bytes: u64) -> io::Result<Result<Table, ChunkError>> {
        let Some(footer_offset) = len_bytes.checked_sub(FOOTER_BYTES) else {
            return Ok(Err(ChunkError::Table));
        };
        let mut footer = [0; FOOTER_BYTES as usize];
        read(&mut footer, footer_offset)?;
        let count = u64::from(u32_at(&footer, 0));
        // The descriptor byte tells of checksums in the table, which the frames have themselves.
        if footer[4] != 0 || u32_at(&footer, 5) != SEEKABLE_MAGIC || count > MAX_CHUNKS {
            return Ok(Err(ChunkError::Table));
        }
        let table_bytes = SKIPPABLE_HEAD_BYTES + count * ENTRY_BYTES + FOOTER_BYTES;
        let Some(frames_bytes) = len_bytes.checked_sub(table_bytes) else {
            return Ok(Err(ChunkError::Table));
        };
        let mut table = vec![0; (table_bytes - FOOTER_BYTES) as usize];
        read(&mut table, frames_bytes)?;
        let skipped_bytes = table_bytes - SKIPPABLE_HEAD_BYTES;
        if u32_at(&table, 0) != SKIPPABLE_MAGIC || u64::from(u32_at(&table, 4)) != skipped_bytes {
            return Ok(Err(ChunkError::Table));
        }
        Ok(Self::of_lengths(
            table[SKIPPABLE_HEAD_BYTES as usize..]
                .chunks_exact(ENTRY_BYTES as usize)
                .map(|entry| (u32_at(entry, 0), u32_at(entry, 4))),
            frames_bytes,
        ))
    }

    fn of_lengths(lengths: impl Iterator<Item = (u32, u32)>, frames_bytes: u64) -> Result<Table, ChunkError> {
        let (mut chunks, mut stored_offset, mut content_offset) = (Vec::new(), 0, 0);
        for (stored_bytes, content_bytes) in lengths {
            if stored_bytes == 0 || content_bytes == 0 || content_bytes > MAX_CHUNK_BYTES {
                return Err(ChunkError::Lengths);
            }
            chunks.push(Chunk { stored_offset, stored_bytes, content_offset, content_bytes });
            // No overflow: there are less than 2^32 of them.
            stored_offset += u64::from(stored_bytes);
            content_offset += u64::from(content_bytes);
        }
        if stored_offset != frames_bytes {
            return Err(ChunkError::Lengths);
        }
        if content_offset > MAX_CONTENT_BYTES {
            return Err(ChunkError::TooLong);
        }
        Ok(Table { chunks, content_bytes: content_offset })
    }

    /// The number of the chunk with this byte of the content, which has it.
    pub(super) fn find(&self, content_offset: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.content_offset <= content_offset) - 1
    }

    /// Gives each chunk's number to `work`, on several threads; stops at a failure.
    pub(super) fn for_each<E: Send>(&self, work: impl Fn(usize) -> Result<(), E> + Sync) -> Result<(), E> {
        let next = AtomicUsize::new(0);
        let run = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.chunks.len() {
                    return Ok(());
                }
                work(number).inspect_err(|_| next.store(self.chunks.len(), Ordering::Relaxed))?;
            }
        };
        thread::scope(|scope| {
            let others: Vec<_> = (1..workers()).map(|_| scope.spawn(run)).collect();
            let own = run();
            others
                .into_iter()
                .map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .fold(own, Result::and)
        })
    }
}

impl Chunk {
    /// The chunk's content from its frame. `number` is for the message.
    pub(super) fn decode(&self, number: usize, frame: &[u8], prefix: &[u8]) -> Result<Vec<u8>, ChunkError> {
        let damaged = |reason: String| ChunkError::Frame { number, reason };
        let expected = self.content_bytes as usize;
        let mut content = Vec::with_capacity(expected);
        let mut decode = || -> io::Result<bool> {
            let decoder = match prefix {
                [] => Decoder::with_buffer(frame)?,
                prefix => Decoder::with_ref_prefix(frame, prefix)?,
            };
            let mut decoder = decoder.single_frame();
            decoder.window_log_max(PREFIX_WINDOW_LOG)?;
            decoder.by_ref().take(u64::from(self.content_bytes) + 1).read_to_end(&mut content)?;
            Ok(decoder.get_ref().is_empty())
        };
        match decode() {
            Ok(true) if content.len() == expected => Ok(content),
            Ok(_) => Err(damaged("it is not as long as the table says".to_string())),
            Err(error) => Err(damaged(error.to_string())),
        }
    }
}

/// Compresses `content_bytes` that `read` gives by offset, and gives the stream to `write` in pieces. Returns its length.
pub(super) fn compress<E: From<io::Error> + Send>(
    content_bytes: u64,
    prefix: &[u8],
    read: impl Fn(&mut [u8], u64) -> Result<(), E>,
    mut write: impl FnMut(&[u8], u64) -> Result<(), E>,
) -> Result<u64, E> {
    let offsets: Vec<u64> = (0..content_bytes).step_by(CHUNK_BYTES).collect();
    let (mut lengths, mut done) = (Vec::with_capacity(offsets.len()), 0);
    for batch in offsets.chunks(workers()) {
        let chunk = |&offset: &u64| {
            let mut chunk = vec![0; (content_bytes - offset).min(CHUNK_BYTES as u64) as usize];
            read(&mut chunk, offset).map(|()| chunk)
        };
        let chunks = batch.iter().map(chunk).collect::<Result<Vec<_>, E>>()?;
        let frames = thread::scope(|scope| {
            let running: Vec<_> = chunks.iter().map(|chunk| scope.spawn(|| encode(chunk, prefix))).collect();
            let join = |thread: thread::ScopedJoinHandle<'_, io::Result<Vec<u8>>>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            running.into_iter().map(join).collect::<io::Result<Vec<_>>>()
        })?;
        for (chunk, frame) in chunks.iter().zip(&frames) {
            write(frame, done)?;
            lengths.push((frame.len() as u32, chunk.len() as u32));
            done += frame.len() as u64;
        }
    }
    let table = table_bytes(&lengths);
    write(&table, done)?;
    Ok(done + table.len() as u64)
}

/// One frame, the same for the same input.
fn encode(chunk: &[u8], prefix: &[u8]) -> io::Result<Vec<u8>> {
    let frame = Vec::with_capacity(chunk.len() / 2);
    let mut encoder = match prefix {
        [] => Encoder::new(frame, LEVEL)?,
        prefix => {
            let mut encoder = Encoder::with_ref_prefix(frame, LEVEL, prefix)?;
            encoder.set_parameter(CParameter::WindowLog(PREFIX_WINDOW_LOG))?;
            encoder.set_parameter(CParameter::EnableLongDistanceMatching(true))?;
            encoder
        }
    };
    encoder.set_parameter(CParameter::ChecksumFlag(true))?;
    encoder.set_pledged_src_size(Some(chunk.len() as u64))?;
    encoder.write_all(chunk)?;
    encoder.finish()
}

fn table_bytes(lengths: &[(u32, u32)]) -> Vec<u8> {
    let skipped_bytes = lengths.len() as u64 * ENTRY_BYTES + FOOTER_BYTES;
    let mut table = Vec::with_capacity((SKIPPABLE_HEAD_BYTES + skipped_bytes) as usize);
    table.extend(SKIPPABLE_MAGIC.to_le_bytes());
    table.extend((skipped_bytes as u32).to_le_bytes());
    for (stored_bytes, content_bytes) in lengths {
        table.extend(stored_bytes.to_le_bytes());
        table.extend(content_bytes.to_le_bytes());
    }
    table.extend((lengths.len() as u32).to_le_bytes());
    table.push(0);
    table.extend(SEEKABLE_MAGIC.to_le_bytes());
    table
}

fn workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four chunks, of which the last one is not full.
    fn content() -> Vec<u8> {
        let numbers = (CHUNK_BYTES - 5000) as u32;
        (0..numbers).flat_map(|i| (i.wrapping_mul(i) / 7).to_le_bytes()).collect()
    }

    fn stream(content: &[u8], prefix: &[u8]) -> Vec<u8> {
        let mut stream = Vec::new();
        let read = |chunk: &mut [u8], offset: u64| -> io::Result<()> {
            chunk.copy_from_slice(&content[offset as usize..][..chunk.len()]);
            Ok(())
        };
        let write = |part: &[u8], offset: u64| {
            assert_eq!(offset, stream.len() as u64);
            stream.extend_from_slice(part);
            Ok(())
        };
        let len_bytes = compress(content.len() as u64, prefix, read, write).unwrap();
        assert_eq!(len_bytes, stream.len() as u64);
        stream
    }

    fn table(stream: &[u8]) -> Result<Table, ChunkError> {
        let read = |part: &mut [u8], offset: u64| {
            part.copy_from_slice(&stream[offset as usize..][..part.len()]);
            Ok(())
        };
        Table::read(&read, stream.len() as u64).unwrap()
    }

    fn decode(stream: &[u8], prefix: &[u8]) -> Result<Vec<u8>, ChunkError> {
        let table = table(stream)?;
        let mut content = Vec::new();
        for (number, chunk) in table.chunks.iter().enumerate() {
            assert_eq!(chunk.content_offset, content.len() as u64);
            let frame = &stream[chunk.stored_offset as usize..][..chunk.stored_bytes as usize];
            content.extend(chunk.decode(number, frame, prefix)?);
        }
        Ok(content)
    }

    #[test]
    fn content_comes_back() {
        let content = content();
        for part in [&content[..], &content[..CHUNK_BYTES], &content[..1], &[]] {
            for prefix in [&[][..], &content[7..50_000]] {
                let stream = stream(part, prefix);
                assert!(decode(&stream, prefix).unwrap() == part, "{}", part.len());
            }
        }
        // A prefix that has the content makes it small.
        assert!(stream(&content, &content).len() < content.len() / 1000);
    }

    #[test]
    fn zstd_itself_reads_it() {
        let content = content();
        let mut back = Vec::new();
        Decoder::new(&stream(&content, &[])[..]).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == content);
    }

    #[test]
    fn a_byte_is_found_in_its_chunk() {
        let table = table(&stream(&content(), &[])).unwrap();
        let chunk = CHUNK_BYTES as u64;
        assert_eq!([0, chunk - 1, chunk, 3 * chunk + 5].map(|at| table.find(at)), [0, 0, 1, 3]);
    }

    #[test]
    fn damage_is_found() {
        let content = content();
        let good = stream(&content, &[]);
        for at in (0..good.len()).step_by(good.len() / 200).chain(good.len() - 60..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            // Some bits of a frame's header mean nothing.
            assert!(decode(&bad, &[]).map_or(true, |back| back == content), "byte {at}");
        }
        for len in [0, 8, 9, 100, good.len() / 2, good.len() - 1] {
            assert!(decode(&good[..len], &[]).is_err(), "{len} bytes");
        }
        assert!(decode(&stream(&content, &content), &[]).is_err());
    }

    #[test]
    fn tables_that_cannot_be_are_refused() {
        for (lengths, frames_bytes, error) in [
            (vec![(1, 1)], 2, ChunkError::Lengths),
            (vec![(0, 1)], 0, ChunkError::Lengths),
            (vec![(1, 0)], 1, ChunkError::Lengths),
            (vec![(1, u32::MAX)], 1, ChunkError::Lengths),
            (vec![(1, MAX_CHUNK_BYTES); 8193], 8193, ChunkError::TooLong),
        ] {
            assert_eq!(Table::of_lengths(lengths.into_iter(), frames_bytes), Err(error));
        }
        let mut many = stream(b"x", &[]);
        let at = many.len() - FOOTER_BYTES as usize;
        many[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(table(&many), Err(ChunkError::Table));
    }

    #[test]
    fn the_first_failure_ends_the_work() {
        let table = table(&stream(&content(), &[])).unwrap();
        assert_eq!(table.for_each(|number| if number == 2 { Err(number) } else { Ok(()) }), Err(2));
        let done = AtomicUsize::new(0);
        table
            .for_each(|number| {
                done.fetch_add(1 << number, Ordering::Relaxed);
                Ok::<_, ()>(())
            })
            .unwrap();
        assert_eq!(done.into_inner(), 0b1111);
    }
}

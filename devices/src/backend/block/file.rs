//! A block store that is a window of a host file: a whole disk image, or one section of a larger file.

use super::{BlockBackend, check_range, check_writable, total_bytes};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};

/// Bytes written at once where the file system cannot zero a range itself.
const ZERO_BYTES: usize = 64 << 10;

/// A window of a file.
#[derive(Debug)]
pub struct FileBlock {
    file: File,
    start: u64,
    len_bytes: u64,
    read_only: bool,
}

impl FileBlock {
    /// The bytes `start..start + len_bytes` of `file`, which must be open for what `read_only` leaves allowed.
    /// Fails if the window does not fit the offsets of a file.
    pub fn new(file: File, start: u64, len_bytes: u64, read_only: bool) -> io::Result<Self> {
        check_range(i64::MAX as u64, start, len_bytes)?;
        Ok(Self { file, start, len_bytes, read_only })
    }

    /// All of `file`, with the length it has now.
    pub fn whole(file: File, read_only: bool) -> io::Result<Self> {
        let len_bytes = file.metadata()?.len();
        Self::new(file, 0, len_bytes, read_only)
    }

    /// Zeroes a range by the file system; false if it cannot.
    fn zero_range(&self, offset: u64, len_bytes: u64, may_unmap: bool) -> io::Result<bool> {
        let how = if may_unmap { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
        let flags = how | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, self.start + offset, len_bytes) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NODEV | rustix::io::Errno::NOSYS) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl BlockBackend for FileBlock {
    fn capacity_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&mut self, offset: u64, mut to: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        let len_bytes = total_bytes(to.iter().map(|slice| slice.len()));
        check_range(self.len_bytes, offset, len_bytes)?;
        let mut done = 0;
        while done < len_bytes {
            match rustix::io::preadv(&self.file, to, self.start + offset + done) {
                // Somebody cut the file under us.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    done += count as u64;
                    IoSliceMut::advance_slices(&mut to, count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, from: &[IoSlice<'_>]) -> io::Result<()> {
        check_writable(self.read_only)?;
        let len_bytes = total_bytes(from.iter().map(|slice| slice.len()));
        check_range(self.len_bytes, offset, len_bytes)?;
        let mut slices;
        let mut left = from;
        let mut done = 0;
        while done < len_bytes {
            match rustix::io::pwritev(&self.file, left, self.start + offset + done) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    done += count as u64;
                    // Rarely less than everything.
                    if done < len_bytes {
                        slices = from.to_vec();
                        let mut rest = &mut slices[..];
                        IoSlice::advance_slices(&mut rest, done as usize);
                        left = rest;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.read_only { Ok(()) } else { self.file.sync_data() }
    }

    fn discard(&mut self, offset: u64, len_bytes: u64) -> io::Result<()> {
        check_writable(self.read_only)?;
        check_range(self.len_bytes, offset, len_bytes)?;
        // A hint: a file system that cannot do it keeps the bytes.
        if len_bytes > 0 {
            self.zero_range(offset, len_bytes, true)?;
        }
        Ok(())
    }

    fn write_zeroes(&mut self, offset: u64, len_bytes: u64, may_unmap: bool) -> io::Result<()> {
        check_writable(self.read_only)?;
        check_range(self.len_bytes, offset, len_bytes)?;
        if len_bytes == 0 || self.zero_range(offset, len_bytes, may_unmap)? {
            return Ok(());
        }
        let zeroes = [0; ZERO_BYTES];
        let mut done = 0;
        while done < len_bytes {
            let count = (len_bytes - done).min(ZERO_BYTES as u64);
            self.write_at(offset + done, &[IoSlice::new(&zeroes[..count as usize])])?;
            done += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: u64, len_bytes: u64, read_only: bool) -> (FileBlock, File) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x4000).unwrap();
        (FileBlock::new(file.try_clone().unwrap(), start, len_bytes, read_only).unwrap(), file)
    }

    fn read(store: &mut FileBlock, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0xee; len];
        let (first, second) = bytes.split_at_mut(len / 3);
        store.read_at(offset, &mut [IoSliceMut::new(first), IoSliceMut::new(second)])?;
        Ok(bytes)
    }

    #[test]
    fn only_the_window_is_reached() {
        let (mut store, file) = window(0x1000, 0x2000, false);
        store.write_at(0, &[IoSlice::new(&[1; 0x1800]), IoSlice::new(&[2; 0x800])]).unwrap();
        assert!(store.write_at(0x1fff, &[IoSlice::new(&[3; 2])]).is_err());
        assert!(read(&mut store, 0x1fff, 2).is_err() && read(&mut store, u64::MAX, 1).is_err());
        let mut whole = FileBlock::whole(file, true).unwrap();
        let all = read(&mut whole, 0, 0x4000).unwrap();
        let expected = [&[0; 0x1000][..], &[1; 0x1800], &[2; 0x800], &[0; 0x1000]].concat();
        assert!(all == expected);
        assert!(whole.write_at(0, &[IoSlice::new(&[1])]).is_err() && whole.discard(0, 1).is_err());
    }

    #[test]
    fn zeroes_and_holes_read_as_zeroes() {
        let (mut store, _file) = window(0x1000, 0x3000, false);
        for may_unmap in [false, true] {
            store.write_at(0, &[IoSlice::new(&[1; 0x3000])]).unwrap();
            store.write_zeroes(0x200, 0x2000, may_unmap).unwrap();
            let expected = [&[1; 0x200][..], &[0; 0x2000], &[1; 0xe00]].concat();
            assert!(read(&mut store, 0, 0x3000).unwrap() == expected);
        }
        store.discard(0, 0x3000).unwrap();
        store.flush().unwrap();
    }

    #[test]
    fn a_file_cut_short_is_an_error() {
        let (mut store, file) = window(0x1000, 0x2000, true);
        file.set_len(0x2000).unwrap();
        assert!(read(&mut store, 0, 0x1000).is_ok());
        assert_eq!(read(&mut store, 0, 0x1001).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

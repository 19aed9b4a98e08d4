//! The linear memory: vCPU, link cells and guest RAM in one reservation of the host's address space.
//!
//! It is aligned to 4 GiB, so that the low half of a host address is the linear address, and nothing else can be
//! reached from it: what lies behind RAM, up to where a 32-bit address with its offset can reach, is inaccessible.

use crate::host::mapped::{self, Piece};
use crate::lower::wasm::Layout;
use crate::machine::Backing;
use crate::mem::ram::RamBacking;
use crate::vcpu::{Vcpu, VcpuBacking};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// What a 32-bit address reaches.
pub(super) const REACH_BYTES: usize = 1 << 32;
/// Inaccessible memory behind that, for constant offsets of accesses.
pub(super) const GUARD_BYTES: usize = 32 << 20;
/// Bytes of a wasm page.
const WASM_PAGE_BYTES: usize = 1 << 16;
/// Number of link cells.
pub(super) const LINKS: u32 = 1 << 18;
/// Where the vCPU is: not at 0, where mistakes end up.
const VCPU_AT: usize = 1 << 12;
/// Where the link cells are.
const LINKS_AT: usize = (VCPU_AT + size_of::<Vcpu>()).next_multiple_of(64);
/// Where RAM is: aligned for the host's huge pages.
const RAM_AT: usize = (LINKS_AT + 4 * LINKS as usize).next_multiple_of(2 << 20);

/// The memory of one vCPU and its RAM.
#[derive(Clone)]
pub struct Space(Arc<Reservation>);

struct Reservation {
    base: NonNull<u8>,
    ram_bytes: usize,
    size_bytes: usize,
}

// SAFETY: a range of address space that this value owns. What reads and writes it are the backings, each through an
// exclusive owner, link cells by atomic operations, and wasm code while it runs under an exclusive borrow of the vCPU.
unsafe impl Send for Reservation {}
// SAFETY: as above.
unsafe impl Sync for Reservation {}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: mapped in `Space::new` with this length, and nobody is left who uses it. A failure keeps it mapped.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), REACH_BYTES + GUARD_BYTES) };
    }
}

impl Space {
    /// Zeroed memory for a vCPU and this much RAM.
    ///
    /// # Errors
    /// The host's, or RAM does not fit what 32-bit addresses reach.
    pub fn new(ram_bytes: u64) -> std::io::Result<Self> {
        let too_large = || {
            std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "RAM and vCPU do not fit what 32-bit addresses reach",
            )
        };
        let ram_bytes = usize::try_from(ram_bytes).map_err(|_| too_large())?;
        let size_bytes = ram_bytes
            .checked_add(RAM_AT + WASM_PAGE_BYTES)
            .map(|end| end & !(WASM_PAGE_BYTES - 1))
            .filter(|&end| end < REACH_BYTES)
            .ok_or_else(too_large)?;
        let wanted = REACH_BYTES + GUARD_BYTES;
        // SAFETY: a mapping at a place of the system's choice touches no memory that is in use.
        let found = unsafe {
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
            mmap_anonymous(std::ptr::null_mut(), wanted + REACH_BYTES, ProtFlags::empty(), flags)?
        };
        let before = (found as usize).next_multiple_of(REACH_BYTES) - found as usize;
        // SAFETY: the pieces before and behind the aligned one are in what was just mapped, and nobody uses them.
        let base = unsafe {
            let base = found.cast::<u8>().add(before);
            unmap(found, before);
            unmap(base.add(wanted).cast(), REACH_BYTES - before);
            base
        };
        let base = NonNull::new(base).ok_or_else(too_large)?;
        let reservation = Reservation { base, ram_bytes, size_bytes };
        // SAFETY: inside the mapping, which nothing uses yet.
        unsafe { mprotect(base.as_ptr().cast(), size_bytes, MprotectFlags::READ | MprotectFlags::WRITE)? };
        Ok(Self(Arc::new(reservation)))
    }

    /// Linear addresses of what generated code reaches.
    pub fn layout(&self) -> Layout {
        Layout { vcpu: VCPU_AT as u32, links: LINKS_AT as u32 }
    }

    /// Lets RAM, which nothing uses yet, begin with what a file holds, copied where it is written.
    ///
    /// # Errors
    /// As [`mapped::MappedRam::new`].
    pub fn map_ram(&self, file: &File, pieces: &[Piece]) -> std::io::Result<()> {
        mapped::check(pieces, self.0.ram_bytes)?;
        // SAFETY: RAM lies inside the reservation, the pieces inside RAM, and nothing has been written there yet.
        unsafe { mapped::place(self.0.base.add(RAM_AT), file, pieces) }
    }

    /// The RAM, for [`crate::mem::ram::Ram::with_backing`]: once.
    pub fn ram(&self) -> Box<dyn RamBacking> {
        Box::new(SpaceRam(self.clone()))
    }

    /// The vCPU, for [`crate::cpu::Cpu::with_backing`]: once.
    pub fn vcpu(&self) -> Box<dyn VcpuBacking> {
        Box::new(SpaceVcpu(self.clone()))
    }

    /// Both, for a machine: once.
    pub fn backing(&self) -> Backing {
        Backing { ram: self.ram(), vcpu: self.vcpu() }
    }

    /// Size of the memory in wasm pages.
    pub(super) fn wasm_pages(&self) -> u64 {
        (self.0.size_bytes / WASM_PAGE_BYTES) as u64
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.0.base
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.0.size_bytes
    }

    /// Writes a link cell.
    pub(super) fn set_link(&self, cell: u32, value: i32) {
        assert!(cell < LINKS, "there are {LINKS} link cells");
        // SAFETY: inside the accessible part (a cell below `LINKS`), aligned, and reached by nothing but this and wasm code,
        // which reads whole cells.
        let cell = unsafe { self.0.base.add(LINKS_AT).cast::<AtomicI32>().add(cell as usize).as_ref() };
        cell.store(value, Ordering::Relaxed);
    }
}

/// # Safety
/// As for [`munmap`].
unsafe fn unmap(start: *mut c_void, len_bytes: usize) {
    if len_bytes != 0 {
        // SAFETY: the caller's promise. A failure keeps address space reserved, which nobody notices.
        let _ = unsafe { munmap(start, len_bytes) };
    }
}

struct SpaceRam(Space);

// SAFETY: accessible for as long as the reservation lives, which this value holds; page-aligned. Rust code reaches it
// through the one `Ram` that has it, wasm code only under an exclusive borrow of that.
unsafe impl RamBacking for SpaceRam {
    fn base(&self) -> NonNull<u8> {
        // SAFETY: inside the reservation.
        unsafe { self.0.0.base.add(RAM_AT) }
    }

    fn len_bytes(&self) -> usize {
        self.0.0.ram_bytes
    }
}

struct SpaceVcpu(Space);

// SAFETY: as for `SpaceRam`; aligned to a page, and zeros as all of a new mapping.
unsafe impl VcpuBacking for SpaceVcpu {
    fn place(&self) -> NonNull<Vcpu> {
        // SAFETY: inside the reservation.
        unsafe { self.0.0.base.add(VCPU_AT).cast() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_is_aligned_and_holds_what_it_says() {
        for ram_bytes in [4096, 3 << 30] {
            let space = Space::new(ram_bytes).unwrap();
            assert_eq!(space.base().as_ptr() as usize % REACH_BYTES, 0);
            assert!(space.size_bytes() >= RAM_AT + ram_bytes as usize);
            let ram = space.ram();
            // SAFETY: the last byte of RAM, which this test alone uses.
            unsafe { ram.base().add(ram_bytes as usize - 1).write(1) };
            space.set_link(LINKS - 1, -2);
        }
        assert!(Space::new(1 << 32).is_err());
    }
}

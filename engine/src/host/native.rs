//! Native code on x86-64: memory for it, and the way in.
//!
//! The memory is mapped twice, once to write and once to run, so that no address is ever both.

use crate::emit::Slot;
use crate::lower::x64::asm::Asm;
use crate::lower::x64::stubs::{self, Stubs};
use crate::vcpu::{Links, Vcpu};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ptr::NonNull;

/// Memory for code, and the code that all other code shares.
pub struct CodeMemory {
    /// Where it is written.
    write: NonNull<u8>,
    /// Where it runs.
    run: NonNull<u8>,
    len_bytes: usize,
    used: usize,
    stubs: Stubs,
    /// What of `used` the stubs take.
    kept: usize,
}

// SAFETY: both mappings are owned by this value alone.
unsafe impl Send for CodeMemory {}

/// What generated code calls at a site: with the argument it was entered with and the number of the site. Anything but 0
/// leaves.
pub type CallOut = unsafe extern "sysv64" fn(argument: *mut u8, site: u64) -> u64;

/// What a helper gave; anything but 0 in `leaves` leaves.
#[repr(C)]
pub struct Helped {
    /// Its result.
    pub result: u64,
    /// Whether it trapped.
    pub leaves: u64,
}

/// What generated code calls for a helper, whose arguments are in the vCPU: with the argument it was entered with, the number
/// of the site and that of the helper.
pub type CallHelper = unsafe extern "sysv64" fn(argument: *mut u8, site: u64, helper: u64) -> Helped;

/// Code starts at multiples of this, as the processor fetches it.
const ALIGNMENT: usize = 16;

impl CodeMemory {
    /// Room for `len_bytes` of code, which costs nothing until it is used, for a guest with this
    /// [`crate::guest::Guest::FLOAT_ENVIRONMENT`].
    ///
    /// # Errors
    /// When the host does not give memory that may be run.
    pub fn new(len_bytes: usize, float_environment: Option<Slot>) -> Result<Self, Errno> {
        let file = memfd_create(c"c2w-code", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, len_bytes as u64)?;
        let map = |protection| {
            // SAFETY: a new mapping at an address that the system chooses touches nothing that exists.
            let at =
                unsafe { mmap(std::ptr::null_mut(), len_bytes, protection, MapFlags::SHARED, &file, 0) }?;
            NonNull::new(at.cast::<u8>()).ok_or(Errno::NOMEM)
        };
        let write = map(ProtFlags::READ | ProtFlags::WRITE)?;
        let run = map(ProtFlags::READ | ProtFlags::EXEC).inspect_err(|_| {
            // SAFETY: mapped above with this length, and nobody knows of it.
            let _ = unsafe { munmap(write.as_ptr().cast(), len_bytes) };
        })?;
        let mut asm = Asm::default();
        let stubs = stubs::emit(&mut asm, float_environment);
        let mut memory = Self { write, run, len_bytes, used: 0, stubs, kept: 0 };
        memory.add(asm.finish()).expect("there is room for the stubs");
        memory.kept = memory.used;
        Ok(memory)
    }

    /// Adds code and gives its number of the first byte, or `None` if the memory is full.
    pub fn add(&mut self, code: &[u8]) -> Option<usize> {
        let at = self.used.next_multiple_of(ALIGNMENT);
        if code.len() > self.len_bytes.checked_sub(at)? {
            return None;
        }
        // SAFETY: inside the mapping (checked above); a page that runs is not written by this, and a reference to it does
        // not exist.
        unsafe { self.write.add(at).as_ptr().copy_from_nonoverlapping(code.as_ptr(), code.len()) };
        self.used = at + code.len();
        Some(at)
    }

    /// Makes the four-byte displacement at `at` lead to `to`, both numbers of bytes in this memory.
    pub fn patch(&mut self, at: usize, to: usize) {
        assert!(at + 4 <= self.used && to < self.used, "jumps and their targets are code");
        let disp = (to as i64 - (at as i64 + 4)) as i32;
        // SAFETY: inside the mapping (checked above). The code does not run now: this thread enters it by `enter` alone.
        unsafe { self.write.add(at).cast::<[u8; 4]>().write_unaligned(disp.to_le_bytes()) };
    }

    /// Forgets all code but the stubs.
    pub fn clear(&mut self) {
        self.used = self.kept;
    }

    /// Bytes of code.
    pub fn used_bytes(&self) -> usize {
        self.used - self.kept
    }

    /// Address that the byte of this number runs at.
    pub fn address(&self, at: usize) -> u64 {
        self.run.addr().get() as u64 + at as u64
    }

    /// What the code of this memory finds in its vCPU.
    pub fn links(&self, call_out: CallOut, helper: CallHelper, argument: *mut u8) -> Links {
        Links {
            call_out: self.address(self.stubs.call_out),
            call_out_vectors: self.address(self.stubs.call_out_vectors),
            helper: self.address(self.stubs.helper),
            leave: self.address(self.stubs.leave),
            jump: self.address(self.stubs.jump),
            unlinked: self.address(self.stubs.unlinked),
            function: call_out as usize as u64,
            helper_function: helper as usize as u64,
            argument: argument as u64,
            float_environment: stubs::FLOAT_ENVIRONMENT.into(),
        }
    }

    /// Runs code until it leaves.
    ///
    /// # Safety
    /// `vcpu` points to a vCPU that nothing else uses, with the links of this memory and with a TLB whose entries lead to
    /// memory that nothing else uses; `at` is where the run loop enters code that was lowered for it.
    pub unsafe fn enter(&self, vcpu: NonNull<Vcpu>, at: usize) {
        type Enter = unsafe extern "sysv64" fn(NonNull<Vcpu>, *const u8);
        // SAFETY: the stub is a function of this type (`stubs::Stubs::enter`); the rest is the caller's promise.
        unsafe {
            let enter: Enter = std::mem::transmute(self.run.add(self.stubs.enter).as_ptr());
            enter(vcpu, self.run.add(at).as_ptr());
        }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for at in [self.write, self.run] {
            // SAFETY: mapped in `new` with this length, and code in it does not run.
            let _ = unsafe { munmap(at.as_ptr().cast(), self.len_bytes) };
        }
    }
}

//! Native code on x86-64: what all of it shares, memory in parts that are emptied one by one, and the way in.

pub use super::code_memory::Wanted;
use super::code_memory::{ALIGNMENT, CodeMemory};
use crate::emit::Slot;
use crate::lower::x64::asm::Asm;
use crate::lower::x64::stubs::{self, Stubs};
use crate::vcpu::{Links, Vcpu};
use rustix::io::Errno;
use std::ops::Range;
use std::ptr::NonNull;

/// Memory for code, and the code that all other code shares.
pub struct NativeCode {
    memory: CodeMemory,
    stubs: Stubs,
    /// What the stubs take, at the start.
    kept: usize,
    /// Bytes of each part that is filled and emptied by itself.
    part_bytes: usize,
    /// What of the part that is being filled is free.
    free: Range<usize>,
}

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

impl NativeCode {
    /// Room for `len_bytes` of code in so many parts, which costs nothing until it is used, for a guest with this
    /// [`crate::guest::Guest::FLOAT_ENVIRONMENT`].
    ///
    /// # Errors
    /// When the host does not give memory that may be run.
    pub fn new(len_bytes: usize, parts: usize, float_environment: Option<Slot>) -> Result<Self, Errno> {
        let memory = CodeMemory::new(len_bytes)?;
        let mut asm = Asm::default();
        let stubs = stubs::emit(&mut asm, float_environment);
        let part_bytes = len_bytes / parts;
        let mut code = Self { memory, stubs, kept: 0, part_bytes, free: 0..part_bytes };
        code.add(asm.finish()).expect("there is room for the stubs");
        code.kept = code.free.start;
        Ok(code)
    }

    /// Whether there is room for so much in the part.
    pub fn has_room(&self, len_bytes: usize) -> bool {
        let at = self.free.start.next_multiple_of(ALIGNMENT);
        self.free.end.checked_sub(at).is_some_and(|room| len_bytes <= room)
    }

    /// Adds code and gives the number of its first byte, or `None` if the part is full.
    pub fn add(&mut self, code: &[u8]) -> Option<usize> {
        self.add_with(code, |_, _| ())
    }

    /// Adds code that still has to be finished where it stands, by somebody who is told the number of its first byte.
    pub fn add_with(&mut self, code: &[u8], finish: impl FnOnce(usize, &mut [u8])) -> Option<usize> {
        if !self.has_room(code.len()) {
            return None;
        }
        let at = self.free.start.next_multiple_of(ALIGNMENT);
        self.memory.write(at, code, |code| finish(at, code));
        self.free.start = at + code.len();
        Some(at)
    }

    /// Memory of the part that another thread had better make present before it is used.
    pub fn wanted(&mut self) -> Option<Wanted> {
        self.memory.wanted()
    }

    /// Makes the four-byte displacement at `at` lead to `to`, both numbers of bytes in this memory.
    pub fn patch(&mut self, at: usize, to: usize) {
        let disp = (to as i64 - (at as i64 + 4)) as i32;
        // The code does not run now: this thread enters it by `enter` alone.
        self.memory.overwrite(at, &disp.to_le_bytes());
    }

    /// Writes over numbers in code.
    pub fn overwrite(&mut self, at: usize, number: &[u8; 8]) {
        // As in `patch`.
        self.memory.overwrite(at, number);
    }

    /// From now on a part is filled, and what was in it is forgotten.
    pub fn begin(&mut self, part: usize) {
        let start = part * self.part_bytes;
        self.free = start.max(self.kept)..start + self.part_bytes;
    }

    /// Address that the byte of this number runs at.
    pub fn address(&self, at: usize) -> u64 {
        self.memory.code(at).addr().get() as u64
    }

    /// What the code of this memory finds in its vCPU.
    pub fn links(call_out: CallOut, helper: CallHelper, argument: *mut u8) -> Links {
        Links {
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
            let enter: Enter = std::mem::transmute(self.memory.code(self.stubs.enter.0 as usize).as_ptr());
            enter(vcpu, self.memory.code(at).as_ptr());
        }
    }
}

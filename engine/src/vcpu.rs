//! What generated code reaches of a vCPU, at fixed offsets from one address: registers, the TLB, and what passes
//! between generated code and the run loop.
//!
//! The interpreter and the guests see the parts of it as fields of [`crate::cpu::Cpu`] ([`Part`]). All of it lies in
//! memory that its owner provides ([`VcpuBacking`]), so that it can stand in the linear memory of wasm code.

use crate::emit::SLOTS;
use crate::mem::tlb::Tlb;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Rows of the jump cache: pages whose numbers differ in their low bits have one each.
pub const JUMP_ROWS: usize = 64;
/// Entries of a row.
pub const JUMP_COLUMNS: usize = 64;

/// Where the code of a guest address is: an entry of the jump cache.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct JumpEntry {
    /// Guest virtual address of the code.
    pub pc: u64,
    /// The [`Vcpu::context_tag`] that it was found under.
    pub tag: u64,
    /// What a host jumps to: an address or a table index.
    pub code: u64,
    _unused: u64,
}

/// An entry that no look-up finds: context tags are never all ones.
const NO_JUMP: JumpEntry = JumpEntry { pc: 0, tag: u64::MAX, code: 0, _unused: 0 };

/// Row and column of an address in the jump cache.
#[inline]
pub fn jump_place(pc: u64) -> (usize, usize) {
    ((pc >> 12) as usize & (JUMP_ROWS - 1), (pc ^ pc >> 6) as usize & (JUMP_COLUMNS - 1))
}

/// What generated code reaches of a vCPU.
#[repr(C)]
pub struct Vcpu {
    /// Guest registers; what each slot holds is the guest's business.
    pub slots: [u64; SLOTS],
    /// Address of the guest page that generated code runs in.
    pub page_base: u64,
    /// Where generated code left off.
    pub pc: u64,
    /// Instructions that generated code may still retire; negative when it has to leave.
    pub countdown: i64,
    /// What was taken away from `countdown` so that generated code leaves early.
    pub withheld: i64,
    /// Which exit generated code left by.
    pub exit: u64,
    /// Names all that the code of an address depends on: mode, TLB contexts, address space. Entries of the jump cache
    /// with another tag are not used.
    pub context_tag: u64,
    /// Addresses that the host's generated code needs: of functions, and of what they are called with.
    pub links: [u64; 8],
    /// Registers of the host while a function of the run loop is called.
    pub saved: [u64; 16],
    /// Vector registers of the host while a function of the run loop is called.
    pub saved_vectors: [[u64; 2]; 16],
    /// Values that do not fit the host's registers.
    pub spill: [u64; 64],
    /// Where the code of recent jump targets is.
    pub jumps: [[JumpEntry; JUMP_COLUMNS]; JUMP_ROWS],
    /// Cached translations.
    pub tlb: Tlb,
}

impl Vcpu {
    /// Makes generated code leave as soon as it can: takes away what it may still retire.
    pub fn withhold(&mut self) {
        if self.countdown >= 0 {
            self.withheld += self.countdown + 1;
            self.countdown = -1;
        }
    }

    /// Notes where the code of an address is, in the current context.
    pub fn remember_jump(&mut self, pc: u64, code: u64) {
        let (row, column) = jump_place(pc);
        self.jumps[row][column] = JumpEntry { pc, tag: self.context_tag, code, _unused: 0 };
    }

    /// Forgets where the code of all addresses is.
    pub fn forget_jumps(&mut self) {
        self.jumps.as_flattened_mut().fill(NO_JUMP);
    }
}

/// Where the bytes of a [`Vcpu`] live on the host.
///
/// # Safety
/// `place()` must stay valid for reads and writes, at the same address and not aliased by any other reference, for as long
/// as the value lives; it must be aligned to 64 bytes.
pub unsafe trait VcpuBacking: Send {
    /// Room for a vCPU.
    fn place(&self) -> NonNull<Vcpu>;
}

const LAYOUT: Layout = match Layout::new::<Vcpu>().align_to(64) {
    Ok(layout) => layout,
    Err(_) => panic!("64 is a power of two"),
};

/// Memory from the global allocator.
struct HeapBacking(NonNull<Vcpu>);

// SAFETY: the pointer is owned by this value alone, like a Box's.
unsafe impl Send for HeapBacking {}

// SAFETY: allocated with this layout in `new`, freed only in `drop`, never exposed as a Rust reference by this type.
unsafe impl VcpuBacking for HeapBacking {
    fn place(&self) -> NonNull<Vcpu> {
        self.0
    }
}

impl HeapBacking {
    fn new() -> Self {
        // SAFETY: `LAYOUT` has a non-zero size.
        let place = unsafe { alloc_zeroed(LAYOUT) };
        Self(NonNull::new(place.cast()).unwrap_or_else(|| handle_alloc_error(LAYOUT)))
    }
}

impl Drop for HeapBacking {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout and not freed before.
        unsafe { dealloc(self.0.as_ptr().cast(), LAYOUT) }
    }
}

/// A part of a [`Vcpu`], used like the value itself.
pub struct Part<T>(NonNull<T>);

// SAFETY: used by the one owner of the whole, who may be sent.
unsafe impl<T: Send> Send for Part<T> {}

impl<T> Deref for Part<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: points into what the `Parts` that it came with own; no two parts that are handed out overlap, and
        // generated code, which reaches all of them, runs only under an exclusive borrow of their owner.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Part<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { self.0.as_mut() }
    }
}

/// A [`Vcpu`] taken apart. The parts must not outlive `owner`: [`crate::cpu::Cpu`] keeps them together.
pub(crate) struct Parts {
    pub slots: Part<[u64; SLOTS]>,
    pub tlb: Part<Tlb>,
    pub owner: Owner,
}

/// Keeps the memory of a vCPU.
pub(crate) struct Owner {
    backing: Box<dyn VcpuBacking>,
}

impl Owner {
    /// Address of the whole, for generated code. References to it are made only while no part is borrowed.
    #[inline]
    pub fn vcpu(&self) -> NonNull<Vcpu> {
        self.backing.place()
    }
}

/// Makes a vCPU at reset in memory from the global allocator.
pub(crate) fn allocate() -> Parts {
    take_apart(Box::new(HeapBacking::new()))
}

/// Makes a vCPU at reset in this memory.
pub(crate) fn take_apart(backing: Box<dyn VcpuBacking>) -> Parts {
    let vcpu = backing.place();
    // SAFETY: the backing's promise: valid for reads and writes and ours alone. Every field is a number or an array of
    // numbers, for which zeros are a value.
    unsafe {
        vcpu.as_ptr().write_bytes(0, 1);
        (*vcpu.as_ptr()).tlb.flush();
        (*vcpu.as_ptr()).forget_jumps();
        let part = |offset: usize| vcpu.cast::<u8>().add(offset);
        Parts {
            slots: Part(part(core::mem::offset_of!(Vcpu, slots)).cast()),
            tlb: Part(part(core::mem::offset_of!(Vcpu, tlb)).cast()),
            owner: Owner { backing },
        }
    }
}

//! What generated code reaches of a vCPU, at fixed offsets from one address: registers, the TLB, and what passes
//! between generated code and the run loop.
//!
//! The interpreter and the guests see the parts of it as fields of [`crate::cpu::Cpu`] ([`Part`]). All of it lies in
//! memory that its owner provides ([`VcpuBacking`]), so that it can stand in the linear memory of wasm code.

use crate::emit::SLOTS;
use crate::mem::tlb::Tlb;
use crate::mem::zeroed::Zeroed;
use std::alloc::{Layout, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Values that generated code can put aside: more than a block has slots and operands at once.
pub const SPILLS: usize = 512;

/// Processors take a load for that of what a store nearby wrote if few low bits of their distances from the register agree,
/// and start over when they find out. So what code writes on its way from region to region has these bits in common with
/// slots that no guest uses: with as many as there are such fields, from this one on.
const QUIET_SLOT: usize = 28;

/// What native code calls and needs for that.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Links {
    /// The function of the run loop that carries out sites.
    pub function: u64,
    /// The function of the run loop that runs helpers.
    pub helper_function: u64,
    /// What these functions are called with.
    pub argument: u64,
    /// The host's floating-point environment while a function of the run loop is called.
    pub float_environment: u64,
}

/// Why generated code left: it has counted down, or something asks for a look. It goes on at [`Vcpu::pc`].
pub const EXIT_COUNT: u64 = 0;
/// The code of the address in [`Vcpu::pc`] is not in the jump cache.
pub const EXIT_JUMP: u64 = 1;
/// A site left; what carried it out knows the rest.
pub const EXIT_SITE: u64 = 2;
/// A way out is not linked; this plus its number.
pub const EXIT_UNLINKED: u64 = 16;

/// What generated code reaches of a vCPU.
#[repr(C)]
pub struct Vcpu {
    /// Guest registers; what each slot holds is the guest's business.
    pub slots: [u64; SLOTS],
    _apart: [u64; QUIET_SLOT],
    /// Address of the guest page that generated code runs in.
    pub page_base: u64,
    /// Where generated code left off.
    pub pc: u64,
    /// Not 0 if mode or translations have changed since generated code was entered: what comes next is looked up afresh.
    pub moved: u64,
    /// Instructions that generated code may still retire; negative when it has to leave.
    pub countdown: i64,
    /// Which exit generated code left by.
    pub exit: u64,
    /// What was taken away from `countdown` so that generated code leaves early.
    pub withheld: i64,
    /// Names all that the code of an address depends on: mode, TLB contexts, address space. Entries of the jump cache
    /// with another tag are not used.
    pub context_tag: u64,
    /// How often native code may still find a page in its other place of the TLB before that is worth moving it.
    pub(crate) looks_left: i64,
    /// How many ways out to other pages may still be gone by the jump cache before one is worth being linked.
    pub(crate) far_left: i64,
    /// What `context_tag` is for links of native code to other pages.
    pub(crate) far_tag: u64,
    /// Addresses that native code needs.
    pub links: Links,
    /// What a helper is called with.
    pub helper_arguments: [u64; 4],
    /// Registers of the host while a function of the run loop is called.
    pub saved: [u64; 16],
    /// Vector registers of the host while a function of the run loop is called.
    pub saved_vectors: [[u64; 2]; 16],
    /// What is accessed instead of guest memory where a function of the run loop has made the access.
    pub aside: [u64; 2],
    /// Values that do not fit the host's registers.
    pub spill: [u64; SPILLS],
    /// Cached translations.
    pub tlb: Tlb,
}

/// Where the bytes of a [`Vcpu`] live on the host.
///
/// # Safety
/// `place()` must stay valid for reads and writes, at the same address and not aliased by any other reference, for as long
/// as the value lives; it must be aligned to 64 bytes, and hold zeros when the value is handed over.
pub unsafe trait VcpuBacking: Send {
    /// Room for a vCPU.
    fn place(&self) -> NonNull<Vcpu>;
}

const LAYOUT: Layout = match Layout::new::<Vcpu>().align_to(64) {
    Ok(layout) => layout,
    Err(_) => panic!("64 is a power of two"),
};

/// Memory from the global allocator.
struct HeapBacking(Zeroed);

// SAFETY: allocated with `LAYOUT`, as zeros, lives as long as the value, and is never exposed as a Rust reference by this type.
unsafe impl VcpuBacking for HeapBacking {
    fn place(&self) -> NonNull<Vcpu> {
        self.0.start().cast()
    }
}

impl HeapBacking {
    fn new() -> Self {
        Self(Zeroed::new(LAYOUT).unwrap_or_else(|| handle_alloc_error(LAYOUT)))
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
    // SAFETY: the backing's promise: valid for reads and writes, ours alone, and zeros. Every field is a number or an array
    // of numbers, for which zeros are a value.
    unsafe {
        (*vcpu.as_ptr()).tlb.flush();
        let part = |offset: usize| vcpu.cast::<u8>().add(offset);
        Parts {
            slots: Part(part(core::mem::offset_of!(Vcpu, slots)).cast()),
            tlb: Part(part(core::mem::offset_of!(Vcpu, tlb)).cast()),
            owner: Owner { backing },
        }
    }
}

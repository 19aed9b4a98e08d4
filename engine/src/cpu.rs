//! The vCPU with what it reaches: registers, TLB, RAM, board and clock, and the slow path of memory accesses.

mod trial;

use crate::addr::{Gpa, Gva, PAGE_BYTES, Page, Width};
use crate::clock::Clock;
use crate::emit::SLOTS;
use crate::guest::{Guest, Mode, Trap};
use crate::irq::{Attention, IrqLines};
use crate::mem::device::{Board, DeviceEnv, Request};
use crate::mem::ram::Ram;
use crate::mem::tlb::{Access, Fill, MAX_CONTEXTS, Tlb};
use crate::vcpu::{self, Owner, Part, Vcpu, VcpuBacking};
use serde::{Deserialize, Serialize};
use std::ptr::NonNull;
pub(crate) use trial::Start;
use trial::Trial;

/// The address and value of a load-reserved, waiting for its store-conditional.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Physical address that was read.
    pub gpa: Gpa,
    /// Width of the read.
    pub width: Width,
    /// What was read.
    pub value: u64,
}

/// One vCPU and everything it reaches.
pub struct Cpu<G: Guest> {
    /// Guest registers; what each slot holds is the guest's business.
    pub slots: Part<[u64; SLOTS]>,
    /// Address of the next instruction.
    pub pc: Gva,
    /// Instructions retired since power-on. Exact at block boundaries and in the last instruction of a block.
    pub retired: u64,
    /// Page walks since power-on: addresses that the TLB did not know.
    pub walks: u64,
    /// Outstanding load-reserved.
    pub reservation: Option<Reservation>,
    /// The guest's system state.
    pub guest: G,
    /// Inputs of the vCPU's interrupt pins.
    pub irq: IrqLines,
    /// Set when a line changed or the host has input.
    pub attention: Attention,
    /// Cached translations.
    pub tlb: Part<Tlb>,
    /// Guest RAM.
    pub ram: Ram,
    /// Devices.
    pub board: G::Board,
    /// Guest time.
    pub clock: Box<dyn Clock>,
    /// What a device or helper asked the machine to do.
    pub request: Option<Request>,
    mode: Mode,
    fetch_context: usize,
    data_context: usize,
    /// Changes whenever cached knowledge of where code is may be stale.
    fetch_epoch: u64,
    /// The guest waits for an interrupt.
    waiting: bool,
    /// The run loop has something to look at before the next block.
    recheck: bool,
    /// What runs may be taken back.
    trial: Option<Trial>,
    /// What the parts above are parts of.
    vcpu: Owner,
}

impl<G: Guest> Cpu<G> {
    /// A vCPU at reset over a board.
    pub fn new(
        guest: G,
        ram: Ram,
        board: G::Board,
        irq: IrqLines,
        attention: Attention,
        clock: Box<dyn Clock>,
    ) -> Self {
        Self::with_backing(None, guest, ram, board, irq, attention, clock)
    }

    /// The same in memory that the caller may provide.
    #[allow(clippy::too_many_arguments, reason = "as `new`, and where")]
    pub fn with_backing(
        backing: Option<Box<dyn VcpuBacking>>,
        guest: G,
        ram: Ram,
        board: G::Board,
        irq: IrqLines,
        attention: Attention,
        clock: Box<dyn Clock>,
    ) -> Self {
        let mut parts = match backing {
            Some(backing) => vcpu::take_apart(backing),
            None => vcpu::allocate(),
        };
        assert!(G::CONTEXTS <= MAX_CONTEXTS, "the TLB has a table for each of the guest's contexts");
        parts.tlb.share(G::SHARED_CONTEXTS);
        Self {
            slots: parts.slots,
            pc: Gva(0),
            retired: 0,
            walks: 0,
            reservation: None,
            guest,
            irq,
            attention,
            tlb: parts.tlb,
            vcpu: parts.owner,
            ram,
            board,
            clock,
            request: None,
            waiting: false,
            recheck: false,
            trial: None,
            mode: Mode::default(),
            fetch_context: 0,
            data_context: 0,
            fetch_epoch: 0,
        }
    }

    /// The mode that code is decoded and cached under.
    #[inline]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// TLB context of loads and stores.
    #[inline]
    pub fn data_context(&self) -> usize {
        self.data_context
    }

    /// TLB context of instruction fetches.
    #[inline]
    pub fn fetch_context(&self) -> usize {
        self.fetch_context
    }

    /// Number that changes whenever the next fetch must be looked up afresh.
    #[inline]
    pub fn fetch_epoch(&self) -> u64 {
        self.fetch_epoch
    }

    /// The guest's privilege changed: what code is decoded under and which TLB contexts accesses use.
    pub fn set_mode(&mut self, mode: Mode, fetch_context: usize, data_context: usize) {
        // Where data is does not change where code is.
        if (mode, fetch_context) != (self.mode, self.fetch_context) {
            self.fetch_epoch += 1;
        }
        self.mode = mode;
        self.fetch_context = fetch_context;
        self.data_context = data_context;
    }

    /// Translations changed under the guest's feet: the next fetch is looked up afresh. Guests call this with every
    /// TLB flush or change of address space.
    pub fn translations_changed(&mut self) {
        self.fetch_epoch += 1;
    }

    /// Interrupts may have become pending or enabled: the run loop asks the guest before the next block. Guests call
    /// this with every change of enable bits, pending bits or privilege.
    #[inline]
    pub fn recheck_interrupts(&mut self) {
        self.recheck = true;
    }

    /// The guest waits until an interrupt wakes it (WFI, HLT).
    pub fn wait(&mut self) {
        self.waiting = true;
        self.recheck = true;
    }

    /// Whether the guest waits for an interrupt.
    pub fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Ends waiting.
    pub(crate) fn wake(&mut self) {
        self.waiting = false;
    }

    /// Whether the run loop has something to look at; cheap enough to ask between blocks.
    #[inline]
    pub fn needs_look(&self) -> bool {
        self.recheck | self.attention.is_set()
    }

    /// Clears what [`Cpu::recheck_interrupts`] set: for who has asked the guest, or runs code without a run loop.
    pub fn looked(&mut self) {
        self.recheck = false;
    }

    /// What generated code reaches of the vCPU.
    #[inline]
    pub fn vcpu(&self) -> NonNull<Vcpu> {
        self.vcpu.vcpu()
    }

    /// Names all that the code of an address depends on besides the translation of its page.
    pub fn context_tag(&self) -> u64 {
        self.tlb.tag(self.fetch_context) | self.own_tag()
    }

    /// The same for links from page to page.
    pub fn far_tag(&self) -> u64 {
        self.tlb.far_tag(self.fetch_context) | self.own_tag()
    }

    /// What is not the TLB's of both.
    fn own_tag(&self) -> u64 {
        u64::from(self.mode.0) << 12 | (self.data_context as u64) << 28
    }

    /// Guest time now.
    pub fn now_ns(&self) -> u64 {
        match &self.trial {
            None => self.clock.now_ns(self.retired),
            Some(trial) => trial.now_ns,
        }
    }

    /// Reads from RAM or a device by physical address; `None` if nothing answers.
    pub fn physical_read(&mut self, gpa: Gpa, width: Width) -> Option<u64> {
        if let Ok(bytes) = self.ram.slice(gpa, width.bytes()) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            return Some(u64::from_le_bytes(value));
        }
        self.with_board(|board, env| board.read(gpa, width, env))
    }

    /// Writes to RAM or a device by physical address; `None` if nothing answers.
    pub fn physical_write(&mut self, gpa: Gpa, width: Width, value: u64) -> Option<()> {
        if self.ram.write(gpa, &value.to_le_bytes()[..width.bytes() as usize]).is_ok() {
            // Trap delivery and page walks write here, too: what they overwrite is dropped before the next block.
            self.recheck |= self.ram.has_written_code();
            return Some(());
        }
        self.with_board(|board, env| board.write(gpa, width, value & width.mask(), env))
    }

    /// Lets the board work with the environment that devices get. In a trial (`trial`) nothing is done.
    pub fn with_board<R: Default>(&mut self, f: impl FnOnce(&mut G::Board, &mut DeviceEnv<'_>) -> R) -> R {
        if self.trial.is_some() {
            self.stray();
            return R::default();
        }
        let now_ns = self.now_ns();
        let mut env = DeviceEnv { ram: &mut self.ram, now_ns, request: &mut self.request };
        let result = f(&mut self.board, &mut env);
        // DMA may have written code, a device may have asked for an end: both are looked at between blocks.
        self.recheck |= self.request.is_some() || self.ram.has_written_code();
        result
    }

    /// Translates the page of `gva` for an access in `context` and, if it is RAM, enters it into the TLB.
    pub fn translate(&mut self, gva: Gva, access: Access, context: usize) -> Result<Gpa, Trap> {
        self.translate_bytes(gva, 1, access, context)
    }

    /// Translates for an access to `len_bytes` from `gva`, which must lie in one page.
    fn translate_bytes(
        &mut self,
        gva: Gva,
        len_bytes: u64,
        access: Access,
        context: usize,
    ) -> Result<Gpa, Trap> {
        self.walks += 1;
        self.ram.journal_walk(true);
        let found = G::walk(self, gva, access, context);
        self.ram.journal_walk(false);
        // The walk may have set bits in a page table entry that was decoded as code, too.
        self.recheck |= self.ram.has_written_code();
        let found = found?;
        if !found.global {
            self.tlb.note_local(context, gva, access);
        }
        let gpa = found.page.start().offset(gva.page_offset());
        if !found.cacheable {
            G::check_bytes(self, gva, gpa, len_bytes, access, context)?;
        }
        if found.cacheable && self.ram.contains_page(found.page) {
            // A write tag makes stores invisible: only pages without code get one, and they count as dirty.
            let write = access == Access::Write && found.write && !self.ram.holds_code(found.page);
            if write {
                self.ram.mark_dirty(found.page);
            }
            let host_page = self.ram.host_page(found.page);
            self.tlb.fill(context, gva, Fill { read: found.read, write, execute: found.execute, host_page });
        }
        Ok(gpa)
    }

    /// Loads `width` at `gva` in the current data context, zero-extended. Any alignment.
    #[cold]
    #[inline(never)]
    pub fn load(&mut self, gva: Gva, width: Width) -> Result<u64, Trap> {
        self.load_in(gva, width, self.data_context)
    }

    /// Loads in a context of the caller's choice.
    pub fn load_in(&mut self, gva: Gva, width: Width, context: usize) -> Result<u64, Trap> {
        if let Some(host) = self.tlb.lookup_misaligned(context, gva, width, Access::Read) {
            // SAFETY: the TLB holds only pages of `self.ram`, and the access ends inside its page.
            return Ok(unsafe { host_read(host, width) });
        }
        self.read_as(gva, width, Access::Read, context)
    }

    /// Reads `width` at `gva` under the rights of `access`, which is what a fault reports, too.
    fn read_as(&mut self, gva: Gva, width: Width, access: Access, context: usize) -> Result<u64, Trap> {
        if width.bytes() > gva.bytes_to_page_end() {
            // Both pages are translated before either is read, so that a fault has read nothing from a device.
            let parts = self.crossing(gva, width, access, context)?;
            let mut value = 0;
            for i in (0..width.bytes()).rev() {
                let byte = self.physical_read(parts.gpa(i), Width::W8);
                value = value << 8 | byte.ok_or_else(|| G::bus_error(gva, parts.gpa(i), access))?;
            }
            return Ok(value);
        }
        let gpa = self.translate_bytes(gva, width.bytes(), access, context)?;
        self.physical_read(gpa, width).ok_or_else(|| G::bus_error(gva, gpa, access))
    }

    /// Stores the low bits of `value` at `gva` in the current data context. Any alignment.
    #[cold]
    #[inline(never)]
    pub fn store(&mut self, gva: Gva, width: Width, value: u64) -> Result<(), Trap> {
        self.store_in(gva, width, value, self.data_context)
    }

    /// Stores in a context of the caller's choice.
    pub fn store_in(&mut self, gva: Gva, width: Width, value: u64, context: usize) -> Result<(), Trap> {
        if let Some(host) = self.tlb.lookup_misaligned(context, gva, width, Access::Write) {
            // SAFETY: as in `load_in`; a write tag is given only to pages whose writes need no tracking.
            unsafe { host_write(host, width, value) };
            return Ok(());
        }
        if width.bytes() > gva.bytes_to_page_end() {
            let parts = self.crossing(gva, width, Access::Write, context)?;
            for i in 0..width.bytes() {
                let done = self.physical_write(parts.gpa(i), Width::W8, value >> (8 * i));
                done.ok_or_else(|| G::bus_error(gva, parts.gpa(i), Access::Write))?;
            }
            return Ok(());
        }
        let gpa = self.translate_bytes(gva, width.bytes(), Access::Write, context)?;
        self.physical_write(gpa, width, value).ok_or_else(|| G::bus_error(gva, gpa, Access::Write))
    }

    /// Loads `width` at `gva` in the current data context for an instruction that will store there: the access must
    /// be allowed to write. Any alignment.
    #[cold]
    #[inline(never)]
    pub fn load_to_modify(&mut self, gva: Gva, width: Width) -> Result<u64, Trap> {
        self.read_as(gva, width, Access::Write, self.data_context)
    }

    /// Checks that a write of `len_bytes` that goes beyond the page of `gva` can be made, lowest page first.
    pub fn check_crossing_write(&mut self, gva: Gva, len_bytes: u64) -> Result<(), Trap> {
        if len_bytes <= gva.bytes_to_page_end() {
            return Ok(());
        }
        let mut done = 0;
        while done < len_bytes {
            let at = gva.offset(done);
            let piece_bytes = (len_bytes - done).min(at.bytes_to_page_end());
            self.translate_bytes(at, piece_bytes, Access::Write, self.data_context)?;
            done += piece_bytes;
        }
        Ok(())
    }

    fn crossing(&mut self, gva: Gva, width: Width, access: Access, context: usize) -> Result<Crossing, Trap> {
        let first_bytes = gva.bytes_to_page_end();
        let first = self.translate_bytes(gva, first_bytes, access, context)?;
        debug_assert!(first_bytes < width.bytes());
        let rest_bytes = width.bytes() - first_bytes;
        let second = self.translate_bytes(gva.offset(first_bytes), rest_bytes, access, context)?;
        Ok(Crossing { first, first_bytes, second })
    }

    /// The read of an atomic read-modify-write of `width` at `gva`, which may cross pages where the architecture
    /// carries out misaligned ones.
    pub(crate) fn atomic_read(&mut self, gva: Gva, width: Width) -> Result<u64, Trap> {
        if gva.0 & (width.bytes() - 1) != 0
            && let Some(trap) = G::misaligned_atomic(gva, Access::Write)
        {
            return Err(trap);
        }
        self.load_to_modify(gva, width)
    }

    /// Checks that a load-reserved or store-conditional of `width` may access `gva`, and finds its physical address.
    fn atomic_target(&mut self, gva: Gva, width: Width, access: Access) -> Result<Gpa, Trap> {
        if gva.0 & (width.bytes() - 1) != 0
            && let Some(trap) = G::misaligned_atomic(gva, access)
        {
            return Err(trap);
        }
        self.translate_bytes(gva, width.bytes(), access, self.data_context)
    }

    /// Load-reserved: reads and remembers.
    pub fn load_reserved(&mut self, gva: Gva, width: Width) -> Result<u64, Trap> {
        let gpa = self.atomic_target(gva, width, Access::Read)?;
        let value = self.physical_read(gpa, width).ok_or_else(|| G::bus_error(gva, gpa, Access::Read))?;
        self.reservation = Some(Reservation { gpa, width, value });
        Ok(value)
    }

    /// Store-conditional: 0 if it stored, 1 if not.
    pub fn store_conditional(&mut self, gva: Gva, width: Width, value: u64) -> Result<u64, Trap> {
        let gpa = self.atomic_target(gva, width, Access::Write)?;
        let held = self.reservation.take();
        if held.is_none_or(|r| r.gpa != gpa || r.width != width) {
            return Ok(1);
        }
        // Anything that wrote another value in between, DMA included, breaks the reservation.
        let now = self.physical_read(gpa, width).ok_or_else(|| G::bus_error(gva, gpa, Access::Write))?;
        if held.is_some_and(|r| r.value != now) {
            return Ok(1);
        }
        self.physical_write(gpa, width, value).ok_or_else(|| G::bus_error(gva, gpa, Access::Write))?;
        Ok(0)
    }

    /// Reads guest memory for a helper, byte by byte across pages.
    pub fn read_bytes(&mut self, gva: Gva, to: &mut [u8]) -> Result<(), Trap> {
        let mut done = 0;
        while done < to.len() {
            let at = gva.offset(done as u64);
            let len = (at.bytes_to_page_end() as usize).min(to.len() - done);
            let gpa = self.translate(at, Access::Read, self.data_context)?;
            let bytes = self.ram.slice(gpa, len as u64).map_err(|_| G::bus_error(at, gpa, Access::Read))?;
            to[done..done + len].copy_from_slice(bytes);
            done += len;
        }
        Ok(())
    }

    /// The page of RAM that code at `gva` is fetched from.
    #[inline]
    pub fn fetch_page(&mut self, gva: Gva) -> Result<Page, Trap> {
        let byte = gva.page_start();
        if let Some(host) = self.tlb.lookup(self.fetch_context, byte, Width::W8, Access::Execute) {
            return Ok(Page::of(self.ram.gpa_of_host(host)));
        }
        let gpa = self.translate(gva, Access::Execute, self.fetch_context)?;
        let page = Page::of(gpa);
        if self.ram.contains_page(page) { Ok(page) } else { Err(G::bus_error(gva, gpa, Access::Execute)) }
    }

    /// Notes that code was decoded from a page: from now on its stores take the slow path.
    pub fn note_code(&mut self, page: Page, offset: u64, len_bytes: u64) {
        debug_assert!(offset + len_bytes <= PAGE_BYTES);
        // A page that was never written has no write tag; looking for one costs more than decoding a block.
        if self.ram.note_code(page, offset, len_bytes) && self.ram.is_dirty(page) {
            self.tlb.withhold_writes(self.ram.host_page(page));
        }
    }
}

/// Reads `width` at a host address that the TLB gave, zero-extended.
///
/// # Safety
/// `host..host + width` lies inside one page of live guest RAM, and nothing else borrows it.
#[inline(always)]
pub(crate) unsafe fn host_read(host: u64, width: Width) -> u64 {
    let at = host as usize as *const u8;
    // SAFETY: the caller's promise; unaligned reads ask nothing more.
    unsafe {
        match width {
            Width::W8 => at.read() as u64,
            Width::W16 => u16::from_le(at.cast::<u16>().read_unaligned()) as u64,
            Width::W32 => u32::from_le(at.cast::<u32>().read_unaligned()) as u64,
            Width::W64 => u64::from_le(at.cast::<u64>().read_unaligned()),
        }
    }
}

/// Writes the low bits of `value` at a host address that the TLB gave.
///
/// # Safety
/// As for [`host_read`].
#[inline(always)]
pub(crate) unsafe fn host_write(host: u64, width: Width, value: u64) {
    let at = host as usize as *mut u8;
    // SAFETY: the caller's promise; unaligned writes ask nothing more.
    unsafe {
        match width {
            Width::W8 => at.write(value as u8),
            Width::W16 => at.cast::<u16>().write_unaligned((value as u16).to_le()),
            Width::W32 => at.cast::<u32>().write_unaligned((value as u32).to_le()),
            Width::W64 => at.cast::<u64>().write_unaligned(value.to_le()),
        }
    }
}

/// Physical places of an access that crosses into another page.
struct Crossing {
    first: Gpa,
    first_bytes: u64,
    second: Gpa,
}

impl Crossing {
    /// Physical address of byte `i` of the access.
    fn gpa(&self, i: u64) -> Gpa {
        if i < self.first_bytes { self.first.offset(i) } else { self.second.offset(i - self.first_bytes) }
    }
}

//! Translation to code of this processor: which code is translated, where it is, how it is linked, and how it is run.
//!
//! Invariant: code is reachable (by a block, the jump cache, or a link from other code) only until a page that it was
//! made from is written; [`Translator::invalidate`] ends that.

use super::call_out::{Leave, carry_out};
pub use super::code_cache::CodeCache;
use super::code_cache::Found;
use super::code_cache::record::{self, Entry, First};
use super::generations::{Addition, Full, Generations, LinkState, Numbers, Sites, Unit};
use super::grow::{Extent, SAMPLES};
use super::{
    End, LEAST_CODE_BYTES, MOST_CODE_BYTES, Origin, TranslatorStatistics, grow, thread_ns, warm_blocks,
};
use crate::addr::{Gpa, Gva, PAGE_MASK, Page};
use crate::cache::{BlockCache, BlockId, Recalled, Renumbered};
use crate::cpu::Cpu;
use crate::eager::BlockEnd;
use crate::emit::Slot;
use crate::guest::{Guest, HelperId};
use crate::host::native::Helped;
use crate::ir::block::{Block, Op};
use crate::ir::region::{Region, RegionBlock, ways_out};
use crate::lower::x64::{Home, Lowering, Place, Request, VectorHome, lower_jump};
use crate::mem::ram::Ram;
use crate::vcpu::{EXIT_JUMP, EXIT_SITE, EXIT_UNLINKED, Vcpu};
use std::cell::OnceCell;
use std::collections::HashSet;
use std::io;
use std::ptr::NonNull;
use std::time::Duration;

/// Runs after which a block is worth its translation even in a run that is soon over: interpreting it has cost that much.
const HOT: u32 = 1000;

/// Runs after which a block is considered again that was not translated when it was due.
const AGAIN: u32 = 64;

/// Runs of a block after which its translation is worth being kept for a later run.
const WARM: u32 = 2;

/// What translated code was left by that did not know where to go on: it is told when the code it wants is found.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Nothing,
    /// A way out that is not linked, and the address that it leads to.
    Link(u32, Gva),
    /// A jump to an address that is not in the jump cache.
    Jump(Gva),
}

/// Translates and keeps what it translated.
pub struct Translator {
    lowering: Lowering,
    code: Generations,
    /// Where code comes from that an earlier run translated, and where this one's goes.
    kept: Option<CodeCache>,
    /// Code from there on its way.
    numbered: Vec<u8>,
    waiting: Waiting,
    threshold: u32,
    /// Until this many instructions have retired, code is translated only when it has run [`HOT`] times.
    hesitates_until: u64,
    /// Where code was left because its time was up.
    paused: Option<Gva>,
    statistics: TranslatorStatistics,
}

/// What call-outs work on while code runs.
struct Run<'a, G: Guest> {
    cpu: &'a mut Cpu<G>,
    vcpu: NonNull<Vcpu>,
    code: &'a Generations,
    /// `cpu.retired` plus what may still be retired.
    end: u64,
    left: Option<Leave>,
    statistics: &'a mut TranslatorStatistics,
}

impl Translator {
    /// A translator for this host that translates blocks when they have run `threshold` times, and keeps so much code and
    /// what describes it; `None` if the host does not give memory for code.
    pub fn new<G: Guest>(code_bytes: u64, threshold: u32) -> Option<Self> {
        let code_bytes = code_bytes.clamp(LEAST_CODE_BYTES, MOST_CODE_BYTES) as usize;
        let code = Generations::new(code_bytes, G::FLOAT_ENVIRONMENT).ok()?;
        Some(Self {
            lowering: Lowering::new(),
            code,
            kept: None,
            numbered: Vec::new(),
            waiting: Waiting::Nothing,
            threshold,
            hesitates_until: 0,
            paused: None,
            statistics: TranslatorStatistics::default(),
        })
    }

    /// Looks for code in a cache from now on before it translates, and keeps there what it translates.
    pub fn keep(&mut self, cache: CodeCache) {
        self.kept = Some(cache);
    }

    /// Writes what is to be kept. Before that, code that has run more than once is translated for the next run, the hottest
    /// first, for so long; this run is over. Where next to all code was there already, nothing is done: each run meets
    /// a little that the others do not.
    ///
    /// # Errors
    /// The host's.
    pub fn save<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        effort: Duration,
    ) -> io::Result<()> {
        if self.kept.is_none() {
            return Ok(());
        }
        let until = thread_ns().saturating_add(effort.as_nanos() as u64);
        let Some(mut warm) = warm_blocks(cache, cpu, WARM, &self.statistics) else { return Ok(()) };
        // What is come to by a static way from the same page is part of what begins there, most likely.
        warm.sort_by_key(|&id| !cache.block(id).was_entered());
        let mut covered = HashSet::new();
        for id in warm {
            let (block, context) = (cache.block(id), cache.block(id).context());
            if thread_ns() >= until {
                break;
            }
            let (page, second) = (Page::of(block.gpa()), block.second());
            let origin = Origin { page, second, mode: block.mode(), context };
            let is_covered =
                !block.was_entered() && covered.contains(&(page, block.page_offset(), origin.mode));
            if !is_covered {
                let region = self.translate_for::<G>(cache, cpu, id, origin, Extent::Sparing);
                covered.extend(region.blocks.iter().map(|block| (page, block.start as u64, origin.mode)));
            }
        }
        self.kept.as_mut().map_or(Ok(()), CodeCache::save)
    }

    /// Translates less readily until so many instructions have retired.
    pub fn hesitate_until(&mut self, retired: u64) {
        self.hesitates_until = retired;
    }

    /// What it has done so far.
    pub fn statistics(&self) -> TranslatorStatistics {
        TranslatorStatistics { kept_bytes: self.code.used_bytes() as u64, ..self.statistics }
    }

    /// Counts a run of a block by the interpreter, and translates it when that pays.
    #[inline]
    pub fn heat_up<G: Guest>(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) {
        let heat = cache.heat_up(id, cpu.data_context());
        if heat == self.threshold || heat.is_multiple_of(AGAIN) {
            self.consider::<G>(cache, cpu, id, heat);
        }
    }

    #[cold]
    #[inline(never)]
    fn consider<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
        heat: u32,
    ) {
        let is_due = heat >= self.threshold && (cpu.retired >= self.hesitates_until || heat >= HOT);
        if is_due && cache.block(id).translated(cpu.data_context()).is_none() {
            self.translate::<G>(cache, cpu, id);
        }
    }

    /// Lets a block that is about to be made lead to what was translated from the same code before: in this run, or in an
    /// earlier one.
    #[cold]
    #[inline(never)]
    pub fn recall<G: Guest>(&mut self, cpu: &mut Cpu<G>, gpa: Gpa, id: BlockId) -> Option<Recalled> {
        // What crosses into another page depends on where that is mapped.
        let (page, mode, context) = (Page::of(gpa), cpu.mode(), cpu.data_context());
        let origin = Origin { page, second: None, mode, context };
        let number = self.find(cpu, origin, gpa.page_offset(), id)?;
        let unit = self.code.unit(number);
        Some(Recalled { number, count: unit.insns as u16, len_bytes: unit.len_bytes })
    }

    /// The same for a block that has been made; gives the number of the unit.
    #[cold]
    #[inline(never)]
    pub fn adopt<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
    ) -> Option<u32> {
        let origin = origin(cache, cpu, id);
        let place = cache.block(id).page_offset();
        let number = match origin.second {
            Some(_) => self.find(cpu, origin, place, id)?,
            None => self.code.adopt(origin, place, id)?,
        };
        cache.set_translated(id, origin.context, number);
        Some(number)
    }

    fn find<G: Guest>(&mut self, cpu: &mut Cpu<G>, origin: Origin, place: u64, id: BlockId) -> Option<u32> {
        self.code.adopt(origin, place, id).or_else(|| self.load(cpu, origin, place, id))
    }

    /// Takes code from the cache.
    fn load<G: Guest>(&mut self, cpu: &mut Cpu<G>, origin: Origin, place: u64, id: BlockId) -> Option<u32> {
        let kept = self.kept.as_ref().filter(|_| !cpu.ram.has_written_code())?;
        let Found { source, made, sites } =
            kept.find(&cpu.ram, entry(origin, place), origin.page, origin.second)?;
        let Numbers { first_site, first_link, .. } = self.code.next();
        made.number(first_site, first_link, &mut self.numbered)?;
        let addition = Addition {
            code: &self.numbered,
            entry: made.entry as usize,
            start: made.start as usize,
            first: made.first,
            place,
            sites: Sites::Kept(sites, OnceCell::new()),
            site_count: made.site_count as usize,
            links: made.links(),
            homes: made.homes(),
            vector_homes: made.vector_homes(),
            may_grow: made.may_grow,
        };
        // If there is no room it is translated when it is hot, which makes some.
        let number = self.code.add(addition, origin, id).ok()?;
        for range in source.ranges {
            cpu.note_code(origin.page, range.start.into(), range.len.into());
        }
        if let Some(second) = origin.second {
            cpu.note_code(second, 0, source.tail.into());
        }
        self.statistics.recalled += 1;
        self.statistics.recalled_insns += u64::from(made.insns);
        Some(number)
    }

    fn translate<G: Guest>(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) {
        self.translate_for::<G>(cache, cpu, id, origin(cache, cpu, id), Extent::Sparing);
    }

    /// A block is about to be run, first of all after the run loop has looked at devices. Where code is often about to run it
    /// when its time is up, it is worth a better region. Gives the number of its unit, which may be a new one.
    pub fn sample<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
    ) -> Option<u32> {
        let old = cache.block(id).translated(cpu.data_context());
        if self.paused.take() != Some(cpu.pc) || !cache.sample(id).is_multiple_of(SAMPLES) {
            return old;
        }
        self.grow_further::<G>(cache, cpu, id, old)
    }

    #[cold]
    #[inline(never)]
    fn grow_further<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
        old: Option<u32>,
    ) -> Option<u32> {
        if old.is_some_and(|old| !self.code.unit(old).may_grow) {
            return old;
        }
        cache.ensure_decoded(cpu, id);
        let generations = self.statistics.dropped_generations;
        self.translate_for::<G>(cache, cpu, id, origin(cache, cpu, id), Extent::Whole);
        let new = cache.block(id).translated(cpu.data_context());
        if let (Some(old), Some(new)) = (old, new)
            && old != new
            && generations == self.statistics.dropped_generations
        {
            self.statistics.grown += 1;
            self.code.supersede(old, new);
            let [old, new] = [old, new].map(|unit| self.code.memory.address(self.code.unit(unit).entry));
            cpu.tlb.jumps.supersede(cpu.pc, old, new);
        }
        new
    }

    #[cold]
    #[inline(never)]
    fn translate_for<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
        origin: Origin,
        extent: Extent,
    ) -> Region {
        let began = thread_ns();
        let region = grow::grow::<G>(cache, id, origin.context, extent);
        let may_grow = extent == Extent::Sparing;
        let added = self.add::<G>(&region, origin, id, may_grow, Some(&cpu.ram)).or_else(|Full| {
            self.advance(cache, cpu);
            // What does not fit an empty generation is left to the interpreter.
            self.add::<G>(&region, origin, id, may_grow, Some(&cpu.ram))
        });
        if let Ok(number) = added {
            cache.set_translated(id, origin.context, number);
            self.link_on(cache, id, number);
        }
        self.statistics.translation_ns += thread_ns() - began;
        region
    }

    /// Begins the next generation, in the place of the oldest.
    fn advance<G: Guest>(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        if self.code.advance(cache) {
            self.statistics.dropped_generations += 1;
            cpu.tlb.jumps.forget();
            self.waiting = Waiting::Nothing;
        }
    }

    /// Lowers a region that begins with a block, and gives the number of its unit. It is kept in the code cache if the guest's
    /// code is in this RAM.
    fn add<G: Guest>(
        &mut self,
        region: &Region,
        origin: Origin,
        block: BlockId,
        may_grow: bool,
        ram: Option<&Ram>,
    ) -> Result<u32, Full> {
        let Numbers { first_site, first_link, .. } = self.code.next();
        let request = Request {
            helpers: G::HELPERS,
            vector_scratch: G::VECTOR_SCRATCH,
            float_environment: G::FLOAT_ENVIRONMENT,
            transient: G::TRANSIENT_SLOTS,
            context: origin.context,
            first_site,
            first_link,
        };
        let lowered = self.lowering.lower(region, request);
        let place = region.blocks[0].start as u64;
        let addition = Addition {
            code: lowered.code,
            entry: lowered.entry,
            start: lowered.start,
            first: First::of(region),
            place,
            sites: Sites::Lowered(lowered.sites.to_vec()),
            site_count: lowered.sites.len(),
            links: lowered.links.iter().copied(),
            homes: lowered.homes.to_vec(),
            vector_homes: lowered.vector_homes.to_vec(),
            may_grow,
        };
        let number = self.code.add(addition, origin, block)?;
        if let (Some(kept), Some(ram)) = (&mut self.kept, ram)
            && !ram.has_written_code()
        {
            kept.keep(ram, origin.page, origin.second, |page, second| {
                record::encode(region, entry(origin, place), may_grow, &lowered, &request, page, second)
            });
        }
        self.statistics.regions += 1;
        self.statistics.blocks += region.blocks.len() as u64;
        self.statistics.insns += region.blocks.iter().map(|block| u64::from(block.insns)).sum::<u64>();
        self.statistics.code_bytes += lowered.code.len() as u64;
        Ok(number)
    }

    /// Translates a block on its own and runs it once, as [`crate::eager::run_ir`] does: what is compared with that. Other
    /// code is dropped. `None` if the interpreter is to run the block.
    pub fn run_block<G: Guest>(&mut self, cpu: &mut Cpu<G>, pc: Gva, block: &Block) -> Option<BlockEnd> {
        self.forget(cpu);
        let start = pc.page_offset() as i64;
        let insns = block.ops.iter().filter(|op| op.insn_offset().is_some()).count() as u32;
        let ways = ways_out(block, start);
        // By turns slots have registers and are in memory: both are to be compared.
        let weight = if self.statistics.regions.is_multiple_of(2) { 1 << 10 } else { 1 };
        let alone = RegionBlock { block: block.clone(), start, insns, weight, ways };
        let origin = Origin { page: Page(0), second: None, mode: cpu.mode(), context: cpu.data_context() };
        let number =
            self.add::<G>(&Region { blocks: vec![alone] }, origin, BlockId::NONE, false, None).ok()?;
        // As the run loop does before it runs anything.
        cpu.looked();
        cpu.attention.take();
        // The interpreter does not count, either: while the block runs, the count is what it was.
        let retired = cpu.retired;
        cpu.retired = retired.wrapping_sub(insns.into());
        cpu.pc = pc;
        let end = self.run(cpu, number, 0);
        self.waiting = Waiting::Nothing;
        let index = cpu.retired.wrapping_sub(retired).wrapping_add(insns.into()) as usize;
        cpu.retired = retired;
        Some(match end {
            End::Next if index < insns as usize => BlockEnd::Cut { count: index, next: cpu.pc },
            End::Next => BlockEnd::Next(cpu.pc),
            End::Left(Leave::Trap(trap)) => {
                cpu.pc = pc;
                BlockEnd::Trapped { index, trap }
            }
            End::Left(_) => {
                cpu.pc = pc;
                return None;
            }
        })
    }

    fn forget<G: Guest>(&mut self, cpu: &mut Cpu<G>) {
        self.code.clear();
        self.waiting = Waiting::Nothing;
        cpu.tlb.jumps.forget();
    }

    /// Blocks have other numbers now.
    pub fn renumber(&mut self, blocks: &Renumbered) {
        self.code.renumber(blocks);
    }

    /// Drops the code that was made from a page.
    pub fn invalidate<G: Guest>(&mut self, cpu: &mut Cpu<G>, page: Page) {
        self.waiting = Waiting::Nothing;
        let count = self.code.invalidate(page);
        if count > 0 {
            self.statistics.invalidated += count;
            cpu.tlb.forget_code();
        }
    }

    /// Runs a unit, which the vCPU's pc leads to, until it leaves.
    pub fn run<G: Guest>(&mut self, cpu: &mut Cpu<G>, number: u32, limit: u64) -> End {
        let tag = cpu.context_tag();
        let entry = self.code.memory.address(self.code.unit(number).entry);
        match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Nothing => {}
            Waiting::Jump(pc) if pc == cpu.pc => {
                let context = cpu.fetch_context();
                cpu.tlb.jumps.note(pc, context, tag, entry);
            }
            Waiting::Jump(_) => {}
            Waiting::Link(link, pc) if pc == cpu.pc => self.link(link, number),
            Waiting::Link(..) => {}
        }
        let unit = self.code.unit(number);
        let (start, insns) = (unit.start, unit.insns);
        // The first block runs in any case.
        let left = (limit.saturating_sub(cpu.retired) as i64).max(insns);
        let vcpu = cpu.vcpu();
        let end = cpu.retired.wrapping_add(left as u64);
        let (page_base, began) = (cpu.pc.0 & !PAGE_MASK, cpu.retired);
        let mut run = Run { cpu, vcpu, code: &self.code, end, left: None, statistics: &mut self.statistics };
        let argument = (&raw mut run).cast::<u8>();
        // SAFETY: the vCPU is that of `run.cpu`, which is borrowed exclusively; none of its other fields than these are
        // borrowed here. Its TLB leads into `run.cpu.ram` only, which it owns. Units are lowered for this memory, and
        // are entered where they start. Call-outs have the argument for their own as long as they run.
        unsafe {
            (*vcpu.as_ptr()).links = self.code.memory.links(call_out::<G>, call_helper::<G>, argument);
            (*vcpu.as_ptr()).context_tag = tag;
            (*vcpu.as_ptr()).page_base = page_base;
            (*vcpu.as_ptr()).countdown = left - insns;
            (*vcpu.as_ptr()).withheld = 0;
            (*vcpu.as_ptr()).moved = 0;
            self.code.memory.enter(vcpu, start);
        }
        let left = run.left;
        // SAFETY: as above; generated code has returned.
        let (exit, pc, rest) = unsafe {
            let vcpu = vcpu.as_ptr();
            ((*vcpu).exit, (*vcpu).pc, (*vcpu).countdown.wrapping_add((*vcpu).withheld))
        };
        let retired = end.wrapping_sub(rest as u64);
        self.statistics.retired += retired.wrapping_sub(began);
        cpu.retired = retired;
        self.statistics.entries += 1;
        match exit {
            EXIT_SITE => {
                cpu.pc = Gva(pc);
                match left {
                    Some(Leave::Look) | None => {
                        self.statistics.pauses += 1;
                        End::Next
                    }
                    Some(leave) => {
                        self.statistics.traps += u64::from(matches!(leave, Leave::Trap(_)));
                        self.statistics.interpreted += u64::from(leave == Leave::Interpret);
                        End::Left(leave)
                    }
                }
            }
            number if number >= EXIT_UNLINKED => {
                let link = (number - EXIT_UNLINKED) as u32;
                self.statistics.unlinked += 1;
                // SAFETY: as above.
                let page_base = unsafe { (*vcpu.as_ptr()).page_base };
                cpu.pc = grow::address(page_base, self.code.link(link).to);
                self.waiting = Waiting::Link(link, cpu.pc);
                End::Next
            }
            exit => {
                cpu.pc = Gva(pc);
                if exit == EXIT_JUMP {
                    self.waiting = Waiting::Jump(cpu.pc);
                    self.statistics.jump_misses += 1;
                } else {
                    self.paused = Some(cpu.pc);
                    self.statistics.pauses += 1;
                }
                End::Next
            }
        }
    }

    /// Lets the ways out of a new unit lead to what there is already.
    fn link_on<I: Copy>(&mut self, cache: &BlockCache<I>, id: BlockId, number: u32) {
        for link in self.code.links_of(number) {
            let to = cache.neighbour(id, self.code.link(link).to);
            let context = self.code.unit(number).origin.context;
            if let Some(unit) = to.and_then(|to| cache.block(to).translated(context)) {
                self.link(link, unit);
            }
        }
    }

    /// Lets a way out lead to a unit.
    fn link(&mut self, link: u32, to: u32) {
        let LinkState { from, to: place, .. } = *self.code.link(link);
        let (from, unit) = (self.code.unit(from), self.code.unit(to));
        if !from.live || !unit.live {
            return;
        }
        // Ways lead to the same page: what is mapped there has changed since if it is not.
        if (Origin { second: None, ..from.origin }) != (Origin { second: None, ..unit.origin }) {
            return;
        }
        if unit.origin.second.is_none() {
            self.code.connect(link, to);
        } else {
            // Whether it may run depends on where its second page is mapped: the jump cache knows.
            self.code.add_way(link, &lower_jump(place));
        }
    }
}

/// What code that begins with a block is made from, and for.
fn origin<G: Guest>(cache: &BlockCache<G::Insn>, cpu: &Cpu<G>, id: BlockId) -> Origin {
    let block = cache.block(id);
    let (page, second) = (Page::of(block.gpa()), block.second());
    Origin { page, second, mode: cpu.mode(), context: cpu.data_context() }
}

/// How code is entered that starts at a place of its page.
fn entry(origin: Origin, place: u64) -> Entry {
    Entry { mode: origin.mode, context: origin.context as u8, place: place as u16 }
}

/// What sites call.
///
/// # Safety
/// `argument` is the `Run` that the code was entered with, `site` the number of one of its sites.
unsafe extern "sysv64" fn call_out<G: Guest>(argument: *mut u8, site: u64) -> u64 {
    // SAFETY: the caller's promise; the run loop does not touch it before the code returns.
    let run = unsafe { &mut *argument.cast::<Run<'_, G>>() };
    u64::from(run.site(site as u32))
}

/// What calls of helpers call.
///
/// # Safety
/// As for [`call_out`]; `helper` is the number of one of the guest's helpers.
unsafe extern "sysv64" fn call_helper<G: Guest>(argument: *mut u8, site: u64, helper: u64) -> Helped {
    // SAFETY: as in `call_out`.
    let run = unsafe { &mut *argument.cast::<Run<'_, G>>() };
    match run.helper(site as u32, HelperId(helper as u16)) {
        Some(result) => Helped { result, leaves: 0 },
        None => Helped { result: 0, leaves: 1 },
    }
}

impl<G: Guest> Run<'_, G> {
    /// Runs a helper; `None` if the code is to be left. What it may touch is in memory, and so is the count.
    #[inline(always)]
    fn helper(&mut self, number: u32, id: HelperId) -> Option<u64> {
        let vcpu = self.vcpu.as_ptr();
        // SAFETY: generated code waits for this function; of the vCPU only these fields are borrowed, and nobody else
        // borrows them.
        let (countdown, withheld, arguments) =
            unsafe { (&mut (*vcpu).countdown, &mut (*vcpu).withheld, (*vcpu).helper_arguments) };
        let cpu = &mut *self.cpu;
        cpu.retired = self.end.wrapping_sub(countdown.wrapping_add(*withheld) as u64);
        self.statistics.call_outs += 1;
        self.statistics.helpers += 1;
        let before = (cpu.fetch_epoch(), cpu.data_context());
        match G::helper(cpu, id, arguments) {
            Ok(result) => {
                self.settle(before);
                if self.cpu.needs_look() && *countdown >= 0 {
                    *withheld += *countdown + 1;
                    *countdown = -1;
                }
                Some(result)
            }
            Err(trap) => {
                let (site, _) = self.code.site(number);
                *countdown += i64::from(site.unretired);
                self.left = Some(Leave::Trap(trap));
                // SAFETY: as above.
                unsafe { (*vcpu).pc = grow::address((*vcpu).page_base, site.insn).0 };
                None
            }
        }
    }

    /// After what was called: code that was written is to be looked at, and what moved is looked up afresh. `before` are
    /// fetch epoch and data context before it.
    #[inline(always)]
    fn settle(&mut self, before: (u64, usize)) {
        let cpu = &mut *self.cpu;
        if cpu.ram.has_written_code() {
            cpu.recheck_interrupts();
        }
        if (cpu.fetch_epoch(), cpu.data_context()) != before {
            let vcpu = self.vcpu.as_ptr();
            // SAFETY: generated code waits, and nobody borrows these fields of the vCPU.
            unsafe {
                (*vcpu).context_tag = cpu.context_tag();
                (*vcpu).moved = 1;
            }
        }
    }

    /// Does what a site asks for; true if the code is to be left.
    fn site(&mut self, number: u32) -> bool {
        let (site, Unit { homes, vector_homes, .. }) = self.code.site(number);
        let vcpu = self.vcpu.as_ptr();
        // SAFETY: generated code waits for this function; of the vCPU only these fields are borrowed, and nobody else
        // borrows them.
        let (saved, vectors, spill, withheld) = unsafe {
            (&mut (*vcpu).saved, &mut (*vcpu).saved_vectors, &(*vcpu).spill, &mut (*vcpu).withheld)
        };
        const COUNT: usize = 15;
        let value = |saved: &[u64; 16], place: Place| match place {
            Place::Const(number) => number,
            Place::Reg(reg) => saved[usize::from(reg.0)],
            Place::Spill(place) => spill[usize::from(place)],
        };
        self.statistics.call_outs += 1;
        let cpu = &mut *self.cpu;
        cpu.retired = self.end.wrapping_sub(saved[COUNT].wrapping_add_signed(*withheld));
        let mut operands = [0; 4];
        for (operand, &place) in operands.iter_mut().zip(&site.operands[..usize::from(site.count)]) {
            *operand = value(saved, place);
        }
        let before = (cpu.fetch_epoch(), cpu.data_context());
        let mut written_back = false;
        let result = match site.op {
            Op::Helper { id, .. } => {
                let effects = G::HELPERS[usize::from(id.0)].effects;
                self.statistics.helpers += 1;
                if effects.reads_state || effects.writes_state {
                    write_back(cpu, homes, saved);
                    write_back_vectors(cpu, vector_homes, vectors);
                    written_back = true;
                }
                let result = G::helper(cpu, id, operands).map_err(Leave::from);
                if effects.writes_state && result.is_ok() {
                    for home in homes {
                        saved[usize::from(home.reg.0)] = cpu.slots[usize::from(home.slot.0)];
                    }
                    for home in vector_homes {
                        vectors[usize::from(home.reg.0)] = cpu.vector(home.slot);
                    }
                }
                result
            }
            op => {
                let mut any = false;
                op.for_each_vector(|_| any = true);
                if any {
                    write_back_vectors(cpu, vector_homes, vectors);
                }
                let result = carry_out(cpu, &op, operands);
                let written = op.vector_written();
                if let Some(home) = vector_homes.iter().find(|home| Some(home.slot) == written) {
                    vectors[usize::from(home.reg.0)] = cpu.vector(home.slot);
                }
                result
            }
        };
        match result {
            Ok(result) => {
                if let Some(reg) = site.result {
                    saved[usize::from(reg.0)] = result;
                }
                self.settle(before);
                if self.cpu.needs_look() && saved[COUNT] as i64 >= 0 {
                    *withheld += saved[COUNT] as i64 + 1;
                    saved[COUNT] = u64::MAX;
                }
                false
            }
            Err(leave) => {
                if !written_back {
                    write_back(cpu, homes, saved);
                    write_back_vectors(cpu, vector_homes, vectors);
                }
                for &(Slot(slot), place) in &site.pending {
                    cpu.slots[usize::from(slot)] = value(saved, place);
                }
                saved[COUNT] = saved[COUNT].wrapping_add(site.unretired.into());
                self.left = Some(leave);
                // SAFETY: as above.
                unsafe { (*vcpu).pc = grow::address((*vcpu).page_base, site.insn).0 };
                true
            }
        }
    }
}

/// Writes pairs of slots that are in vector registers back to memory.
fn write_back_vectors<G: Guest>(cpu: &mut Cpu<G>, homes: &[VectorHome], saved: &[[u64; 2]; 16]) {
    for home in homes {
        cpu.set_vector(home.slot, saved[usize::from(home.reg.0)]);
    }
}

/// Writes slots that are in registers back to memory.
fn write_back<G: Guest>(cpu: &mut Cpu<G>, homes: &[Home], saved: &[u64; 16]) {
    for home in homes {
        cpu.slots[usize::from(home.slot.0)] = saved[usize::from(home.reg.0)];
    }
}

//! The translator whose code an optimizing compiler makes: wasm modules in wasmtime, or Cranelift's own.
//!
//! Compiling a region takes a thousand times as long as running it once, so that by default a thread does it while the
//! interpreter goes on. What is compiled of a page that was written in the meantime is never installed.
//!
//! What an earlier run has compiled is taken from the code cache before its first block is even decoded. That costs as much as
//! interpreting a block some hundred times, but only what ran often is in there.

use super::call_out::Leave;
use super::grow::{self, Extent, SAMPLES};
use super::kept::{Begun, CompiledCache, Found};
use super::worker::{Answer, Worker};
use super::{CodeCache, End, Origin, TranslatorStatistics, thread_ns, warm_blocks};
use crate::addr::{Gpa, Gva, Page};
use crate::cache::{BlockCache, BlockId, Recalled, Renumbered};
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::host::regions::{CallOuts, CodeId, Compiler, HostError, Left, LinkCell, RegionHost};
use crate::ir::region::Region;
use crate::lower::links::Plan;
use std::collections::{HashMap, HashSet};
use std::io;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

/// Runs of a block before it is translated, unless somebody says otherwise.
pub const THRESHOLD: u32 = 300;
/// Runs of a block after which code is worth being compiled for a later run of the program: interpreting them takes as long as
/// taking it from the cache.
const WARM: u32 = 100;
/// Regions that the compiler has at most. Few, so that it is not behind: blocks that find no room wait, and the hottest of them
/// is next.
const MAX_PENDING: usize = 2;
/// Blocks that wait at most; others ask again after as many runs.
const MAX_DUE: usize = 1 << 10;
/// Blocks that the interpreter runs between looks whether something has been compiled.
const POLL: u32 = 64;

struct Unit {
    origin: Origin,
    first: First,
    live: bool,
    /// It may be compiled anew over more blocks.
    may_grow: bool,
}

/// The first block of a unit.
#[derive(Clone, Copy)]
struct First {
    /// Where in its page it starts.
    place: u64,
    insns: u16,
    len_bytes: u16,
}

/// A region that is being compiled.
struct Pending {
    id: BlockId,
    origin: Origin,
    first: First,
    cells: Range<u32>,
    /// What is kept of it.
    begun: Option<Begun>,
    may_grow: bool,
    /// Its page was written.
    stale: bool,
}

/// What code was left by that did not know where to go on.
enum Waiting {
    Nothing,
    Link(LinkCell, Gva),
    Jump(Gva),
}

/// Translates and keeps what it translated.
pub struct CompiledTranslator<G: Guest, H: RegionHost<G>> {
    host: H,
    compiler: CompilerPlace<H::Compiler>,
    /// Where code comes from that an earlier run compiled, and where this one's goes.
    kept: Option<CompiledCache>,
    units: Vec<Unit>,
    /// By origin and place, the newest one, dead or alive.
    entries: HashMap<(Origin, u64), u32>,
    /// The unit that each link cell is a way out of.
    cells: Vec<Option<u32>>,
    pages: HashMap<Page, Vec<u32>>,
    /// What the worker is at, by number of the job. Answers that have no entry are of code that was dropped.
    pending: HashMap<u64, Pending>,
    /// Blocks that wait until the compiler has room.
    due: Vec<BlockId>,
    polls: u32,
    waiting: Waiting,
    /// Where code was left because its time was up.
    paused: Option<Gva>,
    threshold: u32,
    statistics: TranslatorStatistics,
    guest: PhantomData<fn(&mut G)>,
}

/// Who compiles.
enum CompilerPlace<C: Compiler> {
    /// This thread, at once.
    Here(C),
    /// Another thread.
    Worker(CompileThread<C>),
}

type CompileThread<C> = Worker<(Region, Plan), Result<<C as Compiler>::Compiled, HostError>>;

type CompiledBy<G, H> = <<H as RegionHost<G>>::Compiler as Compiler>::Compiled;

impl<G: Guest, H: RegionHost<G>> CompiledTranslator<G, H> {
    /// A translator for the vCPU of this host's memory, which compiles in the background or at once.
    pub fn new(host: H, threshold: u32, background: bool) -> Self {
        let thread = || {
            let mut compiler = host.compiler();
            Worker::new(move |(region, plan): (Region, Plan)| compiler.compile(&region, plan)).ok()
        };
        let compiler = match background.then(thread).flatten() {
            Some(thread) => CompilerPlace::Worker(thread),
            None => CompilerPlace::Here(host.compiler()),
        };
        Self {
            host,
            compiler,
            kept: None,
            units: Vec::new(),
            entries: HashMap::new(),
            cells: Vec::new(),
            pages: HashMap::new(),
            pending: HashMap::new(),
            due: Vec::new(),
            polls: 0,
            waiting: Waiting::Nothing,
            paused: None,
            threshold: threshold.max(1),
            statistics: TranslatorStatistics::default(),
            guest: PhantomData,
        }
    }

    /// Looks for code in a cache from now on before it compiles, and keeps there what it compiles.
    pub fn keep(&mut self, cache: CodeCache) {
        self.kept = Some(CompiledCache::new(cache));
    }

    /// Writes what is to be kept. Before that, code that has run often is compiled for the next run, the hottest first, for so
    /// long; this run is over. Where next to all code was there already, nothing is done: each run meets a little that the
    /// others do not.
    ///
    /// # Errors
    /// The host's.
    pub fn save(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        effort: Duration,
    ) -> io::Result<()> {
        let Some(mut kept) = self.kept.take() else { return Ok(()) };
        let until = thread_ns().saturating_add(effort.as_nanos() as u64);
        let Some(warm) = warm_blocks(cache, cpu, WARM, &self.statistics) else { return Ok(()) };
        // What is come to by a static way from the same page is part of what begins there, most likely.
        let mut covered = HashSet::new();
        let mut compiler = self.host.compiler();
        for id in warm {
            if thread_ns() >= until {
                break;
            }
            let (block, origin) = (cache.block(id), last_origin(cache, id));
            let (page, place) = (origin.page, block.page_offset());
            if !block.was_entered() && covered.contains(&(page, place, origin.mode))
                || kept.find(&cpu.ram, &origin, place).is_some()
            {
                continue;
            }
            let region = grow::grow::<G>(cache, id, origin.context, Extent::Sparing);
            covered.extend(region.blocks.iter().map(|block| (page, block.start as u64, origin.mode)));
            let Ok(plan) = self.host.plan(&region, origin.context) else { break };
            let begun = kept.begin(&cpu.ram, &origin, &region, true, &plan.links);
            if let (Some(begun), Ok(compiled)) = (begun, compiler.compile(&region, plan))
                && let Some(code) = self.host.keep(&compiled)
            {
                kept.finish(begun, &code);
            }
        }
        kept.save()
    }

    /// What it has done so far.
    pub fn statistics(&self) -> TranslatorStatistics {
        let CallOuts { all, helpers } = self.host.call_outs();
        TranslatorStatistics { call_outs: all, helpers, ..self.statistics }
    }

    /// Counts a run of a block by the interpreter, and translates it when that pays.
    #[inline]
    pub fn heat_up(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) {
        if cache.heat_up(id, cpu.data_context()).is_multiple_of(self.threshold)
            // For another context, or because it was dropped.
            && self.adopt(cache, cpu, id).is_none()
        {
            self.translate(cache, cpu, id, true);
        }
        if !self.pending.is_empty() {
            self.polls = self.polls.wrapping_add(1);
            if self.polls.is_multiple_of(POLL) {
                self.collect(cache, cpu);
            }
        }
    }

    /// A block is about to be run, first of all after the run loop has looked at devices. Where code is often about to run it
    /// when its time is up, it is worth a better region. Gives the number of its unit.
    pub fn sample(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) -> Option<u32> {
        let unit = cache.block(id).translated(cpu.data_context());
        let may_grow = || unit.is_none_or(|number| self.units[number as usize].may_grow);
        if self.paused.take() == Some(cpu.pc) && cache.sample(id).is_multiple_of(SAMPLES) && may_grow() {
            cache.ensure_decoded(cpu, id);
            self.translate(cache, cpu, id, false);
        }
        cache.block(id).translated(cpu.data_context())
    }

    /// Lets a block that is about to be made lead to what was compiled of the same code before: in an earlier run, or in this
    /// one.
    #[cold]
    #[inline(never)]
    pub fn recall(&mut self, cpu: &mut Cpu<G>, gpa: Gpa) -> Option<Recalled> {
        // What crosses into another page depends on where that is mapped.
        let (page, mode, context) = (Page::of(gpa), cpu.mode(), cpu.data_context());
        let number = self.find(cpu, Origin { page, second: None, mode, context }, gpa.page_offset())?;
        let First { insns, len_bytes, .. } = self.units[number as usize].first;
        Some(Recalled { number, count: insns, len_bytes })
    }

    /// The same for a block that has been made; gives the number of the unit.
    #[cold]
    #[inline(never)]
    pub fn adopt(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) -> Option<u32> {
        let origin = origin(cache, cpu, id);
        let number = self.find(cpu, origin, cache.block(id).page_offset())?;
        cache.set_translated(id, origin.context, number);
        Some(number)
    }

    /// The number of a unit, one that is there already or one from the cache. Without a cache, there is none.
    fn find(&mut self, cpu: &mut Cpu<G>, origin: Origin, place: u64) -> Option<u32> {
        let kept = self.kept.as_ref()?;
        let known = self.entries.get(&(origin, place)).copied();
        if let Some(number) = known.filter(|&number| self.units[number as usize].live) {
            return Some(number);
        }
        if cpu.ram.has_written_code() {
            return None;
        }
        let Found { first, insns, may_grow, links, code, ranges } = kept.find(&cpu.ram, &origin, place)?;
        let began = thread_ns();
        // If there is no room it is translated when it is hot, which makes some.
        let plan = self.host.plan_links(links, origin.context).ok()?;
        let cells = plan.cells();
        let compiled = self.host.revive(code, plan)?;
        for (page, start, len_bytes) in ranges {
            cpu.note_code(page, start, len_bytes);
        }
        let (first_insns, len_bytes) = first;
        let first = First { place, insns: first_insns, len_bytes };
        let number = self.add(origin, first, cells, may_grow, &compiled).ok()?;
        self.statistics.recalled += 1;
        self.statistics.recalled_insns += insns;
        self.statistics.translation_ns += thread_ns() - began;
        Some(number)
    }

    #[cold]
    #[inline(never)]
    fn translate(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId, may_grow: bool) {
        let waits = |pending: &Pending| pending.id == id && pending.origin == origin(cache, cpu, id);
        if self.pending.values().any(waits) {
            return;
        }
        if self.pending.len() < MAX_PENDING {
            self.translate_for(cache, cpu, id, origin(cache, cpu, id), may_grow);
        } else if may_grow && self.due.len() < MAX_DUE && !self.due.contains(&id) {
            self.due.push(id);
        }
    }

    /// Translates the hottest blocks of those that have waited, for what they ran in last, as far as the compiler has room.
    fn translate_due(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        while self.pending.len() < MAX_PENDING {
            self.due.retain(|&id| {
                cache.is_live(id) && cache.block(id).translated(cache.block(id).context()).is_none()
            });
            let heat = |at: &usize| cache.block(self.due[*at]).heat();
            let Some(at) = (0..self.due.len()).max_by_key(heat) else { break };
            let id = self.due.swap_remove(at);
            let origin = last_origin(cache, id);
            if !self.pending.values().any(|pending| pending.id == id && pending.origin == origin) {
                self.translate_for(cache, cpu, id, origin, true);
            }
        }
    }

    fn translate_for(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
        origin: Origin,
        may_grow: bool,
    ) {
        let began = thread_ns();
        // Leaving a region costs more than in native code, and compiling it costs another thread: none is sparing.
        let (region, jumps) = grow::grow_over_jumps::<G>(cache, id, origin.context);
        let Ok(plan) = self.host.plan(&region, origin.context) else { return self.flush(cache, cpu) };
        let plan = Plan { jumps, ..plan };
        let kept = self.kept.as_ref().filter(|_| !cpu.ram.has_written_code());
        let begun = kept.and_then(|kept| kept.begin(&cpu.ram, &origin, &region, may_grow, &plan.links));
        let cells = plan.cells();
        let entry = &region.blocks[0];
        let first =
            First { place: entry.start as u64, insns: entry.insns as u16, len_bytes: entry.block.len_bytes };
        let pending = Pending { id, origin, first, cells, begun, may_grow, stale: false };
        self.statistics.blocks += region.blocks.len() as u64;
        self.statistics.insns += region.blocks.iter().map(|block| u64::from(block.insns)).sum::<u64>();
        match &mut self.compiler {
            CompilerPlace::Worker(worker) => {
                self.pending.insert(worker.request((region, plan)), pending);
                worker.hurry();
            }
            CompilerPlace::Here(compiler) => {
                let compiled = compiler.compile(&region, plan);
                self.install(cache, cpu, pending, compiled);
            }
        }
        self.statistics.translation_ns += thread_ns() - began;
    }

    /// Installs what has been compiled.
    fn collect(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        while let CompilerPlace::Worker(worker) = &self.compiler
            && let Some(Answer { number, made: compiled, took_ns }) = worker.answer()
        {
            self.statistics.background_ns += took_ns;
            if let Some(pending) = number.and_then(|number| self.pending.remove(&number))
                && !pending.stale
            {
                self.install(cache, cpu, pending, compiled);
            }
        }
        self.translate_due(cache, cpu);
    }

    /// Installs and keeps what this run has compiled.
    fn install(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        mut pending: Pending,
        compiled: Result<CompiledBy<G, H>, HostError>,
    ) {
        if let (Some(kept), Ok(compiled)) = (&mut self.kept, &compiled)
            && let Some(begun) = pending.begun.take()
            && let Some(code) = self.host.keep(compiled)
        {
            kept.finish(begun, &code);
        }
        let Pending { id, origin, first, cells, may_grow, .. } = pending;
        match compiled.and_then(|compiled| self.add(origin, first, cells, may_grow, &compiled)) {
            Ok(number) => {
                if let Some(old) = cache.block(id).translated(origin.context) {
                    self.units[old as usize].live = false;
                    self.host.unlink(CodeId(old));
                    cpu.tlb.forget_code();
                    self.statistics.grown += 1;
                }
                cache.set_translated(id, origin.context, number);
                self.statistics.regions += 1;
            }
            Err(HostError::Full) => self.flush(cache, cpu),
            Err(error) => panic!("every region compiles: {error}"),
        }
    }

    /// Adds a unit.
    fn add(
        &mut self,
        origin: Origin,
        first: First,
        cells: Range<u32>,
        may_grow: bool,
        compiled: &CompiledBy<G, H>,
    ) -> Result<u32, HostError> {
        let CodeId(number) = self.host.install(compiled)?;
        debug_assert_eq!(number as usize, self.units.len());
        self.cells.resize(self.cells.len().max(cells.end as usize), None);
        self.cells[cells.start as usize..cells.end as usize].fill(Some(number));
        for page in origin.pages() {
            self.pages.entry(page).or_default().push(number);
        }
        self.units.push(Unit { origin, first, live: true, may_grow });
        self.entries.insert((origin, first.place), number);
        self.statistics.code_bytes = self.host.code_bytes();
        Ok(number)
    }

    fn flush(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        self.clear(cache, cpu);
        self.statistics.dropped_generations += 1;
    }

    /// Drops all code.
    pub fn clear(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        self.host.discard().expect("it can begin as it began at first");
        self.units.clear();
        self.entries.clear();
        self.cells.clear();
        self.pages.clear();
        self.pending.clear();
        self.due.clear();
        self.waiting = Waiting::Nothing;
        cpu.tlb.jumps.forget();
        cache.forget_translated();
    }

    /// Blocks have other numbers now.
    pub fn renumber(&mut self, blocks: &Renumbered) {
        for pending in self.pending.values_mut() {
            pending.id = blocks.of(pending.id);
            pending.stale |= pending.id == BlockId::NONE;
        }
        self.due.iter_mut().for_each(|id| *id = blocks.of(*id));
        self.due.retain(|&id| id != BlockId::NONE);
    }

    /// Drops the code that was made from a page.
    pub fn invalidate(&mut self, cpu: &mut Cpu<G>, page: Page) {
        self.waiting = Waiting::Nothing;
        for pending in self.pending.values_mut() {
            pending.stale |= pending.origin.pages().any(|of| of == page);
        }
        for number in self.pages.remove(&page).unwrap_or_default() {
            if std::mem::replace(&mut self.units[number as usize].live, false) {
                self.host.unlink(CodeId(number));
                cpu.tlb.forget_code();
                self.statistics.invalidated += 1;
            }
        }
    }

    /// Runs a unit, which the vCPU's pc leads to, until it leaves.
    pub fn run(&mut self, cpu: &mut Cpu<G>, number: u32, limit: u64) -> End {
        match std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            Waiting::Jump(pc) if pc == cpu.pc => self.host.note_jump(cpu, pc, CodeId(number)),
            Waiting::Link(cell, pc) if pc == cpu.pc => self.link(cell, number),
            _ => {}
        }
        // The first block runs in any case.
        let budget = limit.saturating_sub(cpu.retired).max(self.units[number as usize].first.insns.into());
        let began = cpu.retired;
        let left = self.host.enter(cpu, CodeId(number), budget);
        self.statistics.entries += 1;
        self.statistics.retired += cpu.retired.wrapping_sub(began);
        match left.expect("regions reach only their memory") {
            Left::Countdown => {
                self.paused = Some(cpu.pc);
                self.statistics.pauses += 1;
                End::Next
            }
            Left::Jump => {
                self.statistics.jump_misses += 1;
                self.waiting = Waiting::Jump(cpu.pc);
                End::Next
            }
            Left::Unlinked(cell) => {
                self.statistics.unlinked += 1;
                self.waiting = Waiting::Link(cell, cpu.pc);
                End::Next
            }
            Left::Trapped(trap) => {
                self.statistics.traps += 1;
                End::Left(Leave::Trap(trap))
            }
            Left::Interpret => {
                self.statistics.interpreted += 1;
                End::Left(Leave::Interpret)
            }
        }
    }

    /// Lets a way out lead to a unit.
    fn link(&mut self, cell: LinkCell, to: u32) {
        let Some(from) = self.cells[cell.0 as usize] else { return };
        let (from, unit) = (&self.units[from as usize], &self.units[to as usize]);
        // Ways lead to the same page: what is mapped there has changed since if it is not. Whether code that goes on in
        // another page may run depends on where that is mapped.
        let same = Origin { second: None, ..from.origin } == unit.origin;
        if from.live && unit.live && same {
            self.host.link(cell, CodeId(to));
        }
    }
}

/// What code that begins with a block is made from, and for.
fn origin<G: Guest>(cache: &BlockCache<G::Insn>, cpu: &Cpu<G>, id: BlockId) -> Origin {
    let block = cache.block(id);
    let (page, second) = (Page::of(block.gpa()), block.second());
    Origin { page, second, mode: cpu.mode(), context: cpu.data_context() }
}

/// The same for what the interpreter ran it in last.
fn last_origin<I: Copy>(cache: &BlockCache<I>, id: BlockId) -> Origin {
    let block = cache.block(id);
    let (page, second) = (Page::of(block.gpa()), block.second());
    Origin { page, second, mode: block.mode(), context: block.context() }
}

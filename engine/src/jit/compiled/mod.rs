//! The translator whose code a compiler of functions makes: wasm modules in wasmtime, or Cranelift's own.
//!
//! Compiling a region takes a thousand times as long as running it once, so that by default a thread does it while the
//! interpreter goes on. What is compiled of a page that was written in the meantime never runs. Where there is a quick compiler,
//! it compiles what has become hot, much of it together if much is waiting; what is found to run when time is up is compiled
//! anew by the better one. `queue` says what comes next, `recall` what comes from the code cache.

mod queue;
mod recall;

use super::call_out::Leave;
use super::grow::{self, Extent, SAMPLES};
use super::kept::{Begun, CompiledCache};
use super::worker::{Answer, Worker};
use super::{End, Origin, TranslatorStatistics, thread_ns};
use crate::addr::{Gva, Page};
use crate::cache::{BlockCache, BlockId, Renumbered};
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::host::regions::{CallOuts, CodeId, Compiler, HostError, Left, LinkCell, RegionHost};
use crate::ir::region::Region;
use crate::lower::links::Plan;
use queue::Queue;
use std::collections::{HashMap, HashSet, VecDeque};
use std::marker::PhantomData;
use std::ops::Range;

/// Runs of a block before it is translated.
const THRESHOLD: u32 = 300;
/// The same where there is a quick compiler.
const QUICK_THRESHOLD: u32 = 100;
/// So many blocks that wait can well be compiled well.
const FEW: usize = 2;
/// Runs of a block that waits after which it is compiled well at once, whatever else waits: it is a loop that takes all the time.
const HOT: u32 = 3000;
/// Instructions that are compiled quickly at a time: as long as they take, nothing of them runs.
const QUICK_INSNS: u64 = 200;
/// What the compiler has to do at most. Little, so that it is not behind: blocks that find no room wait, and the hottest of them
/// are next.
const MAX_PENDING: usize = 2;
/// Instructions by which time is up sooner than it must be, at most. A loop that takes a part of the time between two looks would
/// be found at the same place each time.
const JITTER: u64 = 1 << 10;
/// Blocks that the interpreter runs between looks whether something has been compiled.
const POLL: u32 = 64;

struct Unit {
    origin: Origin,
    first: First,
    live: bool,
    /// It may be compiled anew over more blocks.
    may_grow: bool,
    /// It is of a module from the code cache, and nobody knows yet what it was made from.
    is_unclaimed: bool,
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
struct Part {
    id: BlockId,
    origin: Origin,
    first: First,
    cells: Range<u32>,
    /// What is kept of it.
    begun: Option<Begun>,
    /// Its page was written.
    stale: bool,
}

/// Regions that are being compiled together.
struct Pending {
    parts: Vec<Part>,
    may_grow: bool,
}

/// What the compiler is asked for.
struct Job {
    regions: Vec<(Region, Plan)>,
    is_quick: bool,
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
    /// The first unit of each module that came from the code cache.
    modules: HashMap<u128, u32>,
    /// The unit that each link cell is a way out of.
    cells: Vec<Option<u32>>,
    pages: HashMap<Page, Vec<u32>>,
    /// What the worker is at, by number of the job. Answers that have no entry are of code that was dropped.
    pending: HashMap<u64, Pending>,
    /// Blocks that wait until the compiler has room.
    queue: Queue,
    polls: u32,
    waiting: Waiting,
    /// Where code was left because its time was up.
    paused: Option<Gva>,
    random: u64,
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

type CompileThread<C> = Worker<Job, Result<<C as Compiler>::Compiled, HostError>>;

type CompiledBy<G, H> = <<H as RegionHost<G>>::Compiler as Compiler>::Compiled;

fn compile<C: Compiler>(compiler: &mut C, job: Job) -> Result<C::Compiled, HostError> {
    let Job { mut regions, is_quick } = job;
    if is_quick {
        return compiler.compile_quickly(regions);
    }
    let (region, plan) = regions.pop().expect("a job is of a region");
    compiler.compile(&region, plan)
}

impl<G: Guest, H: RegionHost<G>> CompiledTranslator<G, H> {
    const IS_QUICK: bool = H::Compiler::IS_QUICK;

    /// One that compiles in the background, and as readily as is good for the host's compiler.
    pub fn in_background(host: H) -> Self {
        Self::new(host, if Self::IS_QUICK { QUICK_THRESHOLD } else { THRESHOLD }, true)
    }

    /// A translator for the vCPU of this host's memory, which compiles in the background or at once.
    pub fn new(host: H, threshold: u32, background: bool) -> Self {
        let thread = || {
            let mut compiler = host.compiler();
            Worker::new(move |job: Job| compile(&mut compiler, job)).ok()
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
            modules: HashMap::new(),
            cells: Vec::new(),
            pages: HashMap::new(),
            pending: HashMap::new(),
            queue: Queue::default(),
            polls: 0,
            waiting: Waiting::Nothing,
            paused: None,
            random: 0,
            threshold: threshold.max(1),
            statistics: TranslatorStatistics::default(),
            guest: PhantomData,
        }
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
            self.translate(cache, cpu, id);
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
        if self.paused.take() == Some(cpu.pc)
            && (Self::IS_QUICK || cache.sample(id).is_multiple_of(SAMPLES))
            && self.may_be_better(cache, id, cpu.data_context())
        {
            self.translate_again(cache, cpu, id);
        }
        if !self.pending.is_empty() {
            self.collect(cache, cpu);
        }
        cache.block(id).translated(cpu.data_context())
    }

    /// Has a block that has become hot translated as soon as the compiler has room, or at once if there is no thread.
    #[cold]
    #[inline(never)]
    fn translate(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) {
        if !self.is_pending(id, &Origin::of(cache.block(id), cpu.data_context())) {
            cache.ensure_decoded(cpu, id);
            self.queue.add_hot(id);
            self.translate_next(cache, cpu);
        }
    }

    /// The same for one of which better code is worth it.
    #[cold]
    #[inline(never)]
    fn translate_again(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) {
        let context = cpu.data_context();
        if !self.is_pending(id, &Origin::of(cache.block(id), context)) {
            cache.ensure_decoded(cpu, id);
            self.queue.add_again(id, context);
            self.translate_next(cache, cpu);
        }
    }

    /// Whether there is better code to be had of a block than what there is.
    fn may_be_better(&self, cache: &BlockCache<G::Insn>, id: BlockId, context: usize) -> bool {
        let unit = cache.block(id).translated(context);
        cache.is_live(id) && unit.is_none_or(|number| self.units[number as usize].may_grow)
    }

    fn is_pending(&self, id: BlockId, origin: &Origin) -> bool {
        let is_it = |part: &Part| part.id == id && part.origin == *origin;
        self.pending.values().any(|pending| pending.parts.iter().any(is_it))
    }

    /// Translates what is next, as far as the compiler has room.
    fn translate_next(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        while self.pending.len() < MAX_PENDING
            && let Some(had_room) = self.translate_one(cache, cpu)
        {
            if !had_room {
                self.flush(cache, cpu);
            }
        }
    }

    /// Translates what is next, and says whether there was room for it. `None` if nothing waits.
    fn translate_one(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) -> Option<bool> {
        // For what the interpreter ran them in last.
        self.queue.retain_hot(|&id| {
            cache.is_live(id) && cache.block(id).translated(cache.block(id).context()).is_none()
        });
        let least_samples = if Self::IS_QUICK { SAMPLES.into() } else { 1 };
        if let Some((id, context)) = self.queue.take_again(least_samples) {
            let is_worth_it = self.may_be_better(cache, id, context);
            return Some(!is_worth_it || self.translate_well(cache, cpu, id, context, false));
        }
        let mut hot = self.queue.take_hot(|id| cache.block(id).heat());
        let &hottest = hot.front()?;
        let had_room = if Self::IS_QUICK && hot.len() > FEW && cache.block(hottest).heat() < HOT {
            self.translate_quickly(cache, cpu, &mut hot)
        } else {
            hot.pop_front();
            self.translate_well(cache, cpu, hottest, cache.block(hottest).context(), true)
        };
        self.queue.put_back(hot);
        Some(had_room)
    }

    /// Translates a block, and what it reaches, as well as can be; false if there is no room.
    fn translate_well(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
        context: usize,
        may_grow: bool,
    ) -> bool {
        let began = thread_ns();
        // Leaving a region costs more than in native code, and compiling it costs another thread: none is sparing.
        let (region, jumps) = grow::grow_over_jumps::<G>(cache, id, context);
        let Some((part, plan)) = self.plan(cpu, id, Origin::of(cache.block(id), context), &region, may_grow)
        else {
            return false;
        };
        let job = Job { regions: vec![(region, Plan { jumps, ..plan })], is_quick: false };
        self.compile(cache, cpu, Pending { parts: vec![part], may_grow }, job);
        self.statistics.translation_ns += thread_ns() - began;
        true
    }

    /// Translates the first of these blocks together, with the likeliest of what they reach, as soon as can be; false if there
    /// is no room.
    fn translate_quickly(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        hot: &mut VecDeque<BlockId>,
    ) -> bool {
        let began = thread_ns();
        let (mut parts, mut regions, mut insns) = (Vec::new(), Vec::new(), 0);
        let mut covered = HashSet::new();
        while regions.len() < <H::Compiler as Compiler>::AT_ONCE && insns < QUICK_INSNS {
            let Some(id) = hot.pop_front() else { break };
            let block = cache.block(id);
            let origin = Origin::last_of(block);
            // What is come to by a static way from the same page is part of what begins there, most likely.
            if !block.was_entered() && covered.contains(&(origin, block.page_offset())) {
                continue;
            }
            let region = grow::grow::<G>(cache, id, origin.context, Extent::Sparing);
            let Some((part, plan)) = self.plan(cpu, id, origin, &region, true) else { return false };
            covered.extend(region.blocks.iter().map(|block| (origin, block.start as u64)));
            insns += region.insns();
            parts.push(part);
            regions.push((region, plan));
        }
        self.compile(cache, cpu, Pending { parts, may_grow: true }, Job { regions, is_quick: true });
        self.statistics.translation_ns += thread_ns() - began;
        true
    }

    /// What is to be known of a region while it is being compiled; `None` if there is no room.
    fn plan(
        &mut self,
        cpu: &Cpu<G>,
        id: BlockId,
        origin: Origin,
        region: &Region,
        may_grow: bool,
    ) -> Option<(Part, Plan)> {
        let plan = self.host.plan(region, origin.context).ok()?;
        let kept = self.kept.as_ref().filter(|_| !cpu.ram.has_written_code());
        let begun = kept.and_then(|kept| kept.begin(&cpu.ram, &origin, region, may_grow, &plan.links));
        let entry = &region.blocks[0];
        let first =
            First { place: entry.start as u64, insns: entry.insns as u16, len_bytes: entry.block.len_bytes };
        self.statistics.blocks += region.blocks.len() as u64;
        self.statistics.insns += region.insns();
        Some((Part { id, origin, first, cells: plan.cells(), begun, stale: false }, plan))
    }

    fn compile(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, pending: Pending, job: Job) {
        match &mut self.compiler {
            CompilerPlace::Worker(worker) => {
                self.pending.insert(worker.request(job), pending);
                worker.hurry();
            }
            CompilerPlace::Here(compiler) => {
                let compiled = compile(compiler, job);
                self.install(cache, cpu, pending, compiled);
            }
        }
    }

    /// Installs what has been compiled.
    fn collect(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        while let CompilerPlace::Worker(worker) = &self.compiler
            && let Some(Answer { number, made: compiled, took_ns }) = worker.answer()
        {
            self.statistics.background_ns += took_ns;
            if let Some(pending) = number.and_then(|number| self.pending.remove(&number)) {
                self.install(cache, cpu, pending, compiled);
            }
        }
        self.translate_next(cache, cpu);
    }

    /// Installs and keeps what this run has compiled.
    fn install(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        pending: Pending,
        compiled: Result<CompiledBy<G, H>, HostError>,
    ) {
        let Pending { mut parts, may_grow } = pending;
        if parts.iter().all(|part| part.stale) {
            return;
        }
        if let (Some(kept), Ok(compiled)) = (&mut self.kept, &compiled)
            && let Some(begun) = parts.iter_mut().map(|part| part.begun.take()).collect()
            && let Some(code) = self.host.keep(compiled)
        {
            kept.finish(begun, &code);
        }
        let added = compiled.and_then(|compiled| {
            let CodeId(first) = self.host.install(&compiled)?;
            Ok(first)
        });
        let first = match added {
            Ok(first) => first,
            Err(HostError::Full) => return self.flush(cache, cpu),
            Err(error) => panic!("every region compiles: {error}"),
        };
        for (number, Part { id, origin, first, cells, stale, .. }) in (first..).zip(parts) {
            self.add(number, Unit { origin, first, live: !stale, may_grow, is_unclaimed: false }, cells);
            if stale {
                continue;
            }
            if let Some(old) = cache.block(id).translated(origin.context) {
                self.units[old as usize].live = false;
                self.host.unlink(CodeId(old));
                cpu.tlb.forget_code();
                self.statistics.grown += 1;
            }
            cache.set_translated(id, origin.context, number);
            self.statistics.regions += 1;
        }
    }

    /// Adds a unit, which is the next one. One that is not live is in its place only.
    fn add(&mut self, number: u32, unit: Unit, cells: Range<u32>) {
        debug_assert_eq!(number as usize, self.units.len());
        self.cells.resize(self.cells.len().max(cells.end as usize), None);
        self.cells[cells.start as usize..cells.end as usize].fill(Some(number));
        if unit.live {
            self.enlist(number, &unit);
        }
        self.units.push(unit);
        self.statistics.code_bytes = self.host.code_bytes();
    }

    /// Lets a live unit be found by what it is made from.
    fn enlist(&mut self, number: u32, unit: &Unit) {
        for page in unit.origin.pages() {
            self.pages.entry(page).or_default().push(number);
        }
        self.entries.insert((unit.origin, unit.first.place), number);
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
        self.modules.clear();
        self.pending.clear();
        self.queue.clear();
        self.waiting = Waiting::Nothing;
        cpu.tlb.jumps.forget();
        cache.forget_translated();
    }

    /// Blocks have other numbers now.
    pub fn renumber(&mut self, blocks: &Renumbered) {
        for part in self.pending.values_mut().flat_map(|pending| &mut pending.parts) {
            part.id = blocks.of(part.id);
            part.stale |= part.id == BlockId::NONE;
        }
        self.queue.renumber(blocks);
    }

    /// Drops the code that was made from a page.
    pub fn invalidate(&mut self, cpu: &mut Cpu<G>, page: Page) {
        self.waiting = Waiting::Nothing;
        for part in self.pending.values_mut().flat_map(|pending| &mut pending.parts) {
            part.stale |= part.origin.pages().any(|of| of == page);
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
        let budget = limit.saturating_sub(cpu.retired);
        let budget = if budget > 2 * JITTER { budget - self.jitter() } else { budget };
        let budget = budget.max(self.units[number as usize].first.insns.into());
        let began = cpu.retired;
        let left = self.host.enter(cpu, CodeId(number), budget);
        self.statistics.entries += 1;
        self.statistics.retired += cpu.retired.wrapping_sub(began);
        match left.expect("regions reach only their memory") {
            Left::Countdown => {
                self.paused = Some(cpu.pc);
                self.statistics.pauses += 1;
                End::Paused
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

    /// How much sooner time is up, a number that is another one each time.
    fn jitter(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 32) % JITTER
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

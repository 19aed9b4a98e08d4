//! Translation to code of this processor: which code is translated, where it is, how it is linked, and how it is run.
//!
//! Invariant: code is reachable (by a block, the jump cache, or a link from other code) only until a page that it was
//! made from is written; [`Translator::invalidate`] ends that.

mod ahead;
mod kept;
mod list;
mod make;
mod run;

use super::call_out::Leave;
pub use super::code_cache::CodeCache;
use super::code_cache::contents;
use super::generations::{Addition, Full, Generations, Sites, Size};
use super::grow::{Code, Extent, SAMPLES};
use super::worker::Worker;
use super::{End, LEAST_CODE_BYTES, MOST_CODE_BYTES, Origin, TranslatorStatistics, thread_ns};
use crate::addr::{Gva, Page};
use crate::cache::{BlockCache, BlockId, Renumbered};
use crate::cpu::Cpu;
use crate::eager::BlockEnd;
use crate::guest::Guest;
use crate::ir::block::Block;
use crate::ir::region::{Region, RegionBlock, ways_out};
use crate::lower::x64::Lowering;
use crate::mem::untouched::Untouched;
use ahead::{Ahead, Notes};
use make::{Job, Keep, Made, Product, Task};
use std::collections::{HashMap, VecDeque};
use std::io;

/// Runs after which a block is worth its translation even in a run that is soon over: interpreting it has cost that much.
const HOT: u32 = 250;

/// Runs after which a block is considered again that was not translated when it was due.
const AGAIN: u32 = 64;

/// Regions that the thread that lowers has at most. If it is behind, because there are many or because the host has no
/// processor for it, the vCPU's thread lowers, too.
const MAX_PENDING: usize = 16;

/// Blocks that the interpreter runs between looks whether something has been lowered.
const POLL: u32 = 16;

/// Blocks that it runs before what is to be lowered is sent even if that is little.
const HURRY: u32 = 512;

/// What translated code was left by that did not know where to go on: it is told when the code it wants is found.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Nothing,
    /// A way out that is not linked, and the address that it leads to.
    Link(u32, Gva),
    /// A jump to an address that is not in the jump cache.
    Jump(Gva),
}

/// A region that is being lowered by another thread.
struct Pending {
    id: BlockId,
    origin: Origin,
    /// Where the vCPU was about to run it.
    pc: Gva,
    may_grow: bool,
    /// Its code is to be small: it has not run often.
    is_compact: bool,
    /// Its page was written.
    stale: bool,
}

/// Translates and keeps what it translated.
pub struct Translator {
    lowering: Lowering,
    /// Another thread that lowers what is needed while the vCPU runs.
    worker: Option<Worker<Task, Product>>,
    /// What it is at, by number of the job. Answers that have no entry are of no use any more.
    pending: HashMap<u64, Pending>,
    /// Answers of that thread that have not been looked at yet.
    arrived: VecDeque<(u64, Made)>,
    polls: u32,
    /// What that thread makes while nothing is asked of it.
    ahead: Option<Ahead>,
    /// What another run might have it make, if it is to be noted.
    notes: Option<Notes>,
    code: Generations,
    /// Where code comes from that an earlier run translated, and where this one's goes.
    kept: Option<CodeCache>,
    waiting: Waiting,
    threshold: u32,
    /// Until this many instructions have retired, code is translated only when it has run [`HOT`] times.
    hesitates_until: u64,
    /// Where code was left because its time was up.
    paused: Option<Gva>,
    statistics: TranslatorStatistics,
}

impl Pending {
    fn new(id: BlockId, origin: Origin, pc: Gva, extent: Extent) -> Self {
        Self { id, origin, pc, may_grow: extent == Extent::Sparing, is_compact: false, stale: false }
    }
}

impl Translator {
    /// A translator for this host that translates blocks when they have run `threshold` times, and keeps so much code and
    /// what describes it; `None` if the host does not give memory for code.
    pub fn new<G: Guest>(code_bytes: u64, threshold: u32) -> Option<Self> {
        let code_bytes = code_bytes.clamp(LEAST_CODE_BYTES, MOST_CODE_BYTES) as usize;
        let code = Generations::new(code_bytes, G::FLOAT_ENVIRONMENT).ok()?;
        Some(Self {
            lowering: Lowering::new(G::FLOAT_ENVIRONMENT),
            worker: None,
            pending: HashMap::new(),
            arrived: VecDeque::new(),
            polls: 0,
            ahead: None,
            notes: None,
            code,
            kept: None,
            waiting: Waiting::Nothing,
            threshold,
            hesitates_until: 0,
            paused: None,
            statistics: TranslatorStatistics::default(),
        })
    }

    /// Lets another thread do the greater part of translation for a vCPU from now on.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn use_thread<G: Guest>(&mut self, cpu: &Cpu<G>) -> io::Result<()> {
        let mut lowering = Lowering::new(G::FLOAT_ENVIRONMENT);
        let mut worker = Worker::new(move |task: Task| task.make(&mut lowering))?;
        worker.request(Task::Memory { code: None, tables: vec![Untouched::of(&cpu.tlb.jumps)] });
        self.worker = Some(worker);
        self.provide();
        Ok(())
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
        if !self.pending.is_empty() {
            self.polls = self.polls.wrapping_add(1);
            if self.polls.is_multiple_of(POLL) {
                self.collect(cache, cpu);
            }
            if self.polls.is_multiple_of(HURRY) {
                self.hurry();
            }
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
        if heat >= self.threshold && self.catch_up(cache, cpu, id).is_some() {
            return;
        }
        let is_due = heat >= self.threshold && (cpu.retired >= self.hesitates_until || heat >= HOT);
        if is_due && cache.block(id).translated(cpu.data_context()).is_none() {
            self.translate::<G>(cache, cpu, id, Extent::Sparing);
        }
    }

    /// A block is about to be run, first of all after the run loop has looked at devices. Where code is often about to run it
    /// when its time is up, it is worth a better region. Gives the number of its unit, which may be a new one.
    pub fn sample<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
    ) -> Option<u32> {
        if self.paused.take() == Some(cpu.pc) && cache.sample(id).is_multiple_of(SAMPLES) {
            self.grow_further::<G>(cache, cpu, id);
        }
        if !self.pending.is_empty() {
            self.hurry();
            self.collect(cache, cpu);
        }
        cache.block(id).translated(cpu.data_context())
    }

    #[cold]
    #[inline(never)]
    fn grow_further<G: Guest>(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) {
        let old = cache.block(id).translated(cpu.data_context());
        if old.is_none_or(|old| self.code.body(old).may_grow) {
            cache.ensure_decoded(cpu, id);
            self.translate(cache, cpu, id, Extent::Whole);
        }
    }

    /// Translates the region that begins with a block: now, or soon.
    #[cold]
    #[inline(never)]
    fn translate<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
        extent: Extent,
    ) {
        let origin = Origin::of(cache.block(id), cpu.data_context());
        let pending = Pending::new(id, origin, cpu.pc, extent);
        if !cache.is_requested(id, origin.context) {
            let began = thread_ns();
            let code = Code::gather::<G>(cache, id, origin.context, extent);
            self.translate_code(cache, cpu, code, pending);
            self.statistics.translation_ns += thread_ns() - began;
        }
    }

    /// Translates what was gathered: another thread does, or this one if there is none or it is behind.
    fn translate_code<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        code: Code<G::Insn>,
        pending: Pending,
    ) {
        if let Some(notes) = &mut self.notes {
            notes.add(&code, &pending);
        }
        let place = cache.block(pending.id).page_offset();
        self.take_over(pending.origin, place);
        let job = self.job(code, &pending, cpu);
        match &mut self.worker {
            Some(worker) if self.pending.len() < MAX_PENDING => {
                cache.request(pending.id, pending.origin.context);
                self.pending.insert(worker.request(Task::Code(job)), pending);
            }
            _ => {
                let (made, _) = job.make(&mut self.lowering);
                self.install(cache, cpu, pending, made);
            }
        }
    }

    /// What is to be done for a region. It is kept in the code cache if the guest's code is in RAM.
    fn job<G: Guest>(&self, code: Code<G::Insn>, pending: &Pending, cpu: &Cpu<G>) -> Job {
        let &Pending { origin, may_grow, is_compact, .. } = pending;
        let recorder = self.recorder().filter(|_| !cpu.ram.has_written_code());
        let keep = recorder.and_then(|recorder| {
            let (page, second) = contents(&cpu.ram, origin.page, origin.second)?;
            Some(Keep::new(page.into(), second.map(Into::into), recorder))
        });
        let place = code.starts().next().expect("a block is all code");
        Job::new::<G>(move || code.region_and_entries::<G>(), origin, place, may_grow, is_compact, keep)
    }

    fn hurry(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.hurry();
        }
    }

    /// Installs what has been lowered.
    fn collect<G: Guest>(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        self.receive();
        while let Some((number, made)) = self.arrived.pop_front() {
            if let Some(pending) = self.pending.remove(&number) {
                cache.forget_request(pending.id, pending.origin.context);
                if !pending.stale {
                    self.install(cache, cpu, pending, made);
                }
            }
        }
    }

    /// Takes in what was made for a block. What led to what there was before leads there now.
    fn install<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        pending: Pending,
        made: Made,
    ) {
        let Pending { id, origin, pc, may_grow, .. } = pending;
        let sites = &made.lowered.sites;
        if !self.code.has_room(Size::of(&made.lowered, sites.len(), sites)) {
            self.advance(cache, cpu);
        }
        // What does not fit an empty generation is left to the interpreter.
        let Ok(new) = self.add(made, origin, id, may_grow) else { return };
        let old = cache.block(id).translated(origin.context);
        cache.set_translated(id, origin.context, new);
        self.link_on(cache, id, new);
        if let Some(old) = old {
            self.statistics.grown += 1;
            self.code.supersede(old, new);
            let [old, new] = [old, new].map(|unit| self.code.memory.address(self.code.unit(unit).entry()));
            cpu.tlb.jumps.supersede(pc, old, new);
        }
    }

    /// Begins the next generation, in the place of the oldest.
    fn advance<G: Guest>(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        if self.code.advance(cache) {
            self.statistics.dropped_generations += 1;
            cpu.tlb.jumps.forget();
            self.waiting = Waiting::Nothing;
        }
    }

    /// Adds what was made as a unit that begins with a block; gives its number.
    fn add(&mut self, made: Made, origin: Origin, block: BlockId, may_grow: bool) -> Result<u32, Full> {
        let Made { mut lowered, place, blocks, insns } = made;
        let sites = Sites::Lowered(std::mem::take(&mut lowered.sites));
        let addition = Addition { made: &lowered, sites, origin, place, block, may_grow };
        let number = self.code.add(addition)?.wanted;
        self.provide();
        self.statistics.regions += 1;
        self.statistics.blocks += blocks;
        self.statistics.insns += insns;
        self.statistics.code_bytes += lowered.code.len() as u64;
        Ok(number)
    }

    /// Lets the other thread make memory present that code to come will take, and what describes it.
    fn provide(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        let (code, tables) = (self.code.memory.wanted(), self.code.wanted_tables());
        if code.is_some() || !tables.is_empty() {
            worker.request(Task::Memory { code, tables });
            worker.hurry();
        }
    }

    /// Translates a block on its own and runs it once, as [`crate::eager::run_ir`] does: what is compared with that. Other
    /// code is dropped. `None` if the interpreter is to run the block.
    pub fn run_block<G: Guest>(&mut self, cpu: &mut Cpu<G>, pc: Gva, block: &Block) -> Option<BlockEnd> {
        self.forget(cpu);
        let start = pc.page_offset() as i64;
        let insns = block.ops.iter().filter(|op| op.insn_offset().is_some()).count() as u32;
        let ways = ways_out(block, start);
        // By turns slots have registers and are in memory, and code is small or fast: all of it is to be compared.
        let weight = if self.statistics.regions.is_multiple_of(2) { 1 << 10 } else { 1 };
        let is_compact = self.statistics.regions % 4 >= 2;
        let alone = RegionBlock { block: block.clone(), start, insns, weight, ways };
        let origin = Origin { page: Page(0), second: None, mode: cpu.mode(), context: cpu.data_context() };
        let region = Region { blocks: vec![alone] };
        let made = Job::new::<G>(|| (region, vec![0]), origin, start as u64, false, is_compact, None)
            .make(&mut self.lowering)
            .0;
        let number = self.add(made, origin, BlockId::NONE, false).ok()?;
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
            End::Next | End::Paused => BlockEnd::Next(cpu.pc),
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
        self.pending.clear();
        self.waiting = Waiting::Nothing;
        cpu.tlb.jumps.forget();
    }

    /// Blocks have other numbers now.
    pub fn renumber(&mut self, blocks: &Renumbered) {
        self.code.renumber(blocks);
        for pending in self.pending.values_mut() {
            pending.id = blocks.of(pending.id);
            pending.stale |= pending.id == BlockId::NONE;
        }
    }

    /// Drops the code that was made from a page.
    pub fn invalidate<G: Guest>(&mut self, cpu: &mut Cpu<G>, page: Page) {
        self.waiting = Waiting::Nothing;
        for pending in self.pending.values_mut() {
            pending.stale |= pending.origin.pages().any(|of| of == page);
        }
        let count = self.code.invalidate(page);
        if count > 0 {
            self.statistics.invalidated += count;
            cpu.tlb.forget_code();
        }
    }

    /// Lets the ways out of a new unit lead to what there is already.
    fn link_on<I: Copy>(&mut self, cache: &BlockCache<I>, id: BlockId, number: u32) {
        for link in self.code.links_of(number) {
            let to = cache.neighbour(id, self.code.link(link).to());
            let context = self.code.body(number).origin.context;
            if let Some(unit) = to.and_then(|to| cache.block(to).translated(context)) {
                self.link_near(link, unit);
            }
        }
    }

    /// Lets a way out lead to a unit, which the vCPU is about to run. Gives whether the jump cache is to know it, too, for when
    /// the way's conditions do not hold.
    fn link<G: Guest>(&mut self, cpu: &mut Cpu<G>, link: u32, to: u32) -> bool {
        let state = self.code.link(link);
        let (from, place) = (state.from, state.to());
        if state.far().is_none() {
            self.link_near(link, to);
            return false;
        }
        if self.code.unit(from).live && self.code.unit(to).live {
            let page_base = Gva(cpu.pc.0.wrapping_sub_signed(place));
            let context = cpu.fetch_context();
            self.code.connect_far(link, to, cpu.far_tag(), page_base);
            cpu.tlb.jumps.note_link(context, cpu.pc);
        }
        true
    }

    /// Lets a way out within a page lead to a unit.
    fn link_near(&mut self, link: u32, to: u32) {
        let place = self.code.link(link).to();
        let (from, unit) = (self.code.unit(self.code.link(link).from), self.code.unit(to));
        if !from.live || !unit.live {
            return;
        }
        // Ways lead to the same page: what is mapped there has changed since if it is not.
        let [from, origin] = [self.code.link(link).from, to].map(|unit| self.code.body(unit).origin);
        if (Origin { second: None, ..from }) != (Origin { second: None, ..origin }) {
            return;
        }
        if origin.second.is_none() {
            self.code.connect(link, to);
        } else {
            // Whether it may run depends on where its second page is mapped: the jump cache knows.
            let jump = self.lowering.lower_jump(place);
            self.code.add_way(link, &jump);
        }
    }
}

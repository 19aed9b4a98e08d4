//! The translator whose code an optimizing compiler makes: wasm modules in wasmtime, or Cranelift's own.
//!
//! Compiling a region takes a thousand times as long as running it once, so that by default a thread does it while the
//! interpreter goes on. What is compiled of a page that was written in the meantime is never installed.

use super::call_out::Leave;
use super::{End, Origin, TranslatorStatistics, grow, thread_ns};
use crate::addr::{Gva, Page};
use crate::cache::{BlockCache, BlockId, Renumbered};
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::host::regions::{CallOuts, CodeId, Compiler, HostError, Left, LinkCell, RegionHost};
use crate::ir::region::Region;
use crate::lower::links::Plan;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Runs of a block before it is translated, unless somebody says otherwise.
pub const THRESHOLD: u32 = 300;
/// Regions that the compiler has at most. Few, so that it is not behind: a block that found no room asks again after as
/// many runs, the hottest one first.
const MAX_PENDING: usize = 2;
/// Blocks that the interpreter runs between looks whether something has been compiled.
const POLL: u32 = 64;

struct Unit {
    origin: Origin,
    /// Instructions of its first block.
    insns: u64,
    live: bool,
}

/// A region that is being compiled.
struct Pending {
    id: BlockId,
    origin: Origin,
    insns: u64,
    cells: std::ops::Range<u32>,
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
    units: Vec<Unit>,
    /// The unit that each link cell is a way out of.
    cells: Vec<Option<u32>>,
    pages: HashMap<Page, Vec<u32>>,
    pending: HashMap<u64, Pending>,
    /// Number of the next request to the worker; those before `oldest` are of code that was dropped.
    next: u64,
    polls: u32,
    waiting: Waiting,
    threshold: u32,
    statistics: TranslatorStatistics,
    guest: PhantomData<fn(&mut G)>,
}

/// Who compiles.
enum CompilerPlace<C: Compiler> {
    /// This thread, at once.
    Here(C),
    /// Another thread.
    Worker(Worker<C>),
}

type CompiledBy<G, H> = <<H as RegionHost<G>>::Compiler as Compiler>::Compiled;

impl<G: Guest, H: RegionHost<G>> CompiledTranslator<G, H> {
    /// A translator for the vCPU of this host's memory, which compiles in the background or at once.
    pub fn new(host: H, threshold: u32, background: bool) -> Self {
        let compiler = host.compiler();
        let compiler = if background {
            CompilerPlace::Worker(Worker::new(compiler))
        } else {
            CompilerPlace::Here(compiler)
        };
        Self {
            host,
            compiler,
            units: Vec::new(),
            cells: Vec::new(),
            pages: HashMap::new(),
            pending: HashMap::new(),
            next: 0,
            polls: 0,
            waiting: Waiting::Nothing,
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
        if cache.heat_up(id, cpu.data_context()).is_multiple_of(self.threshold) {
            self.translate(cache, cpu, id);
        }
        if !self.pending.is_empty() {
            self.polls = self.polls.wrapping_add(1);
            if self.polls.is_multiple_of(POLL) {
                self.collect(cache, cpu);
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn translate(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) {
        let context = cpu.data_context();
        let block = cache.block(id);
        let (page, second) = (Page::of(block.gpa()), block.second());
        let origin = Origin { page, second, mode: cpu.mode(), context };
        let waits = |pending: &Pending| pending.id == id && pending.origin == origin;
        if self.pending.len() >= MAX_PENDING || self.pending.values().any(waits) {
            return;
        }
        let began = thread_ns();
        let region = grow::grow::<G>(cache, id);
        let Ok(plan) = self.host.plan(&region, context) else { return self.flush(cache, cpu) };
        let cells = plan.cells();
        self.cells.resize(cells.end as usize, None);
        let insns = region.blocks[0].insns.into();
        let pending = Pending { id, origin, insns, cells, stale: false };
        self.statistics.blocks += region.blocks.len() as u64;
        self.statistics.insns += region.blocks.iter().map(|block| u64::from(block.insns)).sum::<u64>();
        let number = self.next;
        self.next += 1;
        match &mut self.compiler {
            CompilerPlace::Worker(worker) => {
                worker.request(Request { number, region, plan });
                self.pending.insert(number, pending);
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
            && let Some(Answer { number, compiled, took_ns }) = worker.answer()
        {
            self.statistics.background_ns += took_ns;
            // Requests of code that was dropped since have no entry.
            if let Some(pending) = self.pending.remove(&number)
                && !pending.stale
            {
                self.install(cache, cpu, pending, compiled);
            }
        }
    }

    fn install(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        pending: Pending,
        compiled: Result<CompiledBy<G, H>, HostError>,
    ) {
        match compiled.and_then(|compiled| self.host.install(&compiled)) {
            Ok(CodeId(number)) => {
                debug_assert_eq!(number as usize, self.units.len());
                self.cells[pending.cells.start as usize..pending.cells.end as usize].fill(Some(number));
                for page in pending.origin.pages() {
                    self.pages.entry(page).or_default().push(number);
                }
                cache.set_translated(pending.id, pending.origin.context, number);
                self.units.push(Unit { origin: pending.origin, insns: pending.insns, live: true });
                self.statistics.regions += 1;
                self.statistics.code_bytes = self.host.code_bytes();
            }
            Err(HostError::Full) => self.flush(cache, cpu),
            Err(error) => panic!("every region compiles: {error}"),
        }
    }

    fn flush(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        self.clear(cache, cpu);
        self.statistics.dropped_generations += 1;
    }

    /// Drops all code.
    pub fn clear(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>) {
        self.host.discard().expect("it can begin as it began at first");
        self.units.clear();
        self.cells.clear();
        self.pages.clear();
        self.pending.clear();
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
        let budget = limit.saturating_sub(cpu.retired).max(self.units[number as usize].insns);
        let began = cpu.retired;
        let left = self.host.enter(cpu, CodeId(number), budget);
        self.statistics.entries += 1;
        self.statistics.retired += cpu.retired.wrapping_sub(began);
        match left.expect("regions reach only their memory") {
            Left::Countdown => {
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

struct Request {
    number: u64,
    region: Region,
    plan: Plan,
}

struct Answer<C: Compiler> {
    number: u64,
    compiled: Result<C::Compiled, HostError>,
    took_ns: u64,
}

/// A thread that compiles. It ends when this is dropped, but for the region that it is at: nobody waits for that.
struct Worker<C: Compiler> {
    requests: Sender<Request>,
    answers: Receiver<Answer<C>>,
}

impl<C: Compiler> Worker<C> {
    fn new(mut compiler: C) -> Self {
        let (requests, incoming) = channel::<Request>();
        let (outgoing, answers) = channel();
        std::thread::spawn(move || {
            for Request { number, region, plan } in incoming {
                let began = thread_ns();
                let compiled = compiler.compile(&region, plan);
                let took_ns = thread_ns() - began;
                if outgoing.send(Answer { number, compiled, took_ns }).is_err() {
                    break;
                }
            }
        });
        Self { requests, answers }
    }

    /// A thread that ended answers nothing: code stays interpreted.
    fn request(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    fn answer(&self) -> Option<Answer<C>> {
        self.answers.try_recv().ok()
    }
}

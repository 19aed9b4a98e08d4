//! The machine: a vCPU with its block cache, and the run loop.
//!
//! `run` returns at block boundaries and never blocks: waiting for time or input is the caller's business.

use crate::addr::{Gpa, Gva};
use crate::cache::{BlockCache, BlockId, same_page};
use crate::cpu::Cpu;
use crate::eager::BlockEnd;
use crate::guest::Guest;
use crate::jit::any::AnyTranslator;
use crate::jit::call_out::Leave;
use crate::jit::hot::{HotRegion, ReadPage};
use crate::jit::verify::{Divergence, Verifier, VerifierStatistics, interpret_to};
use crate::jit::{CODE_BYTES, CodeCache, End, Translator, TranslatorStatistics};
use crate::mem::device::{Board, Request};
use crate::mem::ram::{Ram, RamBacking};
use crate::vcpu::VcpuBacking;
use std::io;
use std::time::Duration;

/// Why [`Machine::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The instruction budget is used up.
    Budget,
    /// The guest waits for an interrupt.
    Waiting {
        /// Guest time at which a timer will wake it; with `None` only input can.
        deadline_ns: Option<u64>,
    },
    /// A device asked for something.
    Request(Request),
    /// Translated code did something else than the interpreter: [`Machine::divergence`] says what. The machine is in the
    /// middle of it and of no use any more.
    Diverged,
}

/// What the machine has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Guest instructions retired.
    pub retired: u64,
    /// Guest instructions decoded.
    pub decoded: u64,
    /// Decoded instructions that are kept now, those that have been overwritten included.
    pub decoded_kept: u64,
    /// Addresses that the TLB did not know.
    pub walks: u64,
    /// Looks at devices, timers and interrupts.
    pub looks: u64,
    /// Interrupts taken.
    pub interrupts: u64,
    /// Times a page lost its decoded code because it was written.
    pub invalidated_pages: u64,
}

/// Memory that a caller provides for a machine.
pub struct Backing {
    /// For RAM.
    pub ram: Box<dyn RamBacking>,
    /// For what generated code reaches of the vCPU.
    pub vcpu: Box<dyn VcpuBacking>,
}

impl Backing {
    /// RAM at `base` and a place for the vCPU: what was provided, or the host's memory. `None` if there is not that much.
    pub fn take(
        provided: Option<Backing>,
        base: Gpa,
        ram_bytes: u64,
    ) -> Option<(Ram, Option<Box<dyn VcpuBacking>>)> {
        match provided {
            Some(Backing { ram, vcpu }) => {
                let fits = ram.len_bytes() as u64 == ram_bytes;
                fits.then(|| (Ram::with_backing(base, ram), Some(vcpu)))
            }
            None => Some((Ram::try_new(base, ram_bytes)?, None)),
        }
    }
}

/// A whole emulated computer.
pub struct Machine<G: Guest> {
    /// The vCPU and what it reaches.
    pub cpu: Cpu<G>,
    cache: BlockCache<G::Insn>,
    translator: Option<AnyTranslator<G>>,
    verifier: Option<Box<Verifier<G>>>,
    looks: u64,
    interrupts: u64,
}

impl<G: Guest> Machine<G> {
    /// A machine around a vCPU that is ready to run.
    pub fn new(cpu: Cpu<G>) -> Self {
        let cache = BlockCache::default();
        Self { cpu, cache, translator: None, verifier: None, looks: 0, interrupts: 0 }
    }

    /// Translates code to code of the host from now on, when it has run `threshold` times ([`crate::jit::THRESHOLD`] is a
    /// good number); false if the host does not allow it.
    pub fn translate(&mut self, threshold: u32) -> bool {
        self.translate_in(CODE_BYTES, threshold)
    }

    /// The same with so much memory for code and what describes it, between [`crate::jit::LEAST_CODE_BYTES`] and
    /// [`crate::jit::MOST_CODE_BYTES`].
    pub fn translate_in(&mut self, code_bytes: u64, threshold: u32) -> bool {
        let translator = Translator::new::<G>(code_bytes, threshold);
        self.translator = translator.map(Box::new).map(AnyTranslator::Native);
        self.translator.is_some()
    }

    /// Lets the native translator, if there is one, make code on another thread while the interpreter goes on; false if there
    /// is none or the host gives no thread. What is translated when depends on that thread then.
    pub fn translate_on_thread(&mut self) -> bool {
        match &mut self.translator {
            Some(AnyTranslator::Native(translator)) => translator.use_thread(&self.cpu).is_ok(),
            _ => false,
        }
    }

    /// Makes the native translator, if there is one, slow to translate for so many instructions from now on: in a run that
    /// is soon over, code that is merely warm costs less interpreted than translated.
    pub fn hesitate(&mut self, insns: u64) {
        if let Some(AnyTranslator::Native(translator)) = &mut self.translator {
            translator.hesitate_until(self.cpu.retired.saturating_add(insns));
        }
    }

    /// Makes the native translator, if there is one, note what it translates from now on, for [`Self::hot_regions`].
    pub fn note_hot(&mut self) {
        if let Some(AnyTranslator::Native(translator)) = &mut self.translator {
            translator.note_hot();
        }
    }

    /// What it has translated since then, in the order in which another run of the same guest should: `hot::encode` makes a
    /// list of it.
    pub fn hot_regions(&self) -> Vec<HotRegion> {
        match &self.translator {
            Some(AnyTranslator::Native(translator)) => translator.hot_regions(),
            _ => Vec::new(),
        }
    }

    /// Lets the thread that makes native code, if there is one, make the regions of such a list while nothing else is asked of
    /// it, from pages of guest memory as `read` gives them. Call it after [`Self::keep_code`]: what is found there is not
    /// made again.
    pub fn translate_ahead(&mut self, list: Vec<u8>, read: ReadPage) {
        if let Some(AnyTranslator::Native(translator)) = &mut self.translator {
            translator.translate_ahead::<G>(list, read);
        }
    }

    /// Lets the translator look for code in a cache before it translates, and keep there what it translates; false if there
    /// is none that can. A cache is for one translator: those of different kinds open it for builds of different names.
    pub fn keep_code(&mut self, cache: CodeCache) -> bool {
        match &mut self.translator {
            Some(AnyTranslator::Native(translator)) => {
                translator.keep(cache);
                true
            }
            #[cfg(feature = "wasmtime")]
            Some(AnyTranslator::Wasm(translator)) => {
                translator.keep(cache);
                true
            }
            _ => false,
        }
    }

    /// Writes to the code cache, if there is one, what was translated since the last time. Before that, for so long, code is
    /// translated that was not hot enough for this run alone. Call it when the machine has run for the last time.
    ///
    /// # Errors
    /// The host's.
    pub fn save_code(&mut self, effort: Duration) -> io::Result<()> {
        match &mut self.translator {
            Some(AnyTranslator::Native(translator)) => {
                translator.save(&mut self.cache, &mut self.cpu, effort)
            }
            #[cfg(feature = "wasmtime")]
            Some(AnyTranslator::Wasm(translator)) => translator.save(&mut self.cache, &mut self.cpu, effort),
            _ => Ok(()),
        }
    }

    /// Translates code by this translator from now on.
    pub fn translate_by(&mut self, translator: AnyTranslator<G>) {
        self.translator = Some(translator);
    }

    /// Checks stretches of translated code against the interpreter from now on ([`crate::jit::verify`]).
    pub fn verify(&mut self) {
        self.verifier = Some(Box::default());
    }

    /// What [`Exit::Diverged`] is about.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.verifier.as_ref()?.divergence()
    }

    /// How much has been checked, if anything is.
    pub fn verifier_statistics(&self) -> Option<VerifierStatistics> {
        self.verifier.as_ref().map(|verifier| verifier.statistics())
    }

    /// What the translator has done so far, if there is one.
    pub fn translator_statistics(&self) -> Option<TranslatorStatistics> {
        self.translator.as_ref().map(AnyTranslator::statistics)
    }

    /// What the machine has done so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            retired: self.cpu.retired,
            decoded: self.cache.decoded(),
            decoded_kept: self.cache.kept() as u64,
            walks: self.cpu.walks,
            looks: self.looks,
            interrupts: self.interrupts,
            invalidated_pages: self.cache.invalidated_pages(),
        }
    }

    /// Runs about `budget` instructions: at least one block unless the guest waits, and to the end of the block in
    /// which the budget ends. Devices and timers are served first and whenever attention is asked for.
    pub fn run(&mut self, budget: u64) -> Exit {
        let mut limit = self.cpu.retired.saturating_add(budget);
        self.cpu.attention.set();
        loop {
            if let Some(exit) = self.look() {
                return exit;
            }
            self.run_blocks(&mut limit);
            if self.divergence().is_some() {
                return Exit::Diverged;
            }
            // Even if something needs a look: a host that always has something must not stretch the budget.
            if self.cpu.retired >= limit {
                return Exit::Budget;
            }
        }
    }

    /// Interprets until exactly so many instructions have retired, or as far as that goes without a look at anything else than
    /// guest code: nothing traps, or overwrites code.
    pub fn interpret_to(&mut self, retired: u64) {
        interpret_to(&mut self.cpu, &mut self.cache, retired);
    }

    /// Sees to everything that is not guest code: written code, devices, timers, requests, interrupts.
    fn look(&mut self) -> Option<Exit> {
        let cpu = &mut self.cpu;
        self.looks += 1;
        cpu.looked();
        // Who is about to wait has devices served first: what was asked of one may be what ends the wait.
        if cpu.attention.take() | cpu.is_waiting() {
            cpu.with_board(|board, env| board.service(env));
            let now_ns = cpu.now_ns();
            G::tick(cpu, now_ns);
        }
        for page in cpu.ram.take_written_code() {
            for page in self.cache.invalidate(page) {
                if let Some(translator) = &mut self.translator {
                    translator.invalidate(cpu, page);
                }
            }
        }
        if let Some(request) = cpu.request.take() {
            return Some(Exit::Request(request));
        }
        if cpu.is_waiting() {
            if !G::wakes(cpu) {
                let deadlines = [cpu.board.deadline_ns(), G::deadline_ns(cpu)];
                return Some(Exit::Waiting { deadline_ns: deadlines.into_iter().flatten().min() });
            }
            cpu.wake();
        }
        if let Some(trap) = G::interrupt(cpu) {
            self.interrupts += 1;
            G::deliver(cpu, trap);
        }
        None
    }

    /// Runs blocks, at least one, until something needs a look or `limit` instructions have retired. So a guest that
    /// must be looked at after every instruction asks for it while it is looked at. A trap lowers the limit by one,
    /// so that a guest whose trap handler traps uses up its budget, too.
    fn run_blocks(&mut self, limit: &mut u64) {
        let mut came_from: Option<(BlockId, Gva)> = None;
        let mut epoch = self.cpu.fetch_epoch();
        let mut first = true;
        let mut looked = true;
        // Whatever is translated, the next block is the interpreter's.
        let mut interpret = false;
        while first || !self.cpu.needs_look() && self.cpu.retired < *limit {
            first = false;
            let cpu = &mut self.cpu;
            let pc = cpu.pc;
            if cpu.fetch_epoch() != epoch {
                epoch = cpu.fetch_epoch();
                came_from = None;
            }
            if self.cache.is_full() {
                let blocks = self.cache.make_room();
                if let Some(translator) = &mut self.translator {
                    translator.renumber(&blocks);
                }
                came_from = None;
            }
            let linked = came_from.and_then(|(from, from_pc)| self.cache.linked(from, from_pc, pc));
            let id = match linked {
                Some(id) => id,
                None => match self.cache.enter(cpu, pc, |cpu, gpa, id| {
                    self.translator.as_mut().and_then(|translator| translator.recall(cpu, gpa, id))
                }) {
                    // Finding it walked page tables and so overwrote code: perhaps this block's.
                    Ok(_) if cpu.ram.has_written_code() => {
                        cpu.recheck_interrupts();
                        return;
                    }
                    Ok(id) => {
                        if let Some((from, from_pc)) = came_from {
                            self.cache.link(from, from_pc, pc, id);
                        }
                        if came_from.is_none_or(|(_, from_pc)| !same_page(from_pc, pc)) {
                            self.cache.note_entered(id);
                        }
                        id
                    }
                    Err(trap) => {
                        G::deliver(cpu, trap);
                        came_from = None;
                        *limit = limit.saturating_sub(1);
                        continue;
                    }
                },
            };
            if let Some(translator) = &mut self.translator {
                let mut unit = None;
                if !interpret && !cpu.needs_look() {
                    unit = if std::mem::take(&mut looked) {
                        translator.sample(&mut self.cache, cpu, id)
                    } else {
                        self.cache.block(id).translated(cpu.data_context())
                    };
                    if unit.is_none() && self.cache.block(id).heat() == 0 {
                        unit = translator.adopt(&mut self.cache, cpu, id);
                    }
                }
                if let Some(unit) = unit {
                    came_from = None;
                    let end = match &mut self.verifier {
                        None => translator.run(cpu, unit, *limit),
                        Some(verifier) => verifier.run(translator, &mut self.cache, cpu, id, unit, *limit),
                    };
                    match end {
                        End::Next | End::Left(Leave::Look) => {}
                        End::Paused => looked = true,
                        End::Left(Leave::Interpret) => interpret = true,
                        End::Left(Leave::Trap(trap)) => {
                            G::deliver(cpu, trap);
                            *limit = limit.saturating_sub(1);
                        }
                    }
                    continue;
                }
                interpret = false;
                translator.heat_up(&mut self.cache, cpu, id);
            }
            self.cache.ensure_decoded(cpu, id);
            let block = self.cache.block(id);
            let count = block.count() as u64;
            cpu.retired += count;
            let (insns, offsets) = self.cache.code(id);
            match G::run_block(cpu, pc, block.len_bytes(), insns, offsets) {
                BlockEnd::Next(next) => {
                    cpu.pc = next;
                    came_from = Some((id, pc));
                }
                BlockEnd::Cut { count: done, next } => {
                    cpu.retired -= count - done as u64;
                    cpu.pc = next;
                }
                BlockEnd::Trapped { index, trap } => {
                    cpu.retired -= count - index as u64;
                    cpu.pc = pc.offset(offsets[index] as u64);
                    G::deliver(cpu, trap);
                    came_from = None;
                    *limit = limit.saturating_sub(1);
                }
            }
        }
    }
}

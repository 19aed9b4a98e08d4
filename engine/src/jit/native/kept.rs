//! What comes from the code cache, and what goes there.

use super::{Pending, Translator};
use crate::addr::{Gpa, Page};
use crate::cache::{BlockCache, BlockId, Recalled};
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::jit::code_cache::record::Entry;
use crate::jit::code_cache::{CodeCache, Recorder};
use crate::jit::generations::Added;
use crate::jit::grow::pieces::pieces;
use crate::jit::grow::{Code, Extent};
use crate::jit::worker::Worker;
use crate::jit::{Origin, thread_ns, warm_blocks};
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// What the translation of an instruction takes, about.
const INSN_TIME: Duration = Duration::from_nanos(1500);

/// Runs of a block after which its translation is worth being kept for a later run.
const WARM: u32 = 1;

impl Translator {
    /// Looks for code in a cache from now on before it translates, and keeps there what it translates.
    pub fn keep(&mut self, cache: CodeCache) {
        self.kept = Some(cache);
    }

    /// Writes what is to be kept. Before that, code that the interpreter has run is translated for the next run, as much of the
    /// hottest as can be in so long; this run is over. Where next to all code was there already, nothing is done: each run meets
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
        let Some(recorder) = self.recorder().cloned() else { return Ok(()) };
        self.collect(cache, cpu);
        let effort = self.finish_ahead(effort);
        let until = thread_ns().saturating_add(effort.as_nanos() as u64);
        let warm = warm_blocks(cache, cpu, WARM, &self.statistics);
        if warm.is_none() && self.statistics.ahead == 0 && !recorder.is_marked() {
            recorder.discard();
            return Ok(());
        }
        let mut warm = warm.unwrap_or_default();
        let mut insns = 0;
        warm.retain(|&id| {
            insns += cache.block(id).count() as u32;
            INSN_TIME * insns <= effort
        });
        // Another run needs them in the order in which they ran first, and reads what stands in a row.
        warm.sort_unstable();
        self.translate_pieces(cache, cpu, &warm, until);
        // What is waited for may have arrived already, while something else was looked for.
        self.collect(cache, cpu);
        while !self.pending.is_empty()
            && let Some(answer) = self.worker.as_mut().and_then(Worker::wait)
        {
            self.arrive(answer);
            self.collect(cache, cpu);
        }
        recorder.save()
    }

    /// Translates blocks that were not worth it in this run, page by page, until this thread has taken so much time.
    fn translate_pieces<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        warm: &[BlockId],
        until_ns: u64,
    ) {
        let is_warm: HashSet<BlockId> = warm.iter().copied().collect();
        let mut done = HashSet::new();
        for &id in warm {
            if thread_ns() >= until_ns {
                break;
            }
            let origin = Origin::last_of(cache.block(id));
            let pieces = if origin.second.is_some() {
                vec![(id, Code::gather::<G>(cache, id, origin.context, Extent::Sparing))]
            } else if done.insert(origin) {
                let is_of_it = |id: BlockId| Origin::last_of(cache.block(id)) == origin;
                let is_wanted = |id: BlockId| is_warm.contains(&id) && is_of_it(id);
                pieces::<G>(cache, origin.page, origin.mode, is_wanted)
            } else {
                continue;
            };
            for (id, code) in pieces {
                if !cache.is_requested(id, origin.context)
                    && !self.has_kept(cpu, origin, cache.block(id).page_offset())
                {
                    let pending = Pending::new(id, origin, cpu.pc, Extent::Sparing);
                    self.translate_code(cache, cpu, code, Pending { is_compact: true, ..pending });
                    self.collect(cache, cpu);
                }
            }
        }
    }

    /// Where records of what is translated go, if they are kept for later runs.
    pub(super) fn recorder(&self) -> Option<&Recorder> {
        self.kept.as_ref().map(CodeCache::recorder).filter(|recorder| recorder.lasts())
    }

    /// Whether there is something for code that starts at a place of its page.
    fn has_kept<G: Guest>(&self, cpu: &Cpu<G>, origin: Origin, place: u64) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| {
            kept.find(&cpu.ram, Entry::of(&origin, place), origin.page, origin.second).is_some()
        })
    }

    /// Lets a block that is about to be made lead to what was translated from the same code before: in this run, or in an
    /// earlier one.
    #[cold]
    #[inline(never)]
    pub fn recall<G: Guest>(&mut self, cpu: &mut Cpu<G>, gpa: Gpa, id: BlockId) -> Option<Recalled> {
        // What crosses into another page depends on where that is mapped.
        let (page, mode, context) = (Page::of(gpa), cpu.mode(), cpu.data_context());
        let origin = Origin { page, second: None, mode, context };
        if self.ahead.is_some() {
            self.receive();
        }
        let Some(number) = self.find(cpu, origin, gpa.page_offset(), id) else {
            self.fall_behind(origin, gpa.page_offset());
            return None;
        };
        let unit = self.code.unit(number);
        Some(Recalled { number, count: unit.insns, len_bytes: unit.len_bytes })
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
        let origin = Origin::of(cache.block(id), cpu.data_context());
        let place = cache.block(id).page_offset();
        let number = match origin.second {
            Some(_) => self.find(cpu, origin, place, id)?,
            None => self.code.adopt(origin, place, id)?,
        };
        cache.set_translated(id, origin.context, number);
        Some(number)
    }

    pub(super) fn find<G: Guest>(
        &mut self,
        cpu: &mut Cpu<G>,
        origin: Origin,
        place: u64,
        id: BlockId,
    ) -> Option<u32> {
        self.code.adopt(origin, place, id).or_else(|| self.load(cpu, origin, place, id))
    }

    /// Takes code from the cache.
    fn load<G: Guest>(&mut self, cpu: &mut Cpu<G>, origin: Origin, place: u64, id: BlockId) -> Option<u32> {
        let kept = self.kept.as_ref().filter(|_| !cpu.ram.has_written_code())?;
        let kept = kept.find(&cpu.ram, Entry::of(&origin, place), origin.page, origin.second)?;
        let source = kept.source.clone();
        let Added { wanted, found } = self.code.add_found(kept, origin, place, id, &mut self.statistics)?;
        for range in source.ranges {
            cpu.note_code(origin.page, range.start.into(), range.len.into());
        }
        if let Some(second) = origin.second {
            cpu.note_code(second, 0, source.tail.into());
        } else {
            self.note_entries(cpu, origin.page, &found);
        }
        self.provide();
        Some(wanted)
    }

    /// Lets jumps lead to these units of the page that the vCPU is in.
    fn note_entries<G: Guest>(&self, cpu: &mut Cpu<G>, page: Page, units: &[u32]) {
        let (start, context, tag) = (cpu.pc.page_start(), cpu.fetch_context(), cpu.context_tag());
        for &unit in units {
            let unit = self.code.unit(unit);
            let code = self.code.memory.address(unit.entry());
            cpu.tlb.jumps.note_in_page(start.offset(unit.place()), context, tag, code, page);
        }
    }
}

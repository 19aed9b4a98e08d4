//! What an earlier run has compiled: taken from the code cache before the first block of a region is even decoded, and what this
//! run leaves there.
//!
//! That costs as much as interpreting a block some hundred times, but only what ran often is in there. Regions that were compiled
//! together come together: the first that is needed loads the module, and the others are there when they are needed, too.

use super::{CompiledTranslator, First, Unit};
use crate::addr::{Gpa, Page};
use crate::cache::{BlockCache, BlockId, Recalled};
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::host::regions::{CodeId, Compiler, RegionHost};
use crate::jit::grow::{self, Extent};
use crate::jit::kept::{Begun, CompiledCache, Found};
use crate::jit::{CodeCache, Origin, thread_ns, warm_blocks};
use std::collections::HashSet;
use std::io;
use std::time::Duration;

/// Runs of a block after which code is worth being compiled for a later run of the program: interpreting them takes as long as
/// taking it from the cache.
const WARM: u32 = 100;

impl<G: Guest, H: RegionHost<G>> CompiledTranslator<G, H> {
    /// Looks for code in a cache from now on before it compiles, and keeps there what it compiles.
    pub fn keep(&mut self, cache: CodeCache) {
        self.kept = Some(CompiledCache::new(cache));
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
        let origin = Origin::of(cache.block(id), cpu.data_context());
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
        let found = kept.find(&cpu.ram, &origin, place)?;
        let began = thread_ns();
        let number = self.claim(&found, origin, place)?;
        for &(page, start, len_bytes) in &found.ranges {
            cpu.note_code(page, start, len_bytes);
        }
        self.statistics.recalled += 1;
        self.statistics.recalled_insns += found.insns;
        self.statistics.translation_ns += thread_ns() - began;
        Some(number)
    }

    /// Makes a region of a module from the cache a live unit: of the one that was loaded last, unless that region is in use for
    /// the same code elsewhere.
    fn claim(&mut self, found: &Found, origin: Origin, place: u64) -> Option<u32> {
        let is_free = |&first: &u32| {
            let unit = self.units.get((first + found.number) as usize);
            unit.is_some_and(|unit| unit.is_unclaimed)
        };
        let loaded = self.modules.get(&found.module).copied().filter(is_free);
        let first = match loaded {
            Some(first) => first,
            None => self.load(found, origin)?,
        };
        let number = first + found.number;
        let (insns, len_bytes) = found.first;
        let first = First { place, insns, len_bytes };
        let unit = Unit { origin, first, live: true, may_grow: found.may_grow, is_unclaimed: false };
        self.enlist(number, &unit);
        self.units[number as usize] = unit;
        Some(number)
    }

    /// Loads the module that has a region; gives the number of its first unit. None of them is live.
    fn load(&mut self, found: &Found, origin: Origin) -> Option<u32> {
        let module = self.kept.as_ref()?.module(found.module)?;
        let count = module.links.len();
        if found.number as usize >= count {
            return None;
        }
        // If there is no room it is translated when it is hot, which makes some.
        let plans = module.links.into_iter().map(|links| self.host.plan_links(links, origin.context));
        let plans: Vec<_> = plans.collect::<Result<_, _>>().ok()?;
        let compiled = self.host.revive(module.code, &plans)?;
        let CodeId(first) = self.host.install(&compiled).ok()?;
        for (number, plan) in (first..).zip(&plans) {
            let first = First { place: 0, insns: 0, len_bytes: 0 };
            let unit = Unit { origin, first, live: false, may_grow: false, is_unclaimed: true };
            self.add(number, unit, plan.cells());
        }
        self.modules.insert(found.module, first);
        Some(first)
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
        let mut warm = warm.into_iter().peekable();
        // What is come to by a static way from the same page is part of what begins there, most likely.
        let mut covered = HashSet::new();
        let mut compiler = self.host.compiler();
        let (mut begun, mut regions, mut insns): (Vec<Begun>, Vec<_>, _) = (Vec::new(), Vec::new(), 0);
        while let Some(id) = warm.next() {
            let block = cache.block(id);
            let origin = Origin::last_of(block);
            let (page, place) = (origin.page, block.page_offset());
            if block.was_entered() || !covered.contains(&(page, place, origin.mode)) {
                let known = kept.find(&cpu.ram, &origin, place).is_some();
                let region = (!known).then(|| grow::grow::<G>(cache, id, origin.context, Extent::Sparing));
                if let Some(region) = region
                    && let Ok(plan) = self.host.plan(&region, origin.context)
                    && let Some(new) = kept.begin(&cpu.ram, &origin, &region, true, &plan.links)
                {
                    covered.extend(region.blocks.iter().map(|block| (page, block.start as u64, origin.mode)));
                    insns += region.insns();
                    begun.push(new);
                    regions.push((region, plan));
                }
            }
            let is_over = thread_ns() >= until || warm.peek().is_none();
            let is_full = regions.len() == H::Compiler::AT_ONCE || insns >= super::QUICK_INSNS;
            if (is_full || is_over) && !regions.is_empty() {
                let (regions, begun) = (std::mem::take(&mut regions), std::mem::take(&mut begun));
                if let Ok(compiled) = compiler.compile_quickly(regions)
                    && let Some(code) = self.host.keep(&compiled)
                {
                    kept.finish(begun, &code);
                }
                insns = 0;
            }
            if is_over {
                break;
            }
        }
        kept.save()
    }
}

//! Code that is made before the vCPU comes to it: the regions that another run of the same guest found hot ([`HotRegion`]).
//! The other thread makes them while nothing is asked of it, and they are found as if they came from the code cache.

use super::list::{HotPlace, Missing, Progress};
use super::make::{Job, Keep, Product, Task};
use super::{HOT, Pending, Translator};
use crate::cache::{BlockCache, BlockId};
use crate::cpu::Cpu;
use crate::guest::Guest;
use crate::jit::Origin;
use crate::jit::code_cache::{CodeCache, Recorder};
use crate::jit::grow::Code;
use crate::jit::hot::{HotRegion, ReadPage};
use crate::jit::worker::{Answer, Worker};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use twox_hash::XxHash3_64;

/// How long the vCPU's thread, which has nothing else to do, sleeps before it looks how far the other one is.
const PAUSE: Duration = Duration::from_millis(1);

/// What a run notes for others.
#[derive(Default)]
pub(super) struct Notes {
    regions: HashMap<HotPlace, Noted>,
}

/// A region, made last over these blocks.
struct Noted {
    region: HotRegion,
    /// The block that it begins with: those that the vCPU came to first have the lowest numbers.
    block: BlockId,
}

impl Notes {
    /// Notes a region that is about to be translated.
    pub fn add<I: Copy>(&mut self, code: &Code<I>, pending: &Pending) {
        let Origin { page, second, mode, context } = pending.origin;
        let ((blocks, entries), context) = (code.blocks(), context as u8);
        // What lies in two pages is one instruction.
        if second.is_none() {
            let region = HotRegion { page, mode, context, may_grow: pending.may_grow, blocks, entries };
            self.regions
                .entry(region.place())
                .and_modify(|noted| noted.region = region.clone())
                .or_insert(Noted { region, block: pending.id });
        }
    }

    /// All of them in the order in which the vCPU came to them.
    fn list(&self) -> Vec<HotRegion> {
        let mut regions: Vec<&Noted> = self.regions.values().collect();
        regions.sort_by_key(|noted| noted.block);
        regions.into_iter().map(|noted| noted.region.clone()).collect()
    }
}

/// What is being made.
pub(super) struct Ahead {
    /// What it is called in the code cache.
    name: u64,
    /// How far it is, and where the vCPU is.
    progress: Arc<Progress>,
}

impl Translator {
    /// Notes from now on what is translated, for [`Self::hot_regions`].
    pub fn note_hot(&mut self) {
        self.notes = Some(Notes::default());
    }

    /// What was translated since then, in the order in which another run should.
    pub fn hot_regions(&self) -> Vec<HotRegion> {
        self.notes.as_ref().map_or_else(Vec::new, Notes::list)
    }

    /// Lets the other thread, if there is one, make the regions of an encoded list while nothing else is asked of it, from
    /// pages as they are read; what becomes of them in the guest does not matter.
    pub fn translate_ahead<G: Guest>(&mut self, list: Vec<u8>, read: ReadPage) {
        let Some(worker) = &mut self.worker else { return };
        let kept = self.kept.get_or_insert_with(CodeCache::in_memory);
        let name = XxHash3_64::oneshot(&list);
        if list.is_empty() || kept.is_marked(name) {
            return;
        }
        let progress = Arc::new(Progress::default());
        let missing = Missing::new(list, read, kept.segments(), progress.clone());
        let recorder = kept.recorder().clone();
        let job = move |(region, page): (_, Box<[u8]>)| job::<G>(&region, page, &recorder).map(Task::Record);
        worker.spare(Box::new(missing.map(move |found| found.and_then(&job))));
        self.ahead = Some(Ahead { name, progress });
    }

    /// The vCPU comes to code that is not there.
    pub(super) fn fall_behind(&self, origin: Origin, place: u64) {
        if let Some(ahead) = &self.ahead {
            ahead.progress.pass(HotPlace::of(&origin, place));
        }
    }

    /// It is made because it was asked for.
    pub(super) fn take_over(&self, origin: Origin, place: u64) {
        if let Some(ahead) = &self.ahead {
            ahead.progress.take(HotPlace::of(&origin, place));
        }
    }

    /// Takes in what the other thread has made; what was asked for waits to be installed.
    pub(super) fn receive(&mut self) {
        while let Some(answer) = self.worker.as_ref().and_then(Worker::answer) {
            self.arrive(answer);
        }
    }

    pub(super) fn arrive(&mut self, answer: Answer<Product>) {
        let Answer { number, made, took_ns } = answer;
        self.statistics.background_ns += took_ns;
        match made {
            Product::Code(made) => self.arrived.extend(number.map(|number| (number, made))),
            Product::Record(record) => {
                self.statistics.ahead += 1;
                if let (Some(kept), Some((keys, record))) = (&mut self.kept, record) {
                    kept.add_fresh(&keys, record);
                }
            }
            Product::Memory => {}
        }
    }

    /// Gives the other thread time to come to the end of the list, so long at most, and notes it if it does. Gives the time
    /// that is left.
    pub(super) fn finish_ahead(&mut self, time: Duration) -> Duration {
        let Some(Ahead { name, progress }) = &self.ahead else { return time };
        let (name, progress, began) = (*name, progress.clone(), Instant::now());
        while !progress.is_done() && began.elapsed() < time {
            std::thread::sleep(PAUSE);
        }
        let was_done = progress.is_done();
        self.receive();
        if was_done && let Some(kept) = &self.kept {
            kept.recorder().mark(name);
            self.ahead = None;
        }
        time.saturating_sub(began.elapsed())
    }

    /// Lets a block that has been run by the interpreter lead to what was made of it meanwhile.
    pub(super) fn catch_up<G: Guest>(
        &mut self,
        cache: &mut BlockCache<G::Insn>,
        cpu: &mut Cpu<G>,
        id: BlockId,
    ) -> Option<u32> {
        if self.ahead.is_none() || cache.block(id).translated(cpu.data_context()).is_some() {
            return None;
        }
        self.receive();
        let origin = Origin::of(cache.block(id), cpu.data_context());
        let number = self.find(cpu, origin, cache.block(id).page_offset(), id)?;
        cache.set_translated(id, origin.context, number);
        self.link_on(cache, id, number);
        Some(number)
    }
}

/// What is to be done for a region that is in a page with these contents; `None` if there is no code for it.
fn job<G: Guest>(region: &HotRegion, page: Box<[u8]>, recorder: &Recorder) -> Option<Job> {
    let code = Code::of_page::<G>(&page, region)?;
    let (origin, place) = (region.origin(), region.blocks[0].start.into());
    let keep = Keep::new(page, None, recorder);
    let is_compact = region.may_grow && region.blocks.iter().all(|block| block.heat < HOT);
    Some(Job::new::<G>(
        move || code.region_and_entries::<G>(),
        origin,
        place,
        region.may_grow,
        is_compact,
        Some(keep),
    ))
}

//! Translation at run time: what is translated when, where it is, and how it is run.

pub mod any;
pub mod call_out;
#[cfg(all(unix, target_arch = "x86_64"))]
pub mod code_cache;
#[cfg(any(feature = "wasmtime", feature = "cranelift"))]
pub mod compiled;
#[cfg(all(any(feature = "wasmtime", feature = "cranelift"), unix, target_arch = "x86_64"))]
use code_cache::compiled as kept;
#[cfg(all(unix, target_arch = "x86_64"))]
mod generations;
pub mod grow;
pub mod hot;
#[cfg(all(any(feature = "wasmtime", feature = "cranelift"), not(all(unix, target_arch = "x86_64"))))]
#[path = "code_cache/no_compiled.rs"]
mod kept;
#[cfg(all(unix, target_arch = "x86_64"))]
mod native;
#[cfg(not(all(unix, target_arch = "x86_64")))]
#[path = "no_native.rs"]
mod native;
pub mod verify;
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
mod worker;

#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
use crate::addr::Page;
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
use crate::cache::{Block, BlockCache, BlockId};
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
use crate::cpu::Cpu;
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
use crate::guest::{Guest, Mode};
use call_out::Leave;
pub use native::{CodeCache, Translator};
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
use std::cmp::Reverse;

/// Memory for translated code and what describes it, unless somebody says otherwise.
pub const CODE_BYTES: u64 = 256 << 20;
/// The least of it that is of use.
pub const LEAST_CODE_BYTES: u64 = 4 << 20;
/// The most that jumps reach.
pub const MOST_CODE_BYTES: u64 = 1 << 30;
/// Bytes of files that a directory of translated code keeps, unless somebody says otherwise.
pub const CODE_CACHE_BYTES: u64 = 256 << 20;
/// Runs of a block before it is translated, unless somebody says otherwise.
pub const THRESHOLD: u32 = 64;
/// What code is made from, and for.
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// The page that it starts in.
    pub page: Page,
    /// The page that its instruction ends in, if that is another one.
    pub second: Option<Page>,
    pub mode: Mode,
    /// Context of its data accesses.
    pub context: usize,
}

#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
impl Origin {
    /// That of code that begins with a block.
    fn of(block: &Block, context: usize) -> Self {
        Self { page: Page::of(block.gpa()), second: block.second(), mode: block.mode(), context }
    }

    /// The same for what the interpreter ran it in last.
    fn last_of(block: &Block) -> Self {
        Self::of(block, block.context())
    }

    /// The pages that writes to concern it.
    fn pages(&self) -> impl Iterator<Item = Page> + use<> {
        [Some(self.page), self.second].into_iter().flatten()
    }
}

/// Processor time that this thread has taken, in nanoseconds: what translation costs, whatever else the host does.
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
pub fn thread_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What part of the code of a run is not worth a file.
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
const LITTLE: u64 = 16;

/// Blocks that have run so often and have no code, the hottest first, for a later run. `None` where next to all of a run's code
/// was there already: each run meets a little that the others do not.
#[cfg(any(feature = "wasmtime", feature = "cranelift", all(unix, target_arch = "x86_64")))]
fn warm_blocks<G: Guest>(
    cache: &BlockCache<G::Insn>,
    cpu: &Cpu<G>,
    least_heat: u32,
    statistics: &TranslatorStatistics,
) -> Option<Vec<BlockId>> {
    // What was written is still to be looked at.
    let has_written = cpu.ram.has_written_code();
    let is_warm = |id: &BlockId| {
        let block = cache.block(*id);
        block.heat() >= least_heat && block.translated(block.context()).is_none() && cache.is_live(*id)
    };
    let mut warm: Vec<BlockId> = cache.ids().filter(|_| !has_written).filter(is_warm).collect();
    let warm_insns: u64 = warm.iter().map(|&id| cache.block(id).count() as u64).sum();
    if (warm_insns + statistics.insns) * LITTLE < statistics.recalled_insns {
        return None;
    }
    warm.sort_by_key(|&id| Reverse(cache.block(id).heat()));
    Some(warm)
}

/// How a run of translated code ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on at the vCPU's pc.
    Next,
    /// The same: its time was up there.
    Paused,
    /// The instruction at the vCPU's pc was left undone.
    Left(Leave),
}

/// What the translator has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TranslatorStatistics {
    /// Regions translated.
    pub regions: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Guest instructions in them.
    pub insns: u64,
    /// Of the regions, those that stand for one of fewer blocks, because time was often up there.
    pub grown: u64,
    /// Bytes of code.
    pub code_bytes: u64,
    /// Regions that another thread translated before the vCPU came to them.
    pub ahead: u64,
    /// Of these, those that it came to.
    pub ahead_used: u64,
    /// Regions that came from the code cache.
    pub recalled: u64,
    /// Guest instructions in them.
    pub recalled_insns: u64,
    /// Bytes of code and of what describes it that are kept now, where that is known.
    pub kept_bytes: u64,
    /// Processor time that translation took on the vCPU's thread.
    pub translation_ns: u64,
    /// Processor time that it took on another thread.
    pub background_ns: u64,
    /// Guest instructions that translated code retired.
    pub retired: u64,
    /// Entries from the run loop.
    pub entries: u64,
    /// Sites that called out.
    pub call_outs: u64,
    /// Of these, helpers.
    pub helpers: u64,
    /// Ways out that were not linked.
    pub unlinked: u64,
    /// Jumps that missed the jump cache.
    pub jump_misses: u64,
    /// Times code was left because its instructions were used up or something asked for a look.
    pub pauses: u64,
    /// Times it was left because of an exception.
    pub traps: u64,
    /// Times it was left for one instruction to the interpreter, which a device or overwritten code is concerned by.
    pub interpreted: u64,
    /// Generations of code that were dropped because memory for code was full.
    pub dropped_generations: u64,
    /// Units dropped because their page was written.
    pub invalidated: u64,
}

//! Translation at run time: which code is translated, where it is, how it is linked, and how it is run.
//!
//! Code is reachable (by a block, the jump cache, or a link from other code) only until a page that it was made from is
//! written. What a host cannot have is a translator that nobody can make.

pub mod any;
pub mod call_out;
pub mod grow;
#[cfg(all(unix, target_arch = "x86_64"))]
mod native;
#[cfg(not(all(unix, target_arch = "x86_64")))]
#[path = "native_absent.rs"]
mod native;
#[cfg(feature = "wasmtime")]
pub mod wasm;
#[cfg(not(feature = "wasmtime"))]
#[path = "wasm_absent.rs"]
pub mod wasm;

use crate::addr::Page;
use crate::guest::Mode;
use call_out::Leave;
pub use native::Translator;

/// Runs of a block before it is translated, unless somebody says otherwise.
pub const THRESHOLD: u32 = 64;
/// What code is made from, and for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Origin {
    /// The page that it starts in.
    page: Page,
    /// The page that its instruction ends in, if that is another one.
    second: Option<Page>,
    mode: Mode,
    /// Context of its data accesses.
    context: usize,
}

impl Origin {
    /// The pages that writes to concern it.
    #[cfg_attr(not(feature = "wasmtime"), allow(dead_code, reason = "each translator knows it its own way"))]
    fn pages(&self) -> impl Iterator<Item = Page> + use<> {
        [Some(self.page), self.second].into_iter().flatten()
    }
}

/// How a run of translated code ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on at the vCPU's pc.
    Next,
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
    /// Bytes of code.
    pub code_bytes: u64,
    /// Time that translation took.
    pub translation_ns: u64,
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
    /// Times all code was dropped because its memory was full.
    pub flushes: u64,
    /// Units dropped because their page was written.
    pub invalidated: u64,
}

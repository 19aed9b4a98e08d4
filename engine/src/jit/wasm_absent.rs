//! In place of the translator to wasm modules, where nothing is built in that runs them.

use super::{End, TranslatorStatistics};
use crate::addr::Page;
use crate::cache::{BlockCache, BlockId};
use crate::cpu::Cpu;
use crate::guest::Guest;
use core::convert::Infallible;
use core::marker::PhantomData;

/// A translator that nobody can make.
pub struct WasmTranslator<G: Guest>(Infallible, PhantomData<G>);

#[allow(missing_docs, reason = "as the other one has them")]
#[allow(clippy::unused_self, reason = "as the other one has them")]
impl<G: Guest> WasmTranslator<G> {
    pub fn statistics(&self) -> TranslatorStatistics {
        match self.0 {}
    }

    pub fn heat_up(&mut self, _cache: &mut BlockCache<G::Insn>, _cpu: &mut Cpu<G>, _id: BlockId) {
        match self.0 {}
    }

    pub fn clear(&mut self, _cache: &mut BlockCache<G::Insn>, _cpu: &mut Cpu<G>) {
        match self.0 {}
    }

    pub fn invalidate(&mut self, _cpu: &mut Cpu<G>, _page: Page) {
        match self.0 {}
    }

    pub fn run(&mut self, _cpu: &mut Cpu<G>, _number: u32, _limit: u64) -> End {
        match self.0 {}
    }
}

//! In place of the translator to code of the host's processor, on processors that it does not know.

use super::{End, TranslatorStatistics};
use crate::addr::{Gva, Page};
use crate::cache::{BlockCache, BlockId};
use crate::cpu::Cpu;
use crate::eager::BlockEnd;
use crate::guest::Guest;
use crate::ir::block::Block;
use core::convert::Infallible;

/// A translator that nobody can make.
pub struct Translator(Infallible);

#[allow(missing_docs, reason = "as the other one has them")]
#[allow(clippy::unused_self, reason = "as the other one has them")]
impl Translator {
    /// There is none.
    pub fn new<G: Guest>(_threshold: u32) -> Option<Self> {
        None
    }

    pub fn statistics(&self) -> TranslatorStatistics {
        match self.0 {}
    }

    pub fn heat_up<G: Guest>(&mut self, _cache: &mut BlockCache<G::Insn>, _cpu: &mut Cpu<G>, _id: BlockId) {
        match self.0 {}
    }

    pub fn run_block<G: Guest>(&mut self, _cpu: &mut Cpu<G>, _pc: Gva, _block: &Block) -> Option<BlockEnd> {
        match self.0 {}
    }

    pub fn clear<G: Guest>(&mut self, _cache: &mut BlockCache<G::Insn>, _cpu: &mut Cpu<G>) {
        match self.0 {}
    }

    pub fn invalidate<G: Guest>(&mut self, _cpu: &mut Cpu<G>, _page: Page) {
        match self.0 {}
    }

    pub fn run<G: Guest>(&mut self, _cpu: &mut Cpu<G>, _number: u32, _limit: u64) -> End {
        match self.0 {}
    }
}

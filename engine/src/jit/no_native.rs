//! Stands for the translator to native code where there is none: it cannot be made.

use super::hot::{HotRegion, ReadPage};
use super::{End, TranslatorStatistics};
use crate::addr::{Gpa, Gva, Page};
use crate::cache::{BlockCache, BlockId, Recalled, Renumbered};
use crate::cpu::Cpu;
use crate::eager::BlockEnd;
use crate::guest::Guest;
use crate::ir::block::Block;
use std::io;
use std::path::Path;
use std::time::Duration;

/// There is none.
pub enum Translator {}

/// There is nothing to keep.
pub enum CodeCache {}

impl CodeCache {
    /// Opens none.
    ///
    /// # Errors
    /// In any case.
    pub fn open(_directory: &Path, _build: &[u8], _limit_bytes: u64) -> io::Result<Self> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there is no code to keep on this host"))
    }

    /// The same.
    #[must_use]
    pub fn hide(self) -> Self {
        match self {}
    }
}

#[allow(missing_docs, reason = "as those of the translator to native code")]
impl Translator {
    pub fn new<G: Guest>(_code_bytes: u64, _threshold: u32) -> Option<Self> {
        None
    }

    pub fn use_thread<G: Guest>(&mut self, _cpu: &Cpu<G>) -> io::Result<()> {
        match *self {}
    }

    pub fn note_hot(&mut self) {
        match *self {}
    }

    pub fn hot_regions(&self) -> Vec<HotRegion> {
        match *self {}
    }

    pub fn translate_ahead<G: Guest>(&mut self, _list: Vec<u8>, _read: ReadPage) {
        match *self {}
    }

    pub fn hesitate_until(&mut self, _retired: u64) {
        match *self {}
    }

    pub fn statistics(&self) -> TranslatorStatistics {
        match *self {}
    }

    pub fn heat_up<G: Guest>(&mut self, _: &mut BlockCache<G::Insn>, _: &mut Cpu<G>, _: BlockId) {
        match *self {}
    }

    pub fn run_block<G: Guest>(&mut self, _: &mut Cpu<G>, _: Gva, _: &Block) -> Option<BlockEnd> {
        match *self {}
    }

    pub fn keep(&mut self, _: CodeCache) {
        match *self {}
    }

    pub fn save<G: Guest>(
        &mut self,
        _: &mut BlockCache<G::Insn>,
        _: &mut Cpu<G>,
        _: Duration,
    ) -> io::Result<()> {
        match *self {}
    }

    pub fn recall<G: Guest>(&mut self, _: &mut Cpu<G>, _: Gpa, _: BlockId) -> Option<Recalled> {
        match *self {}
    }

    pub fn adopt<G: Guest>(
        &mut self,
        _: &mut BlockCache<G::Insn>,
        _: &mut Cpu<G>,
        _: BlockId,
    ) -> Option<u32> {
        match *self {}
    }

    pub fn sample<G: Guest>(
        &mut self,
        _: &mut BlockCache<G::Insn>,
        _: &mut Cpu<G>,
        _: BlockId,
    ) -> Option<u32> {
        match *self {}
    }

    pub fn renumber(&mut self, _: &Renumbered) {
        match *self {}
    }

    pub fn invalidate<G: Guest>(&mut self, _: &mut Cpu<G>, _: Page) {
        match *self {}
    }

    pub fn run<G: Guest>(&mut self, _: &mut Cpu<G>, _number: u32, _limit: u64) -> End {
        match *self {}
    }
}

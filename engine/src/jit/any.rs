//! The translators that a machine can have.

#[cfg(any(feature = "wasmtime", feature = "cranelift"))]
use super::compiled::CompiledTranslator;
use super::{End, Translator, TranslatorStatistics};
use crate::addr::{Gpa, Page};
use crate::cache::{BlockCache, BlockId, Recalled, Renumbered};
use crate::cpu::Cpu;
use crate::guest::Guest;
#[cfg(not(any(feature = "wasmtime", feature = "cranelift")))]
use core::marker::PhantomData;

/// A translator to one kind of code.
pub enum AnyTranslator<G: Guest> {
    /// To code of the host's processor.
    Native(Box<Translator>),
    /// To code of the host's processor, by Cranelift.
    #[cfg(feature = "cranelift")]
    Cranelift(Box<CompiledTranslator<G, crate::host::cranelift::Host<G>>>),
    /// To wasm modules.
    #[cfg(feature = "wasmtime")]
    Wasm(Box<CompiledTranslator<G, crate::host::wasmtime::Host<G>>>),
    /// There is no other.
    #[cfg(not(any(feature = "wasmtime", feature = "cranelift")))]
    Never(PhantomData<G>, core::convert::Infallible),
}

macro_rules! each {
    ($self:expr, $translator:ident => $result:expr) => {
        match $self {
            AnyTranslator::Native($translator) => $result,
            #[cfg(feature = "wasmtime")]
            AnyTranslator::Wasm($translator) => $result,
            #[cfg(feature = "cranelift")]
            AnyTranslator::Cranelift($translator) => $result,
            #[cfg(not(any(feature = "wasmtime", feature = "cranelift")))]
            AnyTranslator::Never(_, never) => match *never {},
        }
    };
}

impl<G: Guest> AnyTranslator<G> {
    /// What it has done so far.
    pub fn statistics(&self) -> TranslatorStatistics {
        each!(self, translator => translator.statistics())
    }

    /// Counts a run of a block by the interpreter, and translates it when that pays.
    #[inline]
    pub fn heat_up(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) {
        each!(self, translator => translator.heat_up(cache, cpu, id));
    }

    /// Lets a block that is about to be made lead to code that was translated before, if there is any.
    #[inline]
    pub fn recall(&mut self, cpu: &mut Cpu<G>, gpa: Gpa, id: BlockId) -> Option<Recalled> {
        match self {
            AnyTranslator::Native(translator) => translator.recall(cpu, gpa, id),
            #[cfg(feature = "wasmtime")]
            AnyTranslator::Wasm(translator) => translator.recall(cpu, gpa),
            #[allow(unreachable_patterns, reason = "there may be no other")]
            _ => None,
        }
    }

    /// The same for a block that has been made and has not run yet; gives the number of the code.
    #[inline]
    pub fn adopt(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) -> Option<u32> {
        match self {
            AnyTranslator::Native(translator) => translator.adopt(cache, cpu, id),
            #[cfg(feature = "wasmtime")]
            AnyTranslator::Wasm(translator) => translator.adopt(cache, cpu, id),
            #[allow(unreachable_patterns, reason = "there may be no other")]
            _ => None,
        }
    }

    /// A block is about to be run, first of all after the run loop has looked at devices; gives the number of its code.
    #[inline]
    pub fn sample(&mut self, cache: &mut BlockCache<G::Insn>, cpu: &mut Cpu<G>, id: BlockId) -> Option<u32> {
        each!(self, translator => translator.sample(cache, cpu, id))
    }

    /// Blocks have other numbers now.
    pub fn renumber(&mut self, blocks: &Renumbered) {
        each!(self, translator => translator.renumber(blocks));
    }

    /// Drops the code that was made from a page.
    pub fn invalidate(&mut self, cpu: &mut Cpu<G>, page: Page) {
        each!(self, translator => translator.invalidate(cpu, page));
    }

    /// Runs a unit, which the vCPU's pc leads to, until it leaves.
    #[inline]
    pub fn run(&mut self, cpu: &mut Cpu<G>, number: u32, limit: u64) -> End {
        each!(self, translator => translator.run(cpu, number, limit))
    }
}

//! Stands for what is kept of compiled regions where nothing is kept: it cannot be made.

use crate::addr::Page;
use crate::host::regions::OwnCode;
use crate::ir::region::Region;
use crate::jit::{CodeCache, Origin};
use crate::mem::ram::Ram;
use std::io;

/// There is none.
pub enum CompiledCache {}

#[allow(missing_docs, reason = "as those of what is found where there is a cache")]
pub struct Found {
    pub first: (u16, u16),
    pub insns: u64,
    pub may_grow: bool,
    pub module: u128,
    pub number: u32,
    pub ranges: Vec<(Page, u64, u64)>,
}

#[allow(missing_docs, reason = "as those of what is found where there is a cache")]
pub struct FoundModule<'a> {
    pub links: Vec<Vec<i64>>,
    pub code: OwnCode<'a>,
}

/// There is none.
pub enum Begun {}

#[allow(missing_docs, reason = "as those of the cache")]
impl CompiledCache {
    pub fn new(cache: CodeCache) -> Self {
        match cache {}
    }

    pub(in crate::jit) fn find(&self, _: &Ram, _: &Origin, _place: u64) -> Option<Found> {
        match *self {}
    }

    pub fn module(&self, _name: u128) -> Option<FoundModule<'_>> {
        match *self {}
    }

    pub(in crate::jit) fn begin(
        &self,
        _: &Ram,
        _: &Origin,
        _: &Region,
        _may_grow: bool,
        _links: &[i64],
    ) -> Option<Begun> {
        match *self {}
    }

    pub fn finish(&mut self, _: Vec<Begun>, _code: &[u8]) {
        match *self {}
    }

    pub fn save(&mut self) -> io::Result<()> {
        match *self {}
    }
}

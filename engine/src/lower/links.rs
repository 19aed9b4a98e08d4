//! Ways out of a region that can be linked to another one.

use crate::addr::PAGE_BYTES;
use crate::ir::region::{Region, Way};
use core::ops::Range;

/// What a region is compiled with besides its blocks.
#[derive(Clone, Debug)]
pub struct Plan {
    /// TLB context of its loads and stores.
    pub data_context: usize,
    /// Its [`links`].
    pub links: Vec<i64>,
    /// Number of the first one's cell; the others follow.
    pub first_link: u32,
    /// Numbers of the blocks that its indirect jumps may lead to; they may also lead out of it.
    pub jumps: Vec<usize>,
    /// Its code is to be short, and so soon compiled, rather than fast, where a lowering has the choice.
    pub is_brief: bool,
}

impl Plan {
    /// Numbers of its cells.
    pub fn cells(&self) -> Range<u32> {
        self.first_link..self.first_link + self.links.len() as u32
    }
}

/// Whether a way out stays in the guest page, so that it can be linked.
pub(super) fn is_linked(offset: i64) -> bool {
    (0..PAGE_BYTES as i64).contains(&offset)
}

/// Targets of a region's ways out that can be linked, in bytes from the entry's page and in ascending order.
pub fn links(region: &Region) -> Vec<i64> {
    let mut found = Vec::new();
    for block in &region.blocks {
        block.ways.for_each(|way| {
            found.extend(match way {
                Way::Out(offset) if is_linked(offset) => Some(offset),
                _ => None,
            })
        });
    }
    found.sort_unstable();
    found.dedup();
    found
}

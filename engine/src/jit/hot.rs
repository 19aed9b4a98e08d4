//! Regions that a run found worth their translation, so that another run of the same guest can make them before it comes to
//! them.
//!
//! What names a region is where its blocks are and how they are entered, no more: its code is read again where it is then,
//! and what is made of it is run only where these very bytes are found. So a list may come from anywhere, an image
//! included: a wrong one only costs the time of translating what nobody runs.

use super::grow::pieces::MAX_BLOCKS;
use crate::addr::{PAGE_BYTES, Page};
use crate::guest::Mode;
use crate::mem::tlb::MAX_CONTEXTS;
use serde::{Deserialize, Serialize};

/// Most regions of a list: several times what a large program starts with.
const MOST_REGIONS: usize = 1 << 17;

/// A region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotRegion {
    /// The page of guest-physical memory that all of it lies in.
    pub page: Page,
    /// The vCPU's mode.
    pub mode: Mode,
    /// Context of data accesses.
    pub context: u8,
    /// It may be made anew over more blocks.
    pub may_grow: bool,
    /// Its blocks, those first where it is entered.
    pub blocks: Vec<HotBlock>,
    /// How many these are.
    pub entries: u16,
}

/// A block of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotBlock {
    /// Where in the page it starts.
    pub start: u16,
    /// How often it has run.
    pub heat: u32,
}

/// Contents of pages of guest-physical memory, for another thread.
pub type ReadPage = Box<dyn FnMut(Page) -> Option<Box<[u8]>> + Send>;

impl HotRegion {
    /// Whether it can be one. Lists are foreign bytes.
    fn is_possible(&self) -> bool {
        let is_inside = |block: &HotBlock| u64::from(block.start) < PAGE_BYTES;
        usize::from(self.context) < MAX_CONTEXTS
            && (1..=MAX_BLOCKS).contains(&self.blocks.len())
            && (1..=self.blocks.len()).contains(&self.entries.into())
            && self.blocks.iter().all(is_inside)
    }
}

/// The bytes of a list.
pub fn encode<'a>(regions: impl Iterator<Item = &'a HotRegion>) -> Vec<u8> {
    regions.fold(Vec::new(), |bytes, region| {
        postcard::to_extend(region, bytes).expect("memory is all that encoding needs")
    })
}

/// The regions of a list, up to the first that is none.
pub fn decode(mut bytes: &[u8]) -> Vec<HotRegion> {
    let regions = std::iter::from_fn(|| {
        let (region, rest) = postcard::take_from_bytes::<HotRegion>(bytes).ok()?;
        bytes = rest;
        region.is_possible().then_some(region)
    });
    regions.take(MOST_REGIONS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn regions() -> impl Strategy<Value = Vec<HotRegion>> {
        let block = (0..PAGE_BYTES as u16, any::<u32>()).prop_map(|(start, heat)| HotBlock { start, heat });
        let region =
            (any::<u64>(), any::<u16>(), 0..MAX_CONTEXTS as u8, any::<bool>(), vec(block, 1..=MAX_BLOCKS));
        let region = region.prop_map(|(page, mode, context, may_grow, blocks)| HotRegion {
            page: Page(page),
            mode: Mode(mode),
            context,
            may_grow,
            entries: blocks.len().div_ceil(2) as u16,
            blocks,
        });
        vec(region, 0..9)
    }

    proptest! {
        #[test]
        fn lists_are_read_as_they_were_written(regions in regions(), cut in any::<prop::sample::Index>()) {
            let mut bytes = encode(regions.iter());
            prop_assert_eq!(&decode(&bytes), &regions);
            bytes.truncate(cut.index(bytes.len() + 1));
            prop_assert!(regions.starts_with(&decode(&bytes)));
        }

        #[test]
        fn any_bytes_give_possible_regions(bytes in vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).iter().all(HotRegion::is_possible));
        }
    }
}

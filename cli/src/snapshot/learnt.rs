//! What packing an image learns about its start: the profile section.

use super::Saved;
use super::prefetch::WorkingSet;
use c2w_engine::addr::{PAGE_BYTES, Page};
use c2w_engine::jit::hot::{self, HotRegion, ReadPage};
use c2w_engine::mem::ram::Ram;
use c2w_packer::image::ram::PageReader;
use c2w_packer::image::{Arch, Image, ImageError, SectionId};

/// What a start needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learnt {
    /// Pages that it writes.
    pub written: WorkingSet,
    /// Code that it runs often, as [`hot::encode`] lists it.
    pub hot: Vec<u8>,
}

impl Learnt {
    /// What a machine that went on from a snapshot has touched, and which of the regions that it translated are in pages that
    /// the snapshot has.
    ///
    /// # Errors
    /// The image's.
    pub fn of(image: &Image, saved: &Saved, ram: &Ram, hot: &[HotRegion]) -> Result<Self, ImageError> {
        let mut read = snapshot_pages(image, saved)?;
        let mut last: Option<(Page, bool)> = None;
        let mut is_same = |page: Page| match last {
            Some((number, is_same)) if number == page => is_same,
            _ => {
                let now = ram.slice(page.start(), PAGE_BYTES).ok();
                let is_same = now.is_some() && read(page).as_deref() == now;
                last = Some((page, is_same));
                is_same
            }
        };
        let hot = hot::encode(hot.iter().filter(|region| is_same(region.page)));
        Ok(Self { written: WorkingSet::of(ram), hot })
    }

    /// The bytes of the profile section: the set, and behind it the list.
    ///
    /// # Errors
    /// None in practice.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let mut bytes = postcard::to_allocvec(&self.written)?;
        bytes.extend_from_slice(&self.hot);
        Ok(bytes)
    }

    /// Reads a profile section. One that cannot be read is as none: it only saves time.
    pub fn decode(bytes: &[u8]) -> Self {
        match postcard::take_from_bytes(bytes) {
            Ok((written, hot)) => Self { written, hot: hot.to_vec() },
            Err(_) => Self::default(),
        }
    }
}

/// The pages of a snapshot, for another thread.
///
/// # Errors
/// The image's.
pub fn snapshot_pages(image: &Image, saved: &Saved) -> Result<ReadPage, ImageError> {
    let section = image.section_file(SectionId::RamSnapshot)?;
    let pages = PageReader::new(section.file, section.offset, saved.runs.clone());
    let base = match image.arch() {
        Arch::Riscv64 => c2w_decoders::riscv64::board::RAM_BASE,
        Arch::X86_64 => c2w_decoders::x86_64::board::map::RAM_BASE,
    };
    let first = Page::of(base).0;
    Ok(Box::new(move |page| pages.read(page.0.checked_sub(first)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use c2w_engine::guest::Mode;
    use c2w_engine::jit::hot::HotBlock;
    use c2w_packer::image::ram::PageRun;

    #[test]
    fn what_was_learnt_is_read_back() {
        let blocks = vec![HotBlock { start: 16, heat: 70 }];
        let region =
            HotRegion { page: Page(3), mode: Mode(1), context: 0, may_grow: true, blocks, entries: 1 };
        let written = WorkingSet { written: vec![PageRun { first: 7, count: 2 }] };
        let learnt = Learnt { written, hot: hot::encode([&region].into_iter()) };
        let bytes = learnt.encode().unwrap();
        assert_eq!(Learnt::decode(&bytes), learnt);
        assert_eq!(Learnt::decode(&bytes[..1]), Learnt::default());
        assert_eq!(Learnt::decode(b""), Learnt::default());
    }
}

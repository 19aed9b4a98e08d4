//! Lists of hot code from anywhere, and any pages: what they name is decoded, recorded and translated, or is none. The input
//! is the length of the list, the list, and the page.

#![no_main]

use c2w_decoders::riscv64::guest::Riscv64;
use c2w_decoders::x86_64::guest::X86_64;
use c2w_engine::guest::Guest;
use c2w_engine::jit::grow::Code;
use c2w_engine::jit::hot::{self, HotRegion};
use c2w_engine::lower::x64::{Lowering, Request};
use libfuzzer_sys::fuzz_target;

const PAGE_BYTES: usize = 4096;
/// Regions that are translated of a list, so that no input takes long.
const MOST: usize = 4;

fn translate<G: Guest>(lowering: &mut Lowering, page: &[u8], region: &HotRegion) {
    let Some(code) = Code::of_page::<G>(page, region) else { return };
    let is_compact = region.may_grow;
    let (region, entries) = code.region_and_entries::<G>();
    let request = Request {
        helpers: G::HELPERS,
        vector_scratch: G::VECTOR_SCRATCH,
        float_environment: G::FLOAT_ENVIRONMENT,
        transient: G::TRANSIENT_SLOTS,
        context: 0,
        is_compact,
    };
    let lowered = lowering.lower_entered(&region, &entries, request);
    let is_inside = |at: u32| (at as usize) < lowered.code.len();
    assert!(lowered.entries.iter().all(|point| is_inside(point.entry) && is_inside(point.start)));
    assert_eq!(lowered.entries.len(), entries.len());
}

fuzz_target!(|data: &[u8]| {
    let Some((&len, rest)) = data.split_first() else { return };
    let Some((list, code)) = rest.split_at_checked(len.into()) else { return };
    let mut page = [0; PAGE_BYTES];
    let len = code.len().min(PAGE_BYTES);
    page[..len].copy_from_slice(&code[..len]);
    let mut lowering = Lowering::new(None);
    for region in hot::decode(list).iter().take(MOST) {
        translate::<X86_64>(&mut lowering, &page, region);
        translate::<Riscv64>(&mut lowering, &page, region);
    }
});

//! Files of the code cache with right checksums and any content: they are refused or give what lies in them.

#![no_main]

use c2w_engine::guest::Mode;
use c2w_engine::jit::code_cache::record::{self, Entry};
use c2w_engine::jit::code_cache::segment::{self, MAGIC, Segment};
use c2w_engine::lower::x64::{Translated, settle};
use libfuzzer_sys::fuzz_target;

const FINGERPRINT: segment::Fingerprint = *b"c2w fuzz target.";

fuzz_target!(|data: &[u8]| {
    // As a file.
    let file = [&MAGIC[..], &FINGERPRINT, data].concat();
    if let Some(segment) = Segment::open(&file[..], &FINGERPRINT) {
        for (keys, _) in segment.records() {
            // What is found is whole; a damaged index may hide it.
            let _ = keys.into_iter().flat_map(|key| segment.find(key)).map(<[u8]>::len).sum::<usize>();
        }
    }
    // As a record: the first byte says how long the guest's page is, the record is what follows that.
    let Some((&len, rest)) = data.split_first() else { return };
    let Some((guest, bytes)) = rest.split_at_checked(len.into()) else { return };
    let mut page = [0; 4096];
    page[..guest.len()].copy_from_slice(guest);
    let entry = Entry { mode: Mode(0), context: 0, place: 0 };
    for second in [None, Some(&page[..])] {
        let Some((source, made)) = record::decode(bytes, entry, &page, second) else { continue };
        assert!(source.is_in(&page, second));
        if made.is_sound() {
            let mut code = made.code.to_vec();
            settle(&mut code, &made, 1 << 20, 1, 1);
            assert!(made.links().all(|link| link.jump + 4 <= code.len()));
        }
        let (_, _) = (made.homes().count(), made.vector_homes().count());
        for number in 0..made.sites().len() / 4 + 1 {
            record::decode_site(made.sites(), number);
        }
    }
});

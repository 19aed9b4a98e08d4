//! Memory that is about to be touched for the first time. The host provides a page when that happens, which costs the thread that
//! touches it more than a microsecond; another thread can have many pages provided at a time before.

/// Bytes that a table grows by while another thread is woken and has them provided, twice over.
const AHEAD_BYTES: usize = 256 << 10;

/// So many bytes from an address on. What is there may be gone before anything is done about it.
pub(crate) struct Untouched {
    start: usize,
    len_bytes: usize,
}

impl Untouched {
    /// The memory of a value.
    pub fn of<T: ?Sized>(value: &T) -> Self {
        Self { start: (&raw const *value).addr(), len_bytes: size_of_val(value) }
    }

    /// Has whole pages of it provided, where the host can do that.
    pub fn make_present(self) {
        #[cfg(target_os = "linux")]
        {
            use crate::addr::PAGE_BYTES;
            use rustix::mm::{Advice, madvise};
            let page = PAGE_BYTES as usize;
            let (start, end) =
                (self.start.next_multiple_of(page), (self.start + self.len_bytes) / page * page);
            if start < end {
                let at = std::ptr::without_provenance_mut(start);
                // SAFETY: the advice changes no contents, whatever is there; where nothing is it does nothing.
                let _ = unsafe { madvise(at, end - start, Advice::LinuxPopulateWrite) };
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = self;
    }
}

/// How much of a table that grows somebody was asked to make present, in bytes.
#[derive(Default)]
pub(crate) struct Asked(usize);

impl Asked {
    /// What a table will grow into before long, unless somebody was asked to make that present.
    pub fn wanted<T>(&mut self, table: &Vec<T>) -> Option<Untouched> {
        let (used, room) = (size_of_val(table.as_slice()), table.capacity() * size_of::<T>());
        if self.0 >= room.min(used + AHEAD_BYTES / 2) {
            return None;
        }
        let from = self.0.max(used);
        self.0 = room.min(used + AHEAD_BYTES);
        Some(Untouched { start: table.as_ptr().addr() + from, len_bytes: self.0 - from })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_wanted_before_it_grows_and_once() {
        let mut table: Vec<u64> = Vec::with_capacity(1 << 18);
        let (mut asked, mut end) = (Asked::default(), table.as_ptr().addr());
        let last = end + size_of::<u64>() * table.capacity();
        while table.len() < table.capacity() {
            if let Some(wanted) = asked.wanted(&table) {
                assert_eq!(wanted.start, end);
                end += wanted.len_bytes;
                wanted.make_present();
            }
            assert!(asked.wanted(&table).is_none());
            table.push(7);
            assert!(end >= last.min(table.as_ptr_range().end.addr() + AHEAD_BYTES / 4));
        }
        assert_eq!(end, last);
        assert!(table.iter().all(|&number| number == 7));
    }

    #[test]
    fn what_is_there_stays() {
        let bytes = vec![3u8; 1 << 20];
        Untouched::of(bytes.as_slice()).make_present();
        assert!(bytes.iter().all(|&byte| byte == 3));
        // Less than a page, and nothing.
        Untouched::of(&bytes[1]).make_present();
        Untouched::of(&bytes[..0]).make_present();
    }
}

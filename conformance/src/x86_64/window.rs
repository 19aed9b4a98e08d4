//! The memory that instructions under test live in and access: pages with different rights at the same addresses on
//! the processor and on our vCPU, so that stray accesses fault alike.

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Address of the first page: below 2 GiB, where every addressing form reaches it.
pub const BASE: u64 = 0x1000_0000;

/// What user code may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Nothing: not present.
    None,
    /// Load.
    Read,
    /// Load and store.
    Write,
    /// Load and execute.
    Execute,
}

/// The pages from [`BASE`] on.
pub const PAGES: [Rights; 10] = {
    use Rights::{Execute, None, Read, Write};
    [Execute, Execute, None, Write, Write, Read, None, Write, Write, None]
};
/// Bytes of the window.
pub const LEN_BYTES: u64 = PAGE * PAGES.len() as u64;

/// Address of page `index`.
pub const fn page(index: u64) -> u64 {
    BASE + index * PAGE
}

/// Where the instruction under test starts: in the middle of the first page of code. The rest of both pages is INT3.
pub const CODE: u64 = page(0) + 0x800;
/// Pages of code.
pub const CODE_PAGES: core::ops::Range<u64> = 0..2;
/// Pages that hold data and are compared: the first two can be written, the third only be read.
pub const DATA_PAGES: core::ops::Range<u64> = 3..6;
/// Pages for the stack, which can be written and are compared.
pub const STACK_PAGES: core::ops::Range<u64> = 7..9;
/// Offset and length of what is compared.
pub const COMPARED: core::ops::Range<u64> = DATA_PAGES.start * PAGE..STACK_PAGES.end * PAGE;

/// Whether code can run at an address.
pub fn is_code(address: u64) -> bool {
    (page(CODE_PAGES.start)..page(CODE_PAGES.end)).contains(&address)
}

//! The jump cache: where the code of recent jump targets is, by guest virtual address. Generated code looks into it.
//!
//! Entries carry a tag that names all that the code of an address depends on besides the page tables of one page; those
//! of a page are forgotten with its translation.

use crate::addr::Gva;

/// Rows of the jump cache: pages whose numbers differ in their low bits have one each.
pub const JUMP_ROWS: usize = 64;
/// Entries of a row.
pub const JUMP_COLUMNS: usize = 256;
/// How far an address is shifted to be mixed with itself for its column.
pub const JUMP_MIX_SHIFT: u32 = 8;

/// Where the code of a guest address is: an entry of the jump cache.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct JumpEntry {
    /// Guest virtual address of the code.
    pub pc: u64,
    /// The [`Vcpu::context_tag`] that it was found under.
    pub tag: u64,
    /// What a host jumps to: an address or a table index.
    pub code: u64,
    _unused: u64,
}

/// An entry that no look-up finds: context tags are never all ones.
const NO_JUMP: JumpEntry = JumpEntry { pc: 0, tag: u64::MAX, code: 0, _unused: 0 };

/// Row and column of an address in the jump cache.
#[inline]
pub fn jump_place(pc: u64) -> (usize, usize) {
    ((pc >> 12) as usize & (JUMP_ROWS - 1), (pc ^ pc >> JUMP_MIX_SHIFT) as usize & (JUMP_COLUMNS - 1))
}

/// The entries, a row for each page.
#[repr(C)]
pub struct Jumps {
    /// Rows of entries.
    pub rows: [[JumpEntry; JUMP_COLUMNS]; JUMP_ROWS],
}

impl Default for Jumps {
    fn default() -> Self {
        Self { rows: [[NO_JUMP; JUMP_COLUMNS]; JUMP_ROWS] }
    }
}

impl Jumps {
    /// Forgets everything.
    pub fn forget(&mut self) {
        self.rows.as_flattened_mut().fill(NO_JUMP);
    }

    /// Forgets the page of an address.
    pub fn forget_page(&mut self, gva: Gva) {
        let (row, _) = jump_place(gva.0);
        self.rows[row].fill(NO_JUMP);
    }

    /// Forgets all that leads to this code.
    pub fn forget_code(&mut self, code: u64) {
        for entry in self.rows.as_flattened_mut() {
            if entry.code == code {
                *entry = NO_JUMP;
            }
        }
    }

    /// Notes where the code of an address is.
    pub fn note(&mut self, pc: Gva, tag: u64, code: u64) {
        let (row, column) = jump_place(pc.0);
        self.rows[row][column] = JumpEntry { pc: pc.0, tag, code, _unused: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_forgotten_as_a_whole() {
        let mut jumps = Jumps::default();
        for pc in [0x1000, 0x1ffe, 0x2000] {
            jumps.note(Gva(pc), 1, pc);
        }
        jumps.forget_page(Gva(0x1234));
        let left: Vec<_> = jumps.rows.as_flattened().iter().filter(|entry| entry.tag == 1).collect();
        assert!(left.len() == 1 && left[0].pc == 0x2000);
        jumps.forget_code(0x2000);
        assert!(jumps.rows.as_flattened().iter().all(|entry| entry.tag != 1));
    }
}

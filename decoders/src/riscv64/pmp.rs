//! Physical memory protection: 16 entries, granularity 4 bytes (Priv. 3.7).
//!
//! Invariant: `active` is what `cfg` and `addr` say; every write goes through this file.

use super::regs::Privilege;
use c2w_engine::addr::{Gpa, PAGE_BYTES, Page};
use c2w_engine::mem::tlb::Access;
use serde::{Deserialize, Serialize};

/// Number of entries.
pub const ENTRIES: usize = 16;
/// Reads are allowed.
const R: u8 = 1;
/// Writes are allowed.
const W: u8 = 2;
/// Fetches are allowed.
const X: u8 = 4;
/// Position of the address-matching mode.
const A_SHIFT: u8 = 3;
/// The entry binds M-mode too, and cannot be written until reset.
const L: u8 = 0x80;
/// Bits of a configuration byte that exist.
const CFG_BITS: u8 = L | 3 << A_SHIFT | X | W | R;
/// Physical addresses have 56 bits; the registers hold bits 55:2.
const ADDR_MASK: u64 = (1 << 54) - 1;

/// The registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PmpState {
    /// A configuration byte for each entry.
    pub cfg: [u8; ENTRIES],
    /// Bits 55:2 of an address for each entry.
    pub addr: [u64; ENTRIES],
}

/// What may be done with a range of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Fetches.
    pub execute: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, execute: true };
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false, execute: false };

    /// Whether `access` is among them.
    pub fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }
}

/// An entry that matches something.
#[derive(Clone, Copy, Debug)]
struct Range {
    /// First byte.
    start: u64,
    /// First byte after it.
    end: u64,
    cfg: u8,
}

/// Physical memory protection of a hart.
#[derive(Clone, Debug, Default)]
pub struct Pmp {
    state: PmpState,
    active: Vec<Range>,
}

impl Pmp {
    /// Protection with the given registers; bits that do not exist are dropped.
    pub fn restore(state: &PmpState) -> Self {
        let mut pmp = Self { state: *state, active: Vec::new() };
        pmp.state.addr.iter_mut().for_each(|addr| *addr &= ADDR_MASK);
        pmp.state.cfg.iter_mut().for_each(|cfg| *cfg = legal(*cfg, 0));
        pmp.update();
        pmp
    }

    /// The registers.
    pub fn save(&self) -> PmpState {
        self.state
    }

    /// Reads the configuration register that holds entries `first` to `first + 7`.
    pub fn read_cfg(&self, first: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.state.cfg[first..first + 8]);
        u64::from_le_bytes(bytes)
    }

    /// Writes that register. Locked entries keep their values.
    pub fn write_cfg(&mut self, first: usize, value: u64) {
        for (cfg, byte) in self.state.cfg[first..first + 8].iter_mut().zip(value.to_le_bytes()) {
            if *cfg & L == 0 {
                *cfg = legal(byte, *cfg);
            }
        }
        self.update();
    }

    /// Reads an address register.
    pub fn read_addr(&self, entry: usize) -> u64 {
        self.state.addr[entry]
    }

    /// Writes an address register, unless its entry is locked or a locked TOR entry above uses it (Priv. 3.7.1.2).
    pub fn write_addr(&mut self, entry: usize, value: u64) {
        let locked = self.state.cfg[entry] & L != 0;
        let bounds_locked = self
            .state
            .cfg
            .get(entry + 1)
            .is_some_and(|&above| above & L != 0 && mode(above) == Mode::TopOfRange);
        if !locked && !bounds_locked {
            self.state.addr[entry] = value & ADDR_MASK;
            self.update();
        }
    }

    fn update(&mut self) {
        let PmpState { cfg, addr } = self.state;
        self.active = (0..ENTRIES)
            .filter_map(|entry| {
                let bottom = if entry == 0 { 0 } else { addr[entry - 1] };
                let (start, end) = match mode(cfg[entry]) {
                    Mode::Off => return None,
                    Mode::TopOfRange => (bottom << 2, addr[entry] << 2),
                    Mode::Four => (addr[entry] << 2, (addr[entry] << 2) + 4),
                    Mode::PowerOfTwo => {
                        // The trailing ones say how long the naturally aligned range is.
                        let ones = addr[entry].trailing_ones();
                        let len_bytes = 8u64 << ones;
                        let start = (addr[entry] << 2) & !(len_bytes - 1);
                        (start, start + len_bytes)
                    }
                };
                (start < end).then_some(Range { start, end, cfg: cfg[entry] })
            })
            .collect();
    }

    /// The rights of `privilege` for the `len_bytes` at `gpa`, which must lie in one page; `None` if they are not the
    /// same for all of these bytes.
    pub fn range(&self, gpa: Gpa, len_bytes: u64, privilege: Privilege) -> Option<Rights> {
        let (start, end) = (gpa.0, gpa.0.saturating_add(len_bytes));
        for range in &self.active {
            if end <= range.start || start >= range.end {
                continue;
            }
            if start < range.start || end > range.end {
                return None;
            }
            return Some(range.rights(privilege));
        }
        Some(if privilege == Privilege::Machine { Rights::ALL } else { Rights::NONE })
    }

    /// The rights of `privilege` for the page that holds `gpa`, and whether they hold for the whole page; if not,
    /// they are those of the four bytes that hold `gpa`.
    pub fn page(&self, gpa: Gpa, privilege: Privilege) -> (Rights, bool) {
        match self.range(Page::of(gpa).start(), PAGE_BYTES, privilege) {
            Some(rights) => (rights, true),
            None => (self.range(Gpa(gpa.0 & !3), 4, privilege).unwrap_or(Rights::NONE), false),
        }
    }
}

impl Range {
    fn rights(&self, privilege: Privilege) -> Rights {
        if privilege == Privilege::Machine && self.cfg & L == 0 {
            return Rights::ALL;
        }
        Rights { read: self.cfg & R != 0, write: self.cfg & W != 0, execute: self.cfg & X != 0 }
    }
}

/// Address matching (Priv. table 3.11).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    TopOfRange,
    Four,
    PowerOfTwo,
}

fn mode(cfg: u8) -> Mode {
    match cfg >> A_SHIFT & 3 {
        0 => Mode::Off,
        1 => Mode::TopOfRange,
        2 => Mode::Four,
        _ => Mode::PowerOfTwo,
    }
}

/// A configuration byte after `byte` is written over `old`: write without read is reserved.
fn legal(byte: u8, old: u8) -> u8 {
    let byte = byte & CFG_BITS;
    if byte & (R | W) == W { byte & !(R | W) | old & (R | W) } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as (cfg, addr register), lowest first.
    fn pmp(entries: &[(u8, u64)]) -> Pmp {
        let mut state = PmpState::default();
        for (i, &(cfg, addr)) in entries.iter().enumerate() {
            state.cfg[i] = cfg;
            state.addr[i] = addr;
        }
        Pmp::restore(&state)
    }

    const TOR: u8 = 1 << A_SHIFT;
    const NA4: u8 = 2 << A_SHIFT;
    const NAPOT: u8 = 3 << A_SHIFT;

    #[test]
    fn matching() {
        const U: Privilege = Privilege::User;
        const M: Privilege = Privilege::Machine;
        let (r, rw, rwx) = (R, R | W, R | W | X);
        let napot = |start: u64, len: u64| start >> 2 | ((len >> 3) - 1);
        /// Entries, an address, who accesses it; the rights, and whether they are those of the whole page.
        type Case<'a> = (&'a [(u8, u64)], u64, Privilege, &'a str, bool);
        let cases: &[Case<'_>] = &[
            (&[], 0x1000, U, "---", true),
            (&[], 0x1000, M, "rwx", true),
            (&[(NAPOT | rwx, u64::MAX)], 0x1000, U, "rwx", true),
            (&[(NAPOT | r, napot(0x8000_0000, 0x1000))], 0x8000_0ffc, U, "r--", true),
            (&[(NAPOT | r, napot(0x8000_0000, 0x1000))], 0x8000_1000, U, "---", true),
            (&[(NAPOT | r, napot(0x8000_0000, 0x1000))], 0x8000_0000, M, "rwx", true),
            (&[(L | NAPOT | r, napot(0x8000_0000, 0x1000))], 0x8000_0000, M, "r--", true),
            (&[(NAPOT, napot(0x8000_0000, 0x2000)), (NAPOT | rwx, u64::MAX)], 0x8000_1000, U, "---", true),
            (&[(NAPOT, napot(0x8000_0000, 0x2000)), (NAPOT | rwx, u64::MAX)], 0x8000_2000, U, "rwx", true),
            (&[(TOR | rw, 0x2000 >> 2)], 0x1ffc, U, "rw-", true),
            (&[(0, 0x1000 >> 2), (TOR | rw, 0x2000 >> 2)], 0xffc, U, "---", true),
            (&[(0, 0x1000 >> 2), (TOR | rw, 0x1800 >> 2)], 0x17fc, U, "rw-", false),
            (&[(0, 0x1000 >> 2), (TOR | rw, 0x1800 >> 2)], 0x1800, U, "---", false),
            (&[(0, 0x2000 >> 2), (TOR | rw, 0x1000 >> 2)], 0x1800, U, "---", true),
            (&[(NA4 | r, 0x1004 >> 2)], 0x1007, U, "r--", false),
            (&[(NA4 | r, 0x1004 >> 2)], 0x1008, U, "---", false),
        ];
        for &(entries, gpa, privilege, rights, whole) in cases {
            let (got, got_whole) = pmp(entries).page(Gpa(gpa), privilege);
            let flag = |set: bool, name| if set { name } else { '-' };
            let text: String =
                [flag(got.read, 'r'), flag(got.write, 'w'), flag(got.execute, 'x')].into_iter().collect();
            assert_eq!((text.as_str(), got_whole), (rights, whole), "{entries:x?} {gpa:#x} {privilege:?}");
        }
    }

    #[test]
    fn locks_hold() {
        let mut pmp = pmp(&[(0, 0x400), (L | TOR | R, 0x800)]);
        pmp.write_cfg(0, 0x1f1f);
        assert_eq!(pmp.read_cfg(0), 0x1f | u64::from(L | TOR | R) << 8);
        pmp.write_addr(1, 0);
        pmp.write_addr(0, 0);
        assert_eq!((pmp.read_addr(0), pmp.read_addr(1)), (0x400, 0x800));
    }

    #[test]
    fn registers_are_warl() {
        let mut pmp = pmp(&[]);
        pmp.write_cfg(8, u64::from_le_bytes([W, R | W, 0x7f, 0, 0, 0, 0, 0]));
        assert_eq!(pmp.read_cfg(8), u64::from_le_bytes([0, R | W, 0x1f, 0, 0, 0, 0, 0]));
        pmp.write_addr(3, u64::MAX);
        assert_eq!(pmp.read_addr(3), ADDR_MASK);
        assert_eq!(pmp.save(), Pmp::restore(&pmp.save()).save());
    }
}

//! How loops with windows are written ([`crate::lower::windows`]): accesses of the other writing take the distance from the
//! guest's memory to the host's from where the look has put it. They call nothing, so that slots need not be right in front of
//! them.

mod emit;

use super::cold::Kept;
use super::plan::Plan;
use crate::ir::region::Region;
use crate::lower::windows;
use crate::vcpu::SPILLS;

/// Number of the place that counts down the turns that are left.
const ROOM_PLACE: u16 = SPILLS as u16 - 2;
/// Places that are not for values while windows are open, from this one on.
const FIRST_PLACE: usize = SPILLS - 2 - windows::WINDOWS;
/// Registers that are left to values.
const TEMPS: usize = 4;

/// The windows of a loop.
#[derive(Default)]
pub(super) struct Windows {
    found: windows::Windows,
    /// Where the distance from the guest's address to the host's is, for each.
    kept: Vec<Kept>,
    room: Kept,
}

impl Windows {
    /// Finds those of a block; whether it is a loop that is to be written twice.
    pub fn find(&mut self, region: &Region, index: usize, plan: &Plan) -> bool {
        let found = self.found.find(region, index, &|slot| plan.is_vector(slot));
        if found {
            self.keep(plan);
        }
        found
    }

    /// Decides where distances and the count of turns are: registers that are nobody's home, or memory.
    fn keep(&mut self, plan: &Plan) {
        let mut registers = plan.temps[TEMPS..].iter().map(|&reg| Kept::Reg(reg));
        self.kept.clear();
        for number in 0..self.found.list.len() {
            let place = Kept::Spill((FIRST_PLACE + number) as u16);
            self.kept.push(registers.next().unwrap_or(place));
        }
        self.room = registers.next().unwrap_or(Kept::Spill(ROOM_PLACE));
    }

    /// Where the distance of an access is.
    pub fn kept(&self, at: u32) -> Kept {
        self.found.of(at as usize).map_or(Kept::Nowhere, |number| self.kept[number])
    }

    /// Whether an operation does not leave here.
    pub fn is_calm(&self, at: usize) -> bool {
        self.found.of(at).is_some() || self.found.is_void(at)
    }

    /// Whether an operation does nothing here.
    pub fn is_void(&self, at: usize) -> bool {
        self.found.is_void(at)
    }

    /// Takes registers and places out of those that are for values.
    pub fn reserve(&self, refs: &mut [u8; 16], spills: &mut [u8; SPILLS]) {
        spills[FIRST_PLACE..].fill(1);
        for kept in self.kept.iter().chain([&self.room]) {
            if let Kept::Reg(reg) = kept {
                refs[usize::from(reg.0)] = 1;
            }
        }
    }
}

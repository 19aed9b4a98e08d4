//! The pair of 8259A interrupt controllers of a PC, the second on input 2 of the first (Intel 8259A data sheet).

use c2w_engine::addr::Width;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// Input of the first controller that the second drives.
const CASCADE: u8 = 2;
/// What an acknowledge gets when the request has gone.
const SPURIOUS: u8 = 7;

/// Initialization command word 1.
mod icw1 {
    pub const INITIALIZE: u8 = 1 << 4;
    pub const NEEDS_ICW4: u8 = 1;
    pub const SINGLE: u8 = 2;
}

/// Which initialization word the data port gets next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expects {
    /// None: the data port is the mask.
    #[default]
    Mask,
    /// Vector base.
    Icw2,
    /// Cascade.
    Icw3,
    /// Mode.
    Icw4,
}

/// State of one controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChipState {
    /// Lines as last seen.
    pub levels: u8,
    /// Inputs that are level-triggered (ELCR).
    pub level_triggered: u8,
    /// Edges that wait.
    pub requested: u8,
    /// Requests being serviced.
    pub in_service: u8,
    /// Inputs that are off.
    pub mask: u8,
    /// Vector of input 0.
    pub vector_base: u8,
    /// Input with the lowest priority.
    pub lowest: u8,
    /// The next read of the command port gives requests in service.
    pub reads_in_service: bool,
    /// The next read of the command port is an acknowledge.
    pub polled: bool,
    /// Interrupts end when they are acknowledged.
    pub auto_end: bool,
    /// Automatic ends rotate the priorities.
    pub rotates: bool,
    /// Masked inputs in service do not hold others off.
    pub special_mask: bool,
    /// Initialization under way.
    pub expects: Expects,
    /// An ICW3 comes.
    pub has_icw3: bool,
    /// An ICW4 comes.
    pub has_icw4: bool,
}

/// State of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PicState {
    /// Inputs 0 to 7.
    pub first: ChipState,
    /// Inputs 8 to 15.
    pub second: ChipState,
}

impl ChipState {
    fn reset() -> Self {
        Self { mask: 0xff, lowest: 7, ..Self::default() }
    }

    fn set_levels(&mut self, levels: u8) {
        let rising = levels & !self.levels;
        // An edge counts only as long as the line stays high.
        self.requested = (self.requested | rising) & levels & !self.level_triggered;
        self.levels = levels;
    }

    fn requests(&self) -> u8 {
        (self.requested | self.levels & self.level_triggered) & !self.mask
    }

    /// The input with the highest priority of `set`, and its priority, 0 for the highest.
    fn first_of(&self, set: u8) -> Option<(u8, u32)> {
        let start = u32::from(self.lowest + 1);
        let priority = set.rotate_right(start & 7).trailing_zeros();
        (set != 0).then_some((((priority + start) & 7) as u8, priority))
    }

    /// The input that would be acknowledged.
    fn pending(&self) -> Option<u8> {
        let (input, priority) = self.first_of(self.requests())?;
        let holding = if self.special_mask { self.in_service & !self.mask } else { self.in_service };
        self.first_of(holding).is_none_or(|(_, held)| priority < held).then_some(input)
    }

    /// Takes the request with the highest priority; the spurious one if there is none.
    fn acknowledge(&mut self) -> u8 {
        let Some(input) = self.pending() else { return SPURIOUS };
        self.requested &= !(1 << input);
        if !self.auto_end {
            self.in_service |= 1 << input;
        } else if self.rotates {
            self.lowest = input;
        }
        input
    }

    fn write_command(&mut self, value: u8) {
        if value & icw1::INITIALIZE != 0 {
            *self = Self {
                levels: self.levels,
                level_triggered: self.level_triggered,
                lowest: 7,
                expects: Expects::Icw2,
                has_icw3: value & icw1::SINGLE == 0,
                has_icw4: value & icw1::NEEDS_ICW4 != 0,
                ..Self::default()
            };
        } else if value & 1 << 3 != 0 {
            self.write_ocw3(value);
        } else {
            self.write_ocw2(value);
        }
    }

    /// Operation command word 3: what reads give, and the special mask mode.
    fn write_ocw3(&mut self, value: u8) {
        self.polled = value & 4 != 0;
        if value & 2 != 0 {
            self.reads_in_service = value & 1 != 0;
        }
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
    }

    /// Operation command word 2: ends of interrupts and rotation.
    fn write_ocw2(&mut self, value: u8) {
        let input = value & 7;
        match value >> 5 {
            0 | 4 => self.rotates = value & 0x80 != 0,
            command @ (1 | 5) => {
                if let Some((input, _)) = self.first_of(self.in_service) {
                    self.in_service &= !(1 << input);
                    if command == 5 {
                        self.lowest = input;
                    }
                }
            }
            3 => self.in_service &= !(1 << input),
            6 => self.lowest = input,
            7 => {
                self.in_service &= !(1 << input);
                self.lowest = input;
            }
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        self.expects = match self.expects {
            Expects::Mask => {
                self.mask = value;
                Expects::Mask
            }
            Expects::Icw2 => {
                self.vector_base = value & 0xf8;
                match (self.has_icw3, self.has_icw4) {
                    (true, _) => Expects::Icw3,
                    (false, true) => Expects::Icw4,
                    (false, false) => Expects::Mask,
                }
            }
            // Where the second controller is is a matter of wires.
            Expects::Icw3 if self.has_icw4 => Expects::Icw4,
            Expects::Icw3 => Expects::Mask,
            Expects::Icw4 => {
                self.auto_end = value & 2 != 0;
                Expects::Mask
            }
        };
    }

    fn read(&mut self, offset: u64) -> u8 {
        if std::mem::take(&mut self.polled) {
            return match self.pending() {
                Some(_) => 0x80 | self.acknowledge(),
                None => 0,
            };
        }
        match offset {
            0 if self.reads_in_service => self.in_service,
            0 => self.requested | self.levels & self.level_triggered,
            _ => self.mask,
        }
    }
}

/// The pair.
#[derive(Clone, Debug)]
pub struct Pic {
    state: PicState,
}

impl Default for Pic {
    fn default() -> Self {
        Self::new()
    }
}

impl Pic {
    /// A pair after power-on; every input is masked.
    pub fn new() -> Self {
        Self { state: PicState { first: ChipState::reset(), second: ChipState::reset() } }
    }

    /// The saved pair; `None` if a priority is impossible.
    pub fn restore(state: &PicState) -> Option<Self> {
        let possible = state.first.lowest < 8 && state.second.lowest < 8;
        possible.then(|| Self { state: state.clone() })
    }

    /// The state.
    pub fn save(&self) -> PicState {
        self.state.clone()
    }

    /// Looks at the lines, bit n for input n.
    pub fn set_levels(&mut self, levels: u16) {
        self.state.second.set_levels((levels >> 8) as u8);
        let cascade = u8::from(self.state.second.pending().is_some()) << CASCADE;
        self.state.first.set_levels(levels as u8 & !(1 << CASCADE) | cascade);
    }

    fn update_cascade(&mut self) {
        let others = self.state.first.levels & !(1 << CASCADE);
        let cascade = u8::from(self.state.second.pending().is_some()) << CASCADE;
        self.state.first.set_levels(others | cascade);
    }

    /// Whether the pair asks for an interrupt.
    pub fn has_interrupt(&self) -> bool {
        self.state.first.pending().is_some()
    }

    /// The processor takes an interrupt: its vector.
    pub fn acknowledge(&mut self) -> u8 {
        let input = self.state.first.acknowledge();
        if input != CASCADE {
            return self.state.first.vector_base | input;
        }
        let second = self.state.second.acknowledge();
        self.update_cascade();
        self.state.second.vector_base | second
    }

    /// The first controller's command and data port.
    pub fn first_ports(&mut self) -> Ports<'_> {
        Ports { pic: self, second: false }
    }

    /// The second controller's command and data port.
    pub fn second_ports(&mut self) -> Ports<'_> {
        Ports { pic: self, second: true }
    }

    /// The edge/level control registers, one port for each controller.
    pub fn level_ports(&mut self) -> LevelPorts<'_> {
        LevelPorts(self)
    }
}

/// The two ports of one controller.
pub struct Ports<'a> {
    pic: &'a mut Pic,
    second: bool,
}

impl Ports<'_> {
    fn chip(&mut self) -> &mut ChipState {
        if self.second { &mut self.pic.state.second } else { &mut self.pic.state.first }
    }
}

impl MmioDevice for Ports<'_> {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        let value = self.chip().read(offset);
        self.pic.update_cascade();
        value.into()
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, _env: &mut DeviceEnv<'_>) {
        match offset {
            0 => self.chip().write_command(value as u8),
            _ => self.chip().write_data(value as u8),
        }
        self.pic.update_cascade();
    }
}

/// The two ports of the edge/level control registers.
pub struct LevelPorts<'a>(&'a mut Pic);

impl MmioDevice for LevelPorts<'_> {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        let state = &self.0.state;
        let chip = if offset == 0 { &state.first } else { &state.second };
        chip.level_triggered.into()
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, _env: &mut DeviceEnv<'_>) {
        // Timer, keyboard, cascade, clock and coprocessor are always edges.
        match offset {
            0 => self.0.state.first.level_triggered = value as u8 & 0xf8,
            _ => self.0.state.second.level_triggered = value as u8 & 0xde,
        }
        self.0.update_cascade();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn out(pic: &mut Pic, second: bool, offset: u64, values: &[u8]) {
        let mut bench = Bench::new();
        let mut ports = Ports { pic, second };
        values.iter().for_each(|&value| ports.write(offset, Width::W8, value.into(), &mut bench.env()));
    }

    fn initialized(auto_end: bool) -> Pic {
        let mut pic = Pic::new();
        for (second, base, wiring) in [(false, 0x20, 4), (true, 0x28, 2)] {
            out(&mut pic, second, 0, &[0x11]);
            out(&mut pic, second, 1, &[base, wiring, 1 | u8::from(auto_end) << 1, 0]);
        }
        pic
    }

    #[test]
    fn interrupts_nest_by_priority() {
        let mut pic = initialized(false);
        pic.set_levels(1 << 4);
        assert_eq!((pic.has_interrupt(), pic.acknowledge()), (true, 0x24));
        pic.set_levels(1 << 4 | 1 << 5);
        assert!(!pic.has_interrupt(), "5 is below 4");
        pic.set_levels(1 << 4 | 1 << 5 | 1 << 1);
        assert_eq!((pic.has_interrupt(), pic.acknowledge()), (true, 0x21));
        out(&mut pic, false, 0, &[0x20]);
        assert!(!pic.has_interrupt(), "4 is in service");
        out(&mut pic, false, 0, &[0x64]);
        assert_eq!(pic.acknowledge(), 0x25);
        out(&mut pic, false, 0, &[0x20]);
        assert_eq!(pic.acknowledge(), 0x27, "the spurious interrupt");
    }

    #[test]
    fn the_second_controller_comes_through_the_first() {
        let mut pic = initialized(false);
        pic.set_levels(1 << 8 | 1 << 15);
        assert_eq!(pic.acknowledge(), 0x28);
        assert!(!pic.has_interrupt());
        let restored = Pic::restore(&pic.save()).unwrap();
        for mut pic in [pic, restored] {
            out(&mut pic, true, 0, &[0x20]);
            out(&mut pic, false, 0, &[0x20]);
            assert_eq!((pic.has_interrupt(), pic.acknowledge()), (true, 0x2f));
        }
    }

    #[test]
    fn masks_polls_levels_and_automatic_ends() {
        let mut pic = initialized(true);
        out(&mut pic, false, 1, &[0x10]);
        pic.set_levels(1 << 4);
        assert!(!pic.has_interrupt());
        out(&mut pic, false, 1, &[0]);
        assert_eq!(pic.acknowledge(), 0x24);
        assert!(!pic.has_interrupt(), "an edge is one interrupt");
        let mut bench = Bench::new();
        pic.level_ports().write(0, Width::W8, 0xff, &mut bench.env());
        assert_eq!(pic.level_ports().read(0, Width::W8, &mut bench.env()), 0xf8);
        assert_eq!(
            (pic.acknowledge(), pic.acknowledge()),
            (0x24, 0x24),
            "a level is as many as there is time for"
        );
        out(&mut pic, false, 0, &[0x0c]);
        assert_eq!(pic.first_ports().read(0, Width::W8, &mut bench.env()), 0x84);
        let mut impossible = pic.save();
        impossible.first.lowest = 8;
        assert!(Pic::restore(&impossible).is_none());
    }
}

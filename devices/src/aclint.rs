//! The RISC-V core-local interruptor in CLINT layout: software interrupts and the machine timer, for every hart.

use crate::fdt::{self, FdtWriter, Place};
use c2w_engine::addr::Width;
use c2w_engine::irq::IrqLine;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// Length of the window.
pub const WINDOW_BYTES: u64 = 0x1_0000;
/// Ticks of the timer in a second.
pub const TIMEBASE_HZ: u64 = 10_000_000;
const TICK_NS: u64 = 1_000_000_000 / TIMEBASE_HZ;

/// Register blocks (RISC-V ACLINT specification, SiFive CLINT compatibility).
const MSIP: u64 = 0x0000;
const MTIMECMP: u64 = 0x4000;
const MTIME: u64 = 0xbff8;
const MTIME_END: u64 = MTIME + 8;

/// Interrupt numbers at the hart (RISC-V privileged, mip).
const HART_MSI: u32 = 3;
const HART_MTI: u32 = 7;

/// The lines of one hart.
#[derive(Clone, Debug)]
pub struct HartLines {
    /// Machine software interrupt.
    pub msip: IrqLine,
    /// Machine timer interrupt.
    pub mtip: IrqLine,
}

/// State of the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclintState {
    /// Timer minus guest time, in ticks, wrapping. Not zero once the guest wrote the timer.
    pub mtime_offset: u64,
    /// Comparator of each hart.
    pub mtimecmp: Vec<u64>,
    /// Software interrupt of each hart.
    pub msip: Vec<bool>,
}

/// The device.
#[derive(Debug)]
pub struct Aclint {
    harts: Vec<HartLines>,
    state: AclintState,
}

impl Aclint {
    /// The device of the harts that listen to `harts`; every timer is off.
    pub fn new(harts: Vec<HartLines>) -> Self {
        let count = harts.len();
        let state =
            AclintState { mtime_offset: 0, mtimecmp: vec![u64::MAX; count], msip: vec![false; count] };
        Self { harts, state }
    }

    /// The saved device, or `None` if the state is of another number of harts. Lines follow at the first
    /// [`Aclint::service`].
    pub fn restore(harts: Vec<HartLines>, state: &AclintState) -> Option<Self> {
        let fits = [state.mtimecmp.len(), state.msip.len()] == [harts.len(); 2];
        fits.then(|| Self { harts, state: state.clone() })
    }

    /// The state.
    pub fn save(&self) -> AclintState {
        self.state.clone()
    }

    /// The timer, in ticks, at guest time `now_ns`: what the `time` register shows too.
    pub fn mtime(&self, now_ns: u64) -> u64 {
        (now_ns / TICK_NS).wrapping_add(self.state.mtime_offset)
    }

    /// Guest time at which the timer shows `tick`, 0 if that is past, `None` if it is beyond the end of guest time.
    pub fn tick_to_ns(&self, tick: u64) -> Option<u64> {
        let ticks = i128::from(tick) - i128::from(self.state.mtime_offset as i64);
        u64::try_from(ticks.max(0)).ok()?.checked_mul(TICK_NS)
    }

    /// Brings every line up to date.
    pub fn service(&mut self, env: &mut DeviceEnv<'_>) {
        let mtime = self.mtime(env.now_ns);
        for (hart, lines) in self.harts.iter().enumerate() {
            lines.msip.set(self.state.msip[hart]);
            lines.mtip.set(mtime >= self.state.mtimecmp[hart]);
        }
    }

    /// Guest time of the next timer interrupt that is not raised yet.
    pub fn deadline_ns(&self) -> Option<u64> {
        let waiting = self.harts.iter().zip(&self.state.mtimecmp).filter(|(lines, _)| !lines.mtip.is_high());
        waiting.filter_map(|(_, &cmp)| self.tick_to_ns(cmp)).min()
    }

    /// Writes the device tree node; `cpu_interrupt_controllers` holds each hart's phandle.
    pub fn write_fdt(
        &self,
        fdt: &mut FdtWriter,
        place: &Place,
        cpu_interrupt_controllers: &[u32],
    ) -> Result<(), fdt::Error> {
        let node = fdt.begin_node(&place.node_name("clint"))?;
        fdt.property_string_list("compatible", ["sifive,clint0", "riscv,clint0"].map(String::from).to_vec())?;
        place.write_reg(fdt)?;
        let wires: Vec<u32> =
            cpu_interrupt_controllers.iter().flat_map(|&cpu| [cpu, HART_MSI, cpu, HART_MTI]).collect();
        fdt.property_array_u32("interrupts-extended", &wires)?;
        fdt.end_node(node)
    }

    /// Reads the naturally aligned 32-bit word at `offset`.
    fn read_word(&self, offset: u64, now_ns: u64) -> u32 {
        let (value, base) = match offset {
            MTIME..MTIME_END => (self.mtime(now_ns), MTIME),
            MTIMECMP.. => {
                let hart = ((offset - MTIMECMP) / 8) as usize;
                (self.state.mtimecmp.get(hart).copied().unwrap_or(0), MTIMECMP)
            }
            _ => return self.state.msip.get((offset - MSIP) as usize / 4).copied().unwrap_or(false).into(),
        };
        (value >> (8 * ((offset - base) & 4))) as u32
    }

    fn write_word(&mut self, offset: u64, word: u32, now_ns: u64) {
        let replace = |value: u64, high: bool| {
            let shift = if high { 32 } else { 0 };
            value & !(u64::from(u32::MAX) << shift) | u64::from(word) << shift
        };
        match offset {
            MTIME..MTIME_END => {
                let mtime = replace(self.mtime(now_ns), offset & 7 == 4);
                self.state.mtime_offset = mtime.wrapping_sub(now_ns / TICK_NS);
            }
            MTIMECMP.. => {
                if let Some(cmp) = self.state.mtimecmp.get_mut(((offset - MTIMECMP) / 8) as usize) {
                    *cmp = replace(*cmp, offset & 4 != 0);
                }
            }
            _ => {
                if let Some(msip) = self.state.msip.get_mut((offset - MSIP) as usize / 4) {
                    *msip = word & 1 != 0;
                }
            }
        }
    }
}

impl MmioDevice for Aclint {
    fn widths(&self) -> &'static [Width] {
        &[Width::W32, Width::W64]
    }

    fn read(&mut self, offset: u64, width: Width, env: &mut DeviceEnv<'_>) -> u64 {
        let low = self.read_word(offset, env.now_ns).into();
        match width {
            Width::W64 => low | u64::from(self.read_word(offset + 4, env.now_ns)) << 32,
            _ => low,
        }
    }

    fn write(&mut self, offset: u64, width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        self.write_word(offset, value as u32, env.now_ns);
        if width == Width::W64 {
            self.write_word(offset + 4, (value >> 32) as u32, env.now_ns);
        }
        self.service(env);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use c2w_engine::irq::{Attention, IrqLines};

    fn device(harts: u32) -> (Aclint, IrqLines) {
        let lines = IrqLines::new(&Attention::default());
        let hart = |hart| HartLines { msip: lines.line(2 * hart), mtip: lines.line(2 * hart + 1) };
        (Aclint::new((0..harts).map(hart).collect()), lines)
    }

    #[test]
    fn the_timer_fires_at_its_comparator_and_stops_when_it_moves() {
        let (mut aclint, lines) = device(2);
        let mut bench = Bench::new();
        bench.now_ns = 1_000;
        assert_eq!(aclint.read(MTIME, Width::W64, &mut bench.env()), 10);
        assert_eq!(aclint.deadline_ns(), None);
        aclint.write(MTIMECMP + 8, Width::W64, 25, &mut bench.env());
        assert_eq!((aclint.deadline_ns(), lines.levels()), (Some(2_500), 0));
        bench.now_ns = 2_500;
        aclint.service(&mut bench.env());
        assert_eq!((aclint.deadline_ns(), lines.levels()), (None, 0b1000));
        aclint.write(MTIMECMP + 8, Width::W32, 26, &mut bench.env());
        assert_eq!((aclint.deadline_ns(), lines.levels()), (Some(2_600), 0));
        assert_eq!(aclint.read(MTIMECMP + 8, Width::W64, &mut bench.env()), 26);
    }

    #[test]
    fn the_timer_can_be_set() {
        let (mut aclint, lines) = device(1);
        let mut bench = Bench::new();
        bench.now_ns = 10_000;
        aclint.write(MTIMECMP, Width::W64, 50, &mut bench.env());
        assert_eq!(lines.levels(), 0b10);
        aclint.write(MTIME, Width::W64, 0, &mut bench.env());
        assert_eq!((aclint.deadline_ns(), lines.levels()), (Some(15_000), 0));
        aclint.write(MTIME + 4, Width::W32, 1, &mut bench.env());
        assert_eq!((aclint.mtime(10_000), lines.levels()), (1 << 32, 0b10));
    }

    #[test]
    fn software_interrupts_are_one_bit_a_hart() {
        let (mut aclint, lines) = device(2);
        let mut bench = Bench::new();
        aclint.write(MSIP + 4, Width::W32, 0xffff_ffff, &mut bench.env());
        assert_eq!(lines.levels(), 0b100);
        assert_eq!(aclint.read(MSIP + 4, Width::W32, &mut bench.env()), 1);
        let saved = aclint.save();
        let (other, _) = device(2);
        let mut restored = Aclint::restore(other.harts.clone(), &saved).unwrap();
        restored.service(&mut bench.env());
        assert!(restored.harts[1].msip.is_high());
        assert_eq!(restored.save(), saved);
        assert!(Aclint::restore(Vec::new(), &saved).is_none());
    }
}

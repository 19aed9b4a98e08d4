//! States of whole machines from anywhere: the input changes bytes of a good one, two bytes of place and one of change
//! each, behind a byte that chooses the guest. What is accepted runs for a while and is saved again.

#![no_main]

use c2w_decoders::board::BoardParts;
use c2w_decoders::snapshot::RestoreParts;
use c2w_decoders::{riscv64, x86_64};
use c2w_devices::backend::block::MemoryBlock;
use c2w_devices::backend::char::NullChar;
use c2w_devices::backend::fs::{MemoryFs, MemoryLimits};
use c2w_devices::virtio::blk::Blk;
use c2w_devices::virtio::console::{Console, ConsoleSize, PortOptions};
use c2w_devices::virtio::mmio::VirtioMmioState;
use c2w_devices::virtio::p9::{Options, P9};
use c2w_devices::virtio::rng::Rng;
use c2w_devices::virtio::{DeviceState, VirtioDevice};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Guest;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::machine::Machine;
use c2w_engine::mem::ram::Ram;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const RAM_BYTES: u64 = 1 << 18;

/// The devices of a container's machine: new, or as saved. `None` if the states are not theirs.
fn devices(saved: Option<&[VirtioMmioState]>) -> Option<Vec<Box<dyn VirtioDevice>>> {
    let state = |slot: usize| match saved {
        None => Some(None),
        Some(saved) => saved.get(slot).map(|state| Some(&state.device)),
    };
    let disk = Box::new(MemoryBlock::new(vec![0; 1 << 16], true));
    let disk = match state(0)? {
        None => Blk::new(disk, "disk"),
        Some(DeviceState::Blk(state)) => Blk::restore(disk, "disk", state).ok()?,
        Some(_) => return None,
    };
    let port = PortOptions { name: "port".into(), is_console: false, backend: Box::new(NullChar) };
    let size = ConsoleSize::new(&Attention::default());
    let console = match state(1)? {
        None => Console::new(vec![port], size),
        Some(DeviceState::Console(state)) => Console::restore(vec![port], size, state).ok()?,
        Some(_) => return None,
    };
    let entropy = Rng::new(Box::new(|to: &mut [u8]| {
        to.fill(7);
        Ok(())
    }));
    let fs = MemoryFs::new(MemoryLimits::default());
    let share = match state(3)? {
        None => P9::new(fs, "share", Options::default()).ok()?,
        Some(DeviceState::P9(state)) => P9::restore(fs, "share", Options::default(), state).ok()?,
        Some(_) => return None,
    };
    Some(vec![Box::new(disk), Box::new(console), Box::new(entropy), Box::new(share)])
}

fn board(virtio: Vec<Box<dyn VirtioDevice>>) -> BoardParts {
    BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio }
}

fn clock() -> Box<InstructionClock> {
    Box::new(InstructionClock::new(10))
}

/// Good states of both guests, as bytes.
static GOOD: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let attention = Attention::default();
    let parts = || board(devices(None).expect("new devices"));
    let riscv64 = {
        use riscv64::{board::RAM_BASE, board::VirtBoard, guest::HartState, guest::Riscv64, snapshot::save};
        let lines = IrqLines::new(&attention);
        let board = VirtBoard::new(parts(), &lines, &attention);
        let guest = Riscv64::try_from(HartState::reset(0)).expect("the state at reset");
        let ram = Ram::new(RAM_BASE, RAM_BYTES);
        save(&Machine::new(Cpu::new(guest, ram, board, lines, attention.clone(), clock())))
    };
    let x86_64 = {
        use x86_64::{board::PcBoard, board::map::RAM_BASE, guest::X86_64, snapshot::save, state::State};
        let lines = IrqLines::new(&attention);
        let board = PcBoard::new(parts(), &lines);
        let (guest, ram) = (X86_64::new(State::flat_64(0)), Ram::new(RAM_BASE, RAM_BYTES));
        save(&Machine::new(Cpu::new(guest, ram, board, lines, attention.clone(), clock())))
    };
    [postcard::to_allocvec(&riscv64), postcard::to_allocvec(&x86_64)].map(|bytes| bytes.expect("plain data"))
});

fn run<G: Guest>(mut machine: Machine<G>) -> Machine<G> {
    for _ in 0..10 {
        machine.run(100);
    }
    machine
}

fuzz_target!(|input: &[u8]| {
    let Some((guest, changes)) = input.split_first() else { return };
    let guest = usize::from(guest & 1);
    let mut bytes = GOOD[guest].clone();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] ^= change[2];
    }
    let attention = Attention::default();
    if guest == 0 {
        use riscv64::snapshot::{MachineState, restore, save};
        let Ok(state) = postcard::from_bytes::<MachineState>(&bytes) else { return };
        let Some(devices) = devices(Some(&state.board.virtio)) else { return };
        let ram = Ram::new(riscv64::board::RAM_BASE, RAM_BYTES);
        let parts = RestoreParts { ram, vcpu: None, board: board(devices), clock: clock(), attention };
        if let Ok(machine) = restore(parts, &state) {
            save(&run(machine));
        }
    } else {
        use x86_64::snapshot::{MachineState, restore, save};
        let Ok(state) = postcard::from_bytes::<MachineState>(&bytes) else { return };
        let Some(devices) = devices(Some(&state.board.virtio)) else { return };
        let ram = Ram::new(x86_64::board::map::RAM_BASE, RAM_BYTES);
        let parts = RestoreParts { ram, vcpu: None, board: board(devices), clock: clock(), attention };
        if let Ok(machine) = restore(parts, &state) {
            save(&run(machine));
        }
    }
});

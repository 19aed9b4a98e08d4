//! Kernels and firmware from anywhere: recognized, loaded and started, or refused.

#![no_main]

use c2w_decoders::board::BoardParts;
use c2w_decoders::boot::MachineConfig;
use c2w_decoders::riscv64::boot::Firmware;
use c2w_decoders::{formats, riscv64, x86_64};
use c2w_devices::backend::char::NullChar;
use c2w_engine::clock::InstructionClock;
use c2w_engine::guest::Guest;
use c2w_engine::irq::Attention;
use c2w_engine::machine::Machine;
use libfuzzer_sys::fuzz_target;

const MEMORY_BYTES: u64 = 8 << 20;

fn config() -> MachineConfig {
    MachineConfig {
        memory_bytes: MEMORY_BYTES,
        backing: None,
        parts: BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio: Vec::new() },
        clock: Box::new(InstructionClock::new(100)),
        attention: Attention::default(),
        rng_seed: Vec::new(),
    }
}

fn start<G: Guest>(machine: Result<Machine<G>, impl ToString>) {
    match machine {
        Ok(mut machine) => drop(machine.run(1000)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn start_riscv64(firmware: Firmware, kernel: Option<Vec<u8>>) {
    use riscv64::boot::{BootFiles, machine};
    start(machine(&BootFiles { firmware, kernel, ..BootFiles::default() }, config()));
}

fn start_x86_64(kernel: Vec<u8>) {
    use x86_64::boot::{BootFiles, machine};
    start(machine(&BootFiles { kernel, ..BootFiles::default() }, config()));
}

fuzz_target!(|data: &[u8]| {
    // The first byte says which part the file plays.
    let Some((part, file)) = data.split_first() else { return };
    let file = file.to_vec();
    if formats::architecture(&file).is_none() {
        assert!(!formats::no_kernel(&file).is_empty());
    }
    match part % 4 {
        0 => start_riscv64(Firmware::BuiltIn, Some(file)),
        1 => start_riscv64(Firmware::None, Some(file)),
        2 => start_riscv64(Firmware::File(file), None),
        _ => start_x86_64(file),
    }
});

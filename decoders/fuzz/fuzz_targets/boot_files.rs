//! Kernels and firmware from anywhere: recognized, loaded and started, or refused.

#![no_main]

use c2w_decoders::riscv64::board::BoardParts;
use c2w_decoders::riscv64::boot::{self, BootFiles, Firmware, MachineConfig};
use c2w_devices::backend::char::NullChar;
use c2w_engine::clock::InstructionClock;
use c2w_engine::irq::Attention;
use libfuzzer_sys::fuzz_target;

const MEMORY_BYTES: u64 = 8 << 20;

fuzz_target!(|data: &[u8]| {
    // The first byte says which part the file plays.
    let Some((part, file)) = data.split_first() else { return };
    let file = file.to_vec();
    let files = match part % 3 {
        0 => BootFiles { kernel: Some(file), ..BootFiles::default() },
        1 => BootFiles { kernel: Some(file), firmware: Firmware::None, ..BootFiles::default() },
        _ => BootFiles { firmware: Firmware::File(file), ..BootFiles::default() },
    };
    let config = MachineConfig {
        memory_bytes: MEMORY_BYTES,
        parts: BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio: Vec::new() },
        clock: Box::new(InstructionClock::new(100)),
        attention: Attention::default(),
        rng_seed: Vec::new(),
    };
    match boot::machine(&files, config) {
        Ok(mut machine) => drop(machine.run(1000)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

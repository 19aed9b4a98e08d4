//! The state of a whole machine without its RAM, and the machine that goes on from it.

use super::board::map::{DEVICES, RAM_BASE};
use super::board::{BoardState, PcBoard};
use super::boot::seed_words;
use super::guest::X86_64;
use super::state::State;
use crate::snapshot::{self, MachineRestoreError, RestoreParts};
use c2w_engine::cpu::Cpu;
use c2w_engine::irq::IrqLines;
use c2w_engine::machine::Machine;

/// The state of a machine between two runs.
pub type MachineState = snapshot::MachineState<X86_64, BoardState>;

/// The state of `machine`, which is between two runs.
pub fn save(machine: &Machine<X86_64>) -> MachineState {
    let cpu = &machine.cpu;
    MachineState { now_ns: cpu.now_ns(), cpu: cpu.save(), board: cpu.board.save() }
}

/// The saved machine.
pub fn restore(parts: RestoreParts, state: &MachineState) -> Result<Machine<X86_64>, MachineRestoreError> {
    parts.check_ram(RAM_BASE)?;
    let RestoreParts { ram, vcpu, board, clock, attention } = parts;
    let lines = IrqLines::new(&attention);
    let board = PcBoard::restore(board, &lines, &state.board)?;
    let ram = ram.with_hole(DEVICES);
    let mut cpu =
        Cpu::with_backing(vcpu, X86_64::new(State::flat_64(0)), ram, board, lines, attention, clock);
    cpu.restore(&state.cpu)?;
    Ok(Machine::new(cpu))
}

/// Mixes entropy into what RDRAND draws from, so that machines from one saved state draw different numbers.
pub fn reseed(machine: &mut Machine<X86_64>, entropy: &[u8]) {
    machine.cpu.guest.random.reseed(seed_words(entropy));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::BoardParts;
    use crate::boot::MachineConfig;
    use crate::x86_64::boot::{BootFiles, MIN_MEMORY_BYTES, machine};
    use c2w_devices::backend::char::{CharHost, char_channel};
    use c2w_engine::clock::InstructionClock;
    use c2w_engine::irq::Attention;
    use c2w_engine::mem::ram::Ram;

    const NS_PER_INSN: u64 = 10;

    fn board(attention: &Attention) -> (BoardParts, CharHost) {
        let (console, host) = char_channel(4096, attention);
        (BoardParts { console: Box::new(console), wall_clock: Box::new(|| 0), virtio: Vec::new() }, host)
    }

    /// A Multiboot kernel at 1 MiB. Every 3 us the local APIC's timer interrupts it and writes a letter to the serial
    /// port; the loop between the interrupts counts in memory.
    const PROGRAM: &[&[u8]] = &[
        b"\x02\xb0\xad\x1b\x00\x00\x01\x00\xfe\x4f\x51\xe4", // magic, addresses follow, checksum
        b"\x00\x00\x10\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x20\x10\x00\x20\x00\x10\x00", // addresses
        b"\xbc\x00\x1f\x10\x00",                             // mov esp, 0x101f00
        b"\xb8\x76\x00\x10\x00",                             // mov eax, handler
        b"\x66\xa3\x00\x12\x10\x00",                         // mov [0x101200], ax
        b"\xb9\x10\x00\x00\x00",                             // mov ecx, 0x10
        b"\x66\x89\x0d\x02\x12\x10\x00",                     // mov [0x101202], cx
        b"\xc7\x05\x04\x12\x10\x00\x00\x8e\x10\x00",         // mov dword [0x101204], 0x108e00
        b"\x0f\x01\x1d\x8a\x00\x10\x00",                     // lidt [table]
        b"\xc7\x05\x20\x03\xe0\xfe\x40\x00\x02\x00",         // periodic, vector 0x40
        b"\xc7\x05\xe0\x03\xe0\xfe\x0b\x00\x00\x00",         // divide by 1
        b"\xc7\x05\x80\x03\xe0\xfe\x4b\x00\x00\x00",         // initial count 75
        b"\xb3\x41",                                         // mov bl, 'A'
        b"\xfb",                                             // sti
        b"\xff\x05\x00\x18\x10\x00\xeb\xf8",                 // count: inc dword [0x101800]; jmp count
        b"\x66\xba\xf8\x03\x88\xd8\xee\xfe\xc3", // handler: mov dx, 0x3f8; mov al, bl; out dx, al; inc bl
        b"\xc7\x05\xb0\x00\xe0\xfe\x00\x00\x00\x00\xcf", // end of interrupt; iret
        b"\x07\x02\x00\x10\x10\x00",             // table: the IDT at 0x101000
    ];

    fn output(host: &CharHost) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let len = host.read(&mut bytes);
        bytes[..len].to_vec()
    }

    #[test]
    fn a_restored_machine_goes_on_as_if_nothing_had_happened() {
        let files = BootFiles { kernel: PROGRAM.concat(), ..BootFiles::default() };
        let start = || {
            let attention = Attention::default();
            let (parts, host) = board(&attention);
            let clock = Box::new(InstructionClock::new(NS_PER_INSN));
            let memory_bytes = MIN_MEMORY_BYTES;
            let config =
                MachineConfig { memory_bytes, backing: None, parts, clock, attention, rng_seed: Vec::new() };
            (machine(&files, config).unwrap(), host)
        };
        for split in [1, 299, 1000, 1203, 4567] {
            let (mut whole, whole_host) = start();
            let (mut first, first_host) = start();
            // When devices are looked at must not differ.
            while first.cpu.retired < split {
                first.run(1);
            }
            let state = save(&first);
            let attention = Attention::default();
            let (parts, second_host) = board(&attention);
            let mut ram = Ram::new(RAM_BASE, MIN_MEMORY_BYTES);
            ram.write(RAM_BASE, first.cpu.ram.slice(RAM_BASE, MIN_MEMORY_BYTES).unwrap()).unwrap();
            let clock = Box::new(InstructionClock::new(NS_PER_INSN));
            let mut second =
                restore(RestoreParts { ram, vcpu: None, board: parts, clock, attention }, &state).unwrap();
            let bytes = |state: &MachineState| format!("{state:?}");
            assert_eq!(bytes(&save(&second)), bytes(&state), "saved again after {split}");
            // To the same number of instructions, in steps of one block.
            while whole.cpu.retired < 9000 {
                whole.run(1);
            }
            while second.cpu.retired < 9000 {
                second.run(1);
            }
            assert_eq!(bytes(&save(&second)), bytes(&save(&whole)), "after {split}");
            let text = [output(&first_host), output(&second_host)].concat();
            assert_eq!((text.len(), text), (29, output(&whole_host)));
        }
    }

    #[test]
    fn memory_elsewhere_is_refused() {
        let attention = Attention::default();
        let files = BootFiles { kernel: PROGRAM.concat(), ..BootFiles::default() };
        let clock = || Box::new(InstructionClock::new(NS_PER_INSN));
        let config = MachineConfig {
            memory_bytes: MIN_MEMORY_BYTES,
            backing: None,
            parts: board(&attention).0,
            clock: clock(),
            attention: attention.clone(),
            rng_seed: Vec::new(),
        };
        let state = save(&machine(&files, config).unwrap());
        let ram = Ram::new(c2w_engine::addr::Gpa(4096), MIN_MEMORY_BYTES);
        let (board, clock) = (board(&attention).0, clock());
        let parts = RestoreParts { ram, vcpu: None, board, clock, attention };
        assert!(matches!(restore(parts, &state), Err(MachineRestoreError::OtherRam(_))));
    }
}

//! The state of a whole machine without its RAM, and the machine that goes on from it.

use super::board::{BoardState, RAM_BASE, VirtBoard};
use super::guest::Riscv64;
use crate::snapshot::{self, MachineRestoreError, RestoreParts};
use c2w_engine::cpu::Cpu;
use c2w_engine::irq::IrqLines;
use c2w_engine::machine::Machine;

/// The state of a machine between two runs.
pub type MachineState = snapshot::MachineState<Riscv64, BoardState>;

/// The state of `machine`, which is between two runs.
pub fn save(machine: &Machine<Riscv64>) -> MachineState {
    let cpu = &machine.cpu;
    MachineState { now_ns: cpu.now_ns(), cpu: cpu.save(), board: cpu.board.save() }
}

/// The saved machine.
pub fn restore(parts: RestoreParts, state: &MachineState) -> Result<Machine<Riscv64>, MachineRestoreError> {
    parts.check_ram(RAM_BASE)?;
    let RestoreParts { ram, vcpu, board, clock, attention } = parts;
    let lines = IrqLines::new(&attention);
    let board = VirtBoard::restore(board, &lines, &attention, &state.board)?;
    let mut cpu = Cpu::with_backing(vcpu, Riscv64::new(0), ram, board, lines, attention, clock);
    cpu.restore(&state.cpu)?;
    Ok(Machine::new(cpu))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::BoardParts;
    use crate::riscv64::asm::assemble;
    use crate::riscv64::testing;
    use c2w_devices::backend::char::{CharHost, char_channel};
    use c2w_engine::addr::{Gpa, Gva};
    use c2w_engine::clock::InstructionClock;
    use c2w_engine::irq::Attention;
    use c2w_engine::mem::ram::Ram;

    fn parts(contents: &[u8]) -> (RestoreParts, CharHost) {
        let attention = Attention::default();
        let (console, host) = char_channel(4096, &attention);
        let mut ram = Ram::new(RAM_BASE, contents.len() as u64);
        ram.write(RAM_BASE, contents).unwrap();
        let board = BoardParts { console: Box::new(console), wall_clock: Box::new(|| 0), virtio: Vec::new() };
        let clock = Box::new(InstructionClock::new(testing::NS_PER_INSN));
        (RestoreParts { ram, vcpu: None, board, clock, attention }, host)
    }

    /// A timer interrupt every 300 instructions writes a letter to the serial port; the loop between them counts.
    const PROGRAM: &str = "
        auipc s0, 0
        addi t0, s0, 64
        csrrw zero, 0x305, t0
        lui s1, 0x2004
        lui s2, 0x10000
        addi s3, zero, 65
        addi t0, zero, 300
        sd t0, 0(s1)
        addi t0, zero, 128
        csrrw zero, 0x304, t0
        csrrwi zero, 0x300, 8
        count: addi s4, s4, 1
        sd s4, 1024(s0)
        jal zero, count
        addi zero, zero, 0
        addi zero, zero, 0
        sb s3, 0(s2)
        addi s3, s3, 1
        ld t0, 0(s1)
        addi t0, t0, 300
        sd t0, 0(s1)
        mret
    ";

    fn output(host: &CharHost) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let len = host.read(&mut bytes);
        bytes[..len].to_vec()
    }

    #[test]
    fn a_restored_machine_goes_on_as_if_nothing_had_happened() {
        let mut code = assemble(PROGRAM).unwrap();
        code.resize(4096, 0);
        let start = |pc| {
            let (parts, host) = parts(&code);
            let state = save(&Machine::new(testing::cpu()));
            let mut machine = restore(parts, &state).unwrap();
            machine.cpu.pc = Gva(pc);
            (machine, host)
        };
        for split in [1, 299, 1000, 1203, 4567] {
            let (mut whole, whole_host) = start(RAM_BASE.0);
            let (mut first, first_host) = start(RAM_BASE.0);
            first.run(split);
            let state = save(&first);
            let ram = first.cpu.ram.slice(Gpa(RAM_BASE.0), 4096).unwrap().to_vec();
            let (parts, second_host) = parts(&ram);
            let mut second = restore(parts, &state).unwrap();
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
}

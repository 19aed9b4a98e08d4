//! What single instructions need to have something to do, and which encodings are not run.

use super::generate::{Draft, Generator, SEGMENTS, put};
use super::values::{self, Content};
use super::window;
use c2w_decoders::x86_64::flags;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Whether an encoding can be compared: what the processors of different makers do differently is left out.
pub(super) fn is_allowed(draft: &Draft) -> bool {
    let insn = &draft.insn;
    // Near branches with an operand-size prefix: ignored by Intel, obeyed by AMD (SDM 2A, JMP; APM 3, JMP).
    let near = matches!(
        insn.flow_control(),
        FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Call
            | FlowControl::IndirectCall
            | FlowControl::Return
    );
    if near && draft.bytes.iter().take(4).any(|&byte| byte == 0x66) {
        return false;
    }
    // "If the destination is located in a non-writable segment" (SDM 2A, ARPL), even if nothing changes: AMD asks later.
    if insn.mnemonic() == Mnemonic::Arpl && insn.segment_prefix() == Register::CS {
        return false;
    }
    // REP NOP is PAUSE; with REX.B it is an exchange of R8 for AMD, and PAUSE for Intel.
    let is_rex_b = |&byte: &u8| byte & 0xf1 == 0x41;
    if insn.mnemonic() == Mnemonic::Pause && draft.bytes.iter().any(is_rex_b) {
        return false;
    }
    // The mask of components is in EDX:EAX, which an address would replace.
    let by_mask = has_component_mask(insn.mnemonic());
    let registers = [insn.memory_base().full_register(), insn.memory_index().full_register()];
    if by_mask && registers.iter().any(|register| matches!(register, Register::RAX | Register::RDX)) {
        return false;
    }
    // REP and REPNE before LOOPE and LOOPNE: reserved (SDM 2A, 2.1.1); AMD takes the condition of the prefix.
    let loops = matches!(insn.mnemonic(), Mnemonic::Loope | Mnemonic::Loopne);
    !(loops && draft.bytes.iter().take(4).any(|&byte| matches!(byte, 0xf2 | 0xf3)))
}

/// What stands for TZCNT and LZCNT on a processor that has them: BSF and BSR, which they are without BMI1 and LZCNT. The
/// prefix that makes them differ becomes one without effect; `None` if that is not possible.
pub(super) fn as_bit_scan(bytes: &[u8]) -> Option<Vec<u8>> {
    const DS: u8 = 0x3e;
    let opcode = bytes.iter().position(|&byte| byte == 0x0f)?;
    let prefixes = &bytes[..opcode];
    if prefixes.iter().any(|byte| SEGMENTS.contains(byte)) {
        return None;
    }
    let scan = prefixes.iter().map(|&byte| if byte == 0xf3 { DS } else { byte });
    Some(scan.chain(bytes[opcode..].iter().copied()).collect())
}

/// Changes registers and memory.
pub(super) fn tune(generator: &mut Generator, draft: &mut Draft) {
    let insn = draft.insn;
    let place = draft.places.first().copied();
    let gpr = &mut draft.state.gpr;
    let random = &mut generator.random;
    if repeats(&insn) {
        gpr[1] = if random.below(16) == 0 { values::word(random) } else { random.below(20) };
        if matches!(insn.code().mnemonic(), Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd)
            || matches!(insn.code().mnemonic(), Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd)
        {
            // Nothing is repeated then (SDM 2B, REP); processors of AMD ask for the port's rights all the same.
            gpr[1] |= 1;
        }
        if random.below(4) == 0 {
            // What is compared is equal for a while.
            let (si, di, value) = (gpr[6], gpr[7], random.draw() as u8);
            gpr[0] = u64::from(value) * 0x0101_0101_0101_0101;
            for address in [si, di] {
                put(draft, address.wrapping_sub(64), vec![value; 150]);
            }
        }
        return;
    }
    match insn.mnemonic() {
        Mnemonic::Div | Mnemonic::Idiv if random.below(4) != 0 => {
            let negative = random.below(2) == 1 && insn.mnemonic() == Mnemonic::Idiv;
            gpr[2] = if negative { u64::MAX } else { 0 };
            gpr[0] = random.draw() >> random.below(64);
            if negative {
                gpr[0] = !gpr[0];
            }
        }
        Mnemonic::Cmpxchg if random.below(2) == 0 => {
            let accumulator = gpr[0];
            match (insn.op0_kind(), place) {
                (OpKind::Memory, Some((address, len))) => {
                    put(draft, address, accumulator.to_le_bytes()[..len as usize].to_vec());
                }
                _ => *draft.gpr_mut(insn.op0_register()) = accumulator,
            }
        }
        Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b if random.below(2) == 0 => {
            if let Some((address, len)) = place {
                let half = len as usize / 2;
                let bytes = [&gpr[0].to_le_bytes()[..half], &gpr[2].to_le_bytes()[..half]].concat();
                put(draft, address, bytes);
            }
        }
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
            if insn.op0_kind() == OpKind::Memory && insn.op1_kind() == OpKind::Register =>
        {
            let bit = insn.op1_register();
            let is_address = [insn.memory_base(), insn.memory_index()]
                .iter()
                .any(|address| address.full_register() == bit.full_register());
            if !is_address && random.below(16) != 0 {
                let offset = random.below(512).wrapping_sub(256);
                *draft.gpr_mut(bit) = offset;
            }
        }
        Mnemonic::Xlatb => {
            let address = generator.target(1);
            let base = generator.segment_base(draft, address);
            let gpr = &mut draft.state.gpr;
            gpr[3] = address.wrapping_sub(base).wrapping_sub(gpr[0] & 0xff);
        }
        Mnemonic::Popa | Mnemonic::Popad => {
            // Registers popped before a fault keep their new values on some processors: nothing faults.
            gpr[4] = window::page(window::STACK_PAGES.start) + random.below(window::PAGE - 32);
        }
        Mnemonic::Leave => {
            gpr[5] = window::page(window::STACK_PAGES.start) + random.below(2 * window::PAGE - 8);
        }
        Mnemonic::Enter => {
            gpr[5] = window::page(window::STACK_PAGES.start) + random.below(2 * window::PAGE - 8);
        }
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => {
            // Single step would stop elsewhere.
            let rsp = gpr[4];
            let value = random.draw() & !flags::TF;
            put(draft, rsp, value.to_le_bytes().to_vec());
        }
        Mnemonic::Ldmxcsr => {
            if let Some((address, _)) = place {
                let reserved = random.below(8) == 0;
                // Bit 17 exists on processors of AMD.
                let mask = if reserved { !(1 << 17) } else { 0xffff };
                let value = random.draw() as u32 & mask;
                put(draft, address, value.to_le_bytes().to_vec());
            }
        }
        Mnemonic::Fbld => {
            if let Some((address, _)) = place {
                let mut bytes = vec![0; 10];
                bytes.fill_with(|| (random.below(10) | random.below(10) << 4) as u8);
                bytes[9] = random.draw() as u8;
                put(draft, address, bytes);
            }
        }
        Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => {
            let mut image = generator.state().fxsave().to_vec();
            if generator.random.below(8) == 0 {
                image[26] = generator.random.draw() as u8 & !2;
            }
            if let Some((address, _)) = place {
                put(draft, address, image);
            }
        }
        Mnemonic::Shl | Mnemonic::Shr | Mnemonic::Sar | Mnemonic::Sal | Mnemonic::Rol | Mnemonic::Ror
            if insn.op1_register() == Register::CL && random.below(2) == 0 =>
        {
            set_count(gpr, random.below(70));
        }
        Mnemonic::Rcl | Mnemonic::Rcr | Mnemonic::Shld | Mnemonic::Shrd if random.below(2) == 0 => {
            set_count(gpr, random.below(70));
        }
        Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne => {
            gpr[1] = random.pick(&[0, 1, 2, 1 << 32, (1 << 32) | 1, u64::MAX]);
        }
        Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => {
            gpr[1] = random.pick(&[0, 1, 1 << 16, 1 << 32, u64::MAX]);
        }
        Mnemonic::Maskmovq | Mnemonic::Maskmovdqu => {
            let len = if insn.mnemonic() == Mnemonic::Maskmovq { 8 } else { 16 };
            let address = generator.target(len);
            let base = generator.segment_base(draft, address);
            draft.state.gpr[7] = address.wrapping_sub(base);
            generator.fill(draft, address, len, Content::Word);
        }
        mnemonic if has_component_mask(mnemonic) => {
            let address = place.map_or(0, |(address, _)| address);
            xsave_area(generator, draft, address);
        }
        _ => {}
    }
}

/// Whether an instruction is a string instruction with REP or REPNE.
pub(super) fn repeats(insn: &Instruction) -> bool {
    (insn.has_rep_prefix() || insn.has_repne_prefix()) && insn.is_string_instruction()
}

/// XSAVE and its kin.
fn has_component_mask(mnemonic: Mnemonic) -> bool {
    use Mnemonic as M;
    let saves =
        matches!(mnemonic, M::Xsave | M::Xsave64 | M::Xsaveopt | M::Xsaveopt64 | M::Xsavec | M::Xsavec64);
    saves || matches!(mnemonic, M::Xrstor | M::Xrstor64)
}

/// A request for components that both processors know about, and an area for it: x87 and SSE. The processor that tests run
/// on has more of them.
fn xsave_area(generator: &mut Generator, draft: &mut Draft, address: u64) {
    const OTHERS: u64 = 0xe4;
    const HEADER: u64 = 512;
    const COMPACT: u64 = 1 << 63;
    draft.state.gpr[0] &= !OTHERS;
    let random = &mut generator.random;
    let mut header = [random.below(4), 0, 0, 0, 0, 0, 0, 0];
    match random.below(8) {
        0 => header[random.below(8) as usize] = random.draw() & !OTHERS,
        1 | 2 => header[1] = COMPACT | 3,
        _ => {}
    }
    let header = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    let image = generator.state().fxsave().to_vec();
    put(draft, address, image);
    put(draft, address.wrapping_add(HEADER), header);
}

/// A count in CL, unless RCX is an address.
fn set_count(gpr: &mut [u64; 16], count: u64) {
    let address = gpr[1].wrapping_sub(window::BASE) < window::LEN_BYTES;
    if !address {
        gpr[1] = gpr[1] & !0xff | count;
    }
}

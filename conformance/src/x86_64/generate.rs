//! Random cases of a form: an encoding, and a state and memory in which it mostly has something to do.

use super::forms::Template;
use super::state::State;
use super::tune;
use super::values::{self, CONTENTS, Content};
use super::window::{self, CODE, COMPARED, PAGE};
use crate::riscv64::random::Random;
use c2w_decoders::x86_64::flags;
use iced_x86::{ConstantOffsets, Decoder, DecoderOptions, FlowControl, Instruction};
use iced_x86::{MemorySize, Mnemonic, OpKind, Register};

/// Prefixes that override segments.
pub(super) const SEGMENTS: [u8; 6] = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const LOCK: u8 = 0xf0;
/// Bytes that are enough for any instruction.
const ENOUGH: usize = 24;

/// One instruction with everything that it starts from.
#[derive(Clone, Debug)]
pub struct Case {
    /// The instruction, decoded at its address; invalid if a prefix makes it so.
    pub insn: Instruction,
    /// Its encoding.
    pub bytes: Vec<u8>,
    /// The registers.
    pub state: State,
    /// What to write to memory before, over what is there in all cases.
    pub patches: Vec<(u64, Vec<u8>)>,
    /// What the processor runs instead, if it knows more instructions than we do.
    pub substitute: Option<Vec<u8>>,
    /// It is 32-bit code.
    pub code_32: bool,
}

/// What cases may be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// 64 or 32.
    pub bits: u32,
    /// Addresses that fault are drawn, too.
    pub faults: bool,
    /// The bases of FS and GS can be chosen.
    pub segment_bases: bool,
}

/// The source of cases.
pub struct Generator {
    /// Random numbers.
    pub random: Random,
    /// What cases may be like.
    pub options: Options,
}

/// A case in the making.
pub(super) struct Draft {
    pub insn: Instruction,
    pub bytes: Vec<u8>,
    pub constants: ConstantOffsets,
    pub state: State,
    pub patches: Vec<(u64, Vec<u8>)>,
    /// Where memory operands were placed, with their sizes.
    pub places: Vec<(u64, u64)>,
}

impl Draft {
    /// Writes a field of the encoding.
    fn set_field(&mut self, at: usize, len: usize, value: u64) {
        self.bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    }

    /// Value of the general register that `register` is part of.
    pub fn gpr_mut(&mut self, register: Register) -> &mut u64 {
        &mut self.state.gpr[register.full_register().number() & 15]
    }
}

impl Generator {
    /// A random case of a form, or `None` if what was drawn is not to be run.
    pub fn case(&mut self, templates: &[Template]) -> Option<Case> {
        let template = &templates[self.random.below(templates.len() as u64) as usize];
        let (bytes, insn, constants) = self.encode(template);
        // LOCK before MOV of a control register is how AMD names CR8 (APM 3, MOV CRn).
        if matches!(template.opcode[..], [0x0f, 0x20 | 0x22]) && bytes.iter().take(4).any(|&b| b == LOCK) {
            return None;
        }
        let state = self.state();
        let mut draft = Draft { insn, bytes, constants, state, patches: Vec::new(), places: Vec::new() };
        if !insn.is_invalid() {
            if !tune::is_allowed(&draft) {
                return None;
            }
            self.place_implicit(&mut draft);
            self.place_memory(&mut draft)?;
            self.place_branch(&mut draft);
            tune::tune(self, &mut draft);
            let again = decode(&draft.bytes, self.options.bits).0;
            debug_assert_eq!(again.code(), draft.insn.code(), "{:02x?}", draft.bytes);
            draft.insn = again;
        }
        if self.options.bits == 32 {
            draft.state.gpr.iter_mut().for_each(|value| *value &= 0xffff_ffff);
        }
        let Draft { insn, bytes, state, patches, .. } = draft;
        let substitute = match insn.mnemonic() {
            Mnemonic::Tzcnt | Mnemonic::Lzcnt => Some(tune::as_bit_scan(&bytes)?),
            _ => None,
        };
        Some(Case { insn, bytes, state, patches, substitute, code_32: self.options.bits == 32 })
    }

    fn encode(&mut self, template: &Template) -> (Vec<u8>, Instruction, ConstantOffsets) {
        let random = &mut self.random;
        let mut prefixes: Vec<u8> = template.selector.into_iter().collect();
        if template.address_size {
            prefixes.push(0x67);
        }
        if random.below(10) == 0 {
            prefixes.push(random.pick(&SEGMENTS));
        }
        if random.below(12) == 0 {
            prefixes.push(LOCK);
        }
        if prefixes.len() > 1 && random.below(2) == 0 {
            prefixes.reverse();
        }
        let mut bytes = prefixes;
        if self.options.bits == 64 {
            let w = u8::from(template.wide) << 3;
            if template.wide || random.below(2) == 0 {
                bytes.push(0x40 | w | random.below(8) as u8);
            }
        }
        bytes.extend(&template.opcode);
        bytes.push(random.pick(&template.next));
        while bytes.len() < ENOUGH {
            bytes.extend(random.draw().to_le_bytes());
        }
        let (insn, constants) = decode(&bytes, self.options.bits);
        bytes.truncate(insn.len());
        (bytes, insn, constants)
    }

    /// Random registers. Pending x87 exceptions are rare.
    pub fn state(&mut self) -> State {
        let random = &mut self.random;
        let mut state = State { rip: CODE, ..State::default() };
        state.gpr.fill_with(|| values::word(random));
        let drawn = random.draw();
        state.rflags = drawn & flags::ARITHMETIC | flags::FIXED | flags::IF;
        if random.below(4) == 0 {
            state.rflags |= flags::DF;
        }
        if self.options.faults && random.below(16) == 0 {
            state.rflags |= flags::AC;
        }
        let x87 = &mut state.x87;
        x87.control = match random.below(4) {
            0 | 1 => 0x037f,
            2 => 0x007f | (random.draw() as u16 & 0x0f00),
            _ => random.draw() as u16 & 0x0f3f | 0x40,
        };
        let flags = if random.below(3) == 0 { random.draw() as u16 & 0x7f } else { 0 };
        x87.status = random.draw() as u16 & 0x7f00 | flags;
        let unmasked = |x87: &super::state::X87| x87.status & !x87.control & 0x3f;
        if unmasked(x87) != 0 && random.below(8) != 0 {
            x87.status &= !unmasked(x87);
        }
        if unmasked(x87) != 0 {
            x87.status |= 0x8080;
        } else {
            x87.status &= !0x8080;
        }
        x87.tags = match random.below(4) {
            0 => random.draw() as u8,
            1 if random.below(4) == 0 => 0,
            _ => 0xff,
        };
        x87.opcode = random.draw() as u16 & 0x7ff;
        x87.ip = random.draw() >> 17;
        x87.dp = random.draw() >> 17;
        x87.registers.fill_with(|| values::extended(random));
        state.mxcsr = match random.below(4) {
            0 | 1 => 0x1f80,
            2 => 0x1f80 | random.draw() as u32 & 0xe07f,
            _ => random.draw() as u32 & 0xffff,
        };
        let common = random.pick(&CONTENTS);
        for register in &mut state.xmm {
            let content = if random.below(4) == 0 { random.pick(&CONTENTS) } else { common };
            register.fill_with(|| values::content(random, content));
        }
        state
    }

    /// An address for an access to `len` bytes.
    pub fn target(&mut self, len: u64) -> u64 {
        let random = &mut self.random;
        let data = window::page(window::DATA_PAGES.start);
        let align = len.next_power_of_two().min(64);
        let room = 2 * PAGE - len;
        let aligned = data + random.below(room) / align * align;
        let before = |boundary: u64, random: &mut Random| boundary - 1 - random.below(len.max(2) - 1);
        match random.below(if self.options.faults { 32 } else { 6 }) {
            // Misaligned, and crossing from one writable page to the next.
            0..=2 => data + random.below(room),
            3 => before(data + PAGE, random),
            // Within the pages of the stack.
            4 => window::page(window::STACK_PAGES.start) + random.below(2 * PAGE - len) / align * align,
            5 => aligned,
            // Read-only, and crossing into it; not mapped, and crossing into it; code.
            6 => data + 2 * PAGE + random.below(PAGE - len) / align * align,
            7 => before(data + 2 * PAGE, random),
            8 => data + 3 * PAGE + random.below(PAGE - len) / align * align,
            9 => before(data + 3 * PAGE, random),
            10 => window::page(window::CODE_PAGES.start) + random.below(PAGE) / align * align,
            // Not canonical.
            11 => 1 << (47 + random.below(16)) | random.draw() >> 18,
            // At the end of the lower half of the canonical addresses, and beyond it.
            12 => (1 << 47) - random.below(2 * len + 1),
            _ => aligned,
        }
    }

    /// Writes random content over `len` bytes of memory, if they are in pages that hold any.
    pub(super) fn fill(&mut self, draft: &mut Draft, address: u64, len: u64, content: Content) {
        let random = &mut self.random;
        let mut bytes = Vec::with_capacity(len as usize + 7);
        while (bytes.len() as u64) < len {
            bytes.extend(values::content(random, content).to_le_bytes());
        }
        bytes.truncate(len as usize);
        put(draft, address, bytes);
    }

    /// The stack, and what strings are at.
    fn place_implicit(&mut self, draft: &mut Draft) {
        let stack = window::page(window::STACK_PAGES.start);
        let rsp = match self.random.below(if self.options.faults { 24 } else { 8 }) {
            0 => stack + PAGE + self.random.below(64),
            1 => values::word(&mut self.random),
            // At both ends of the stack.
            8 => stack + self.random.below(16),
            9 => stack + 2 * PAGE - self.random.below(16),
            10 => self.target(8),
            _ => stack + PAGE - 512 + self.random.below(128) * 8,
        };
        let uses_stack = draft.insn.is_stack_instruction();
        if uses_stack && !self.options.faults || self.random.below(8) != 0 {
            draft.state.gpr[4] = if uses_stack && !self.options.faults {
                stack + PAGE - 512 + self.random.below(128) * 8
            } else {
                rsp
            };
        }
        use OpKind::{MemoryESDI, MemoryESEDI, MemoryESRDI, MemorySegDI, MemorySegEDI, MemorySegESI};
        use OpKind::{MemorySegRDI, MemorySegRSI, MemorySegSI};
        for index in 0..draft.insn.op_count() {
            let kind = draft.insn.op_kind(index);
            let register = match kind {
                MemorySegSI | MemorySegESI | MemorySegRSI => Register::RSI,
                MemoryESDI | MemoryESEDI | MemoryESRDI => Register::RDI,
                MemorySegDI | MemorySegEDI | MemorySegRDI => Register::RDI,
                _ => continue,
            };
            let len = draft.insn.memory_size().size().max(1) as u64;
            let address = self.target(len);
            let narrow = has_address_of_32_bits(kind);
            let segment =
                if register == Register::RSI || !matches!(kind, MemoryESDI | MemoryESEDI | MemoryESRDI) {
                    self.segment_base(draft, address)
                } else {
                    0
                };
            let offset = address.wrapping_sub(segment);
            let value = self.offset_value(offset, narrow);
            *draft.gpr_mut(register) = value;
            draft.places.push((address, len));
        }
    }

    /// A register value that addresses an offset: with a 32-bit address the upper half does not matter.
    fn offset_value(&mut self, offset: u64, narrow: bool) -> u64 {
        if narrow && self.options.bits == 64 {
            offset & 0xffff_ffff | self.random.draw() << 32
        } else {
            offset
        }
    }

    /// The base of the segment of a memory operand, chosen so that `address` is above it.
    pub(super) fn segment_base(&mut self, draft: &mut Draft, address: u64) -> u64 {
        let base = match draft.insn.memory_segment() {
            Register::FS => &mut draft.state.fs_base,
            Register::GS => &mut draft.state.gs_base,
            _ => return 0,
        };
        if !self.options.segment_bases || self.options.bits != 64 {
            return 0;
        }
        *base = self.random.below(address & 0xffff_ffff | 1);
        *base
    }

    /// Chooses base, index and displacement so that the operand is somewhere interesting.
    fn place_memory(&mut self, draft: &mut Draft) -> Option<()> {
        let insn = draft.insn;
        if (0..insn.op_count()).all(|index| insn.op_kind(index) != OpKind::Memory) {
            return Some(());
        }
        let len = match insn.memory_size() {
            MemorySize::Xsave | MemorySize::Xsave64 => 832,
            size => (size.size() as u64).max(1),
        };
        let address = self.target(len);
        let segment = self.segment_base(draft, address);
        let offset = address.wrapping_sub(segment);
        let (base, index) = (insn.memory_base(), insn.memory_index());
        let scale = u64::from(insn.memory_index_scale());
        let (displacement_at, displacement_len) =
            (draft.constants.displacement_offset(), draft.constants.displacement_size());
        if base.is_ip() {
            let next = CODE + draft.bytes.len() as u64;
            draft.set_field(displacement_at, displacement_len, offset.wrapping_sub(next));
        } else if base == Register::None && index == Register::None {
            draft.set_field(displacement_at, displacement_len, offset);
        } else {
            let mut rest = offset;
            if index != Register::None && index != base {
                let number = self.random.below(128).wrapping_sub(64);
                *draft.gpr_mut(index) = self.offset_value(number, index.size() == 4);
                rest = rest.wrapping_sub(number.wrapping_mul(scale));
            }
            if base == Register::None {
                draft.set_field(displacement_at, displacement_len, rest);
            } else {
                let value = rest.wrapping_sub(insn.memory_displacement64());
                let value = if index == base { value / (1 + scale) } else { value };
                *draft.gpr_mut(base) = self.offset_value(value, base.size() == 4);
            }
        }
        draft.places.push((address, len));
        self.fill_operand(draft, address, len);
        Some(())
    }

    fn fill_operand(&mut self, draft: &mut Draft, address: u64, len: u64) {
        use iced_x86::MemorySize::{Float32, Float64, Float80};
        let content = match draft.insn.memory_size().element_type() {
            Float32 => Content::Singles,
            Float64 => Content::Double,
            Float80 => {
                let (significand, exponent) = values::extended(&mut self.random);
                let bytes = [&significand.to_le_bytes()[..], &exponent.to_le_bytes()].concat();
                return put(draft, address, bytes);
            }
            _ => self.random.pick(&CONTENTS),
        };
        self.fill(draft, address, len, content);
    }

    /// Makes near branches go where there is INT3, or nothing that runs.
    fn place_branch(&mut self, draft: &mut Draft) {
        let insn = draft.insn;
        use OpKind::{NearBranch16, NearBranch32, NearBranch64};
        if matches!(insn.op_kind(0), NearBranch16 | NearBranch32 | NearBranch64) && insn.op_count() == 1 {
            let (at, len) = (draft.constants.immediate_offset(), draft.constants.immediate_size());
            let next = CODE + draft.bytes.len() as u64;
            let target = loop {
                let target = if len == 1 {
                    next.wrapping_add_signed(i64::from(self.random.draw() as i8))
                } else {
                    self.code_target()
                };
                if !(CODE..next).contains(&target) {
                    break target;
                }
            };
            draft.set_field(at, len, target.wrapping_sub(next));
            return;
        }
        let target = self.code_target();
        match insn.flow_control() {
            FlowControl::IndirectBranch | FlowControl::IndirectCall => {
                if insn.op_kind(0) == OpKind::Register {
                    *draft.gpr_mut(insn.op_register(0)) = target;
                } else if let Some(&(address, _)) = draft.places.last() {
                    put(draft, address, target.to_le_bytes().to_vec());
                }
            }
            FlowControl::Return => {
                let rsp = draft.state.gpr[4];
                put(draft, rsp, target.to_le_bytes().to_vec());
            }
            _ => {}
        }
    }

    /// An address to jump to, away from the instruction itself.
    fn code_target(&mut self) -> u64 {
        let first = window::page(window::CODE_PAGES.start);
        match self.random.below(if self.options.faults { 16 } else { 14 }) {
            14 => window::page(window::CODE_PAGES.end) + self.random.below(PAGE),
            15 => window::page(window::DATA_PAGES.start) + self.random.below(PAGE),
            0..7 => first + self.random.below(CODE - first),
            _ => first + PAGE + self.random.below(PAGE),
        }
    }
}

/// Adds bytes to what is written to memory before, as far as they are where memory is.
pub(super) fn put(draft: &mut Draft, address: u64, bytes: Vec<u8>) {
    let offset = address.wrapping_sub(window::BASE);
    let end = offset.checked_add(bytes.len() as u64);
    if COMPARED.contains(&offset) && end.is_some_and(|end| end <= COMPARED.end) {
        draft.patches.push((address, bytes));
    }
}

/// Whether an operand of a string instruction is at a 32-bit address.
pub(super) fn has_address_of_32_bits(kind: OpKind) -> bool {
    matches!(kind, OpKind::MemorySegESI | OpKind::MemoryESEDI | OpKind::MemorySegEDI)
}

/// Decodes at the address of the instruction under test.
fn decode(bytes: &[u8], bits: u32) -> (Instruction, ConstantOffsets) {
    let mut decoder = Decoder::with_ip(bits, bytes, CODE, DecoderOptions::NONE);
    let insn = decoder.decode();
    let constants = decoder.get_constant_offsets(&insn);
    (insn, constants)
}

//! An assembler for the x86-64 instructions that the lowering uses (SDM 2A to 2C). It writes bytes and resolves labels;
//! what it is given is the lowering's business alone, so it checks by assertion.

mod shorten;

use crate::addr::Width;
use serde::{Deserialize, Serialize};
use shorten::Moves;

/// A general register, by its number in encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reg(pub u8);

#[allow(missing_docs, reason = "named as the architecture names them")]
impl Reg {
    pub const RAX: Self = Self(0);
    pub const RCX: Self = Self(1);
    pub const RDX: Self = Self(2);
    pub const RBX: Self = Self(3);
    pub const RSP: Self = Self(4);
    pub const RBP: Self = Self(5);
    pub const RSI: Self = Self(6);
    pub const RDI: Self = Self(7);
    pub const R8: Self = Self(8);
    pub const R9: Self = Self(9);
    pub const R10: Self = Self(10);
    pub const R11: Self = Self(11);
    pub const R12: Self = Self(12);
    pub const R13: Self = Self(13);
    pub const R14: Self = Self(14);
    pub const R15: Self = Self(15);
}

/// A vector register, by its number in encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Xmm(pub u8);

/// A place in memory: base + index + displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem {
    /// Base register.
    pub base: Reg,
    /// Index register, unscaled; not RSP.
    pub index: Option<Reg>,
    /// Displacement in bytes.
    pub disp: i32,
}

impl Mem {
    /// At a distance from what a register points to.
    pub const fn at(base: Reg, disp: i32) -> Self {
        Self { base, index: None, disp }
    }

    /// At the sum of two registers and a displacement.
    pub const fn sum(base: Reg, index: Reg, disp: i32) -> Self {
        Self { base, index: Some(index), disp }
    }
}

/// The second operand of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rm {
    /// A register.
    Reg(Reg),
    /// Memory.
    Mem(Mem),
}

impl From<Reg> for Rm {
    fn from(reg: Reg) -> Self {
        Rm::Reg(reg)
    }
}

impl From<Mem> for Rm {
    fn from(mem: Mem) -> Self {
        Rm::Mem(mem)
    }
}

/// Two-operand instructions of the first group; the value is the number in opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the architecture names them")]
#[repr(u8)]
pub enum Alu {
    Add = 0,
    Or = 1,
    Adc = 2,
    Sbb = 3,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotations; the value is the number in opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the architecture names them")]
#[repr(u8)]
pub enum Shift {
    Rol = 0,
    Ror = 1,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// One-operand instructions of group 3; the value is the number in opcodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the architecture names them")]
#[repr(u8)]
pub enum Group3 {
    Not = 2,
    Neg = 3,
    Mul = 4,
    Imul = 5,
    Div = 6,
    Idiv = 7,
}

/// A condition, by its number in encodings: the low bit negates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cc(pub u8);

#[allow(missing_docs, reason = "named as the architecture names them")]
impl Cc {
    pub const O: Self = Self(0);
    pub const B: Self = Self(2);
    pub const AE: Self = Self(3);
    pub const E: Self = Self(4);
    pub const NE: Self = Self(5);
    pub const S: Self = Self(8);
    pub const NS: Self = Self(9);
    pub const P: Self = Self(10);
    pub const NP: Self = Self(11);
    pub const L: Self = Self(12);
    pub const GE: Self = Self(13);

    /// The opposite.
    pub const fn negated(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// A place in the code that jumps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u32);

const UNBOUND: u32 = u32::MAX;

/// Code being written.
#[derive(Default)]
pub struct Asm {
    code: Vec<u8>,
    /// Where each label is.
    labels: Vec<u32>,
    /// Jumps to labels, in ascending order.
    fixups: Vec<Fixup>,
    /// What became of them when the code was finished.
    moves: Moves,
    /// Where numbers stand that [`Asm::note`] wrote.
    notes: Vec<u32>,
    /// Where displacements stand of jumps and calls to what is [`Fixed`].
    fixed: Vec<u32>,
}

/// A jump to a label.
struct Fixup {
    /// Where its four-byte displacement is.
    place: u32,
    label: Label,
    /// It will lead elsewhere.
    is_patched: bool,
    /// It will be a short one.
    is_short: bool,
}

/// Code at this place of the memory that all code is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed(pub u32);

/// Finished code.
pub struct Finished<'a> {
    /// All of it, as it has to be at the start of the memory that all code is in.
    pub code: &'a [u8],
    /// Where numbers stand that [`Asm::note`] wrote.
    pub notes: &'a [u32],
    /// Where four-byte displacements stand that become less by as much as the code is further behind.
    pub fixed: &'a [u32],
}

impl Asm {
    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.code.clear();
        self.labels.clear();
        self.fixups.clear();
        self.moves.clear();
        self.notes.clear();
        self.fixed.clear();
    }

    /// Length of the code so far.
    pub fn len(&self) -> usize {
        self.code.len()
    }

    /// Whether there is no code yet.
    pub fn is_empty(&self) -> bool {
        self.code.is_empty()
    }

    /// The code, with every jump to a label filled in.
    ///
    /// # Panics
    /// If a label that is jumped to was not bound.
    pub fn finish(&mut self) -> &[u8] {
        for jump in std::mem::take(&mut self.fixups) {
            let (place, distance) = (jump.place as usize, self.distance(&jump));
            self.code[place..place + 4].copy_from_slice(&distance.to_le_bytes());
        }
        &self.code
    }

    /// A label that is bound later.
    pub fn label(&mut self) -> Label {
        self.labels.push(UNBOUND);
        Label(self.labels.len() as u32 - 1)
    }

    /// Binds a label to this place.
    pub fn bind(&mut self, label: Label) {
        self.labels[label.0 as usize] = self.code.len() as u32;
    }

    fn byte(&mut self, byte: u8) {
        self.code.push(byte);
    }

    fn dword(&mut self, value: i32) {
        self.code.extend_from_slice(&value.to_le_bytes());
    }

    /// Prefix, REX, opcode bytes, and operands. `byte_reg` and `byte_rm` say that these are byte registers, of which those
    /// above 3 need a REX prefix.
    #[allow(clippy::too_many_arguments, reason = "the parts of an encoding")]
    fn encode(
        &mut self,
        prefix: Option<u8>,
        wide: bool,
        opcode: &[u8],
        reg: u8,
        rm: Rm,
        byte_reg: bool,
        byte_rm: bool,
    ) {
        if let Some(prefix) = prefix {
            self.byte(prefix);
        }
        let (x, b) = match rm {
            Rm::Reg(reg) => (0, reg.0 >> 3),
            Rm::Mem(mem) => (mem.index.map_or(0, |index| index.0 >> 3), mem.base.0 >> 3),
        };
        let rex = u8::from(wide) << 3 | (reg >> 3) << 2 | x << 1 | b;
        let byte_rm = byte_rm && matches!(rm, Rm::Reg(Reg(4..8)));
        if rex != 0 || byte_reg && (4..8).contains(&reg) || byte_rm {
            self.byte(0x40 | rex);
        }
        self.code.extend_from_slice(opcode);
        self.modrm(reg & 7, rm);
    }

    fn modrm(&mut self, reg: u8, rm: Rm) {
        let mem = match rm {
            Rm::Reg(rm) => return self.byte(0xc0 | reg << 3 | rm.0 & 7),
            Rm::Mem(mem) => mem,
        };
        let base = mem.base.0 & 7;
        // RBP and R13 as a base always have a displacement.
        let (mode, small) = match mem.disp {
            0 if base != 5 => (0, true),
            -128..=127 => (0x40, true),
            _ => (0x80, false),
        };
        match mem.index {
            Some(index) => {
                debug_assert!(index != Reg::RSP);
                self.byte(mode | reg << 3 | 4);
                self.byte((index.0 & 7) << 3 | base);
            }
            None if base == 4 => {
                self.byte(mode | reg << 3 | 4);
                self.byte(0x24);
            }
            None => self.byte(mode | reg << 3 | base),
        }
        match (mode, small) {
            (0, _) => {}
            (_, true) => self.byte(mem.disp as u8),
            _ => self.dword(mem.disp),
        }
    }

    /// An integer instruction of width `w` whose opcode for wider operands follows that for bytes.
    fn sized(&mut self, w: Width, opcode: u8, reg: u8, rm: Rm, byte_reg: bool) {
        let prefix = (w == Width::W16).then_some(0x66);
        let byte = w == Width::W8;
        let opcode = if byte { opcode } else { opcode | 1 };
        self.encode(prefix, w == Width::W64, &[opcode], reg, rm, byte && byte_reg, byte);
    }

    /// `to = from`, 64 bits.
    pub fn mov(&mut self, to: Reg, from: Reg) {
        if to != from {
            self.encode(None, true, &[0x8b], to.0, from.into(), false, false);
        }
    }

    /// `to = from`, 32 bits, zero-extended.
    pub fn mov32(&mut self, to: Reg, from: Reg) {
        self.encode(None, false, &[0x8b], to.0, from.into(), false, false);
    }

    /// A constant. Leaves the flags alone.
    pub fn mov_imm(&mut self, to: Reg, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            if to.0 >= 8 {
                self.byte(0x41);
            }
            self.byte(0xb8 | to.0 & 7);
            self.dword(value as i32);
        } else if let Ok(value) = i32::try_from(value as i64) {
            self.encode(None, true, &[0xc7], 0, to.into(), false, false);
            self.dword(value);
        } else {
            self.mov_imm64(to, value);
        }
    }

    /// The same with all eight bytes of the number at the end.
    pub fn mov_imm64(&mut self, to: Reg, value: u64) {
        self.byte(0x48 | to.0 >> 3);
        self.byte(0xb8 | to.0 & 7);
        self.code.extend_from_slice(&value.to_le_bytes());
    }

    /// Reads `w`, zero-extended.
    pub fn load(&mut self, w: Width, to: Reg, from: Mem) {
        self.zext(w, to, from);
    }

    /// Writes the low `w` bits.
    pub fn store(&mut self, w: Width, to: Mem, from: Reg) {
        self.sized(w, 0x88, from.0, to.into(), true);
    }

    /// Writes a constant, sign-extended from 32 bits.
    pub fn store_imm(&mut self, w: Width, to: Mem, value: i32) {
        self.sized(w, 0xc6, 0, to.into(), false);
        self.immediate(w, value);
    }

    fn immediate(&mut self, w: Width, value: i32) {
        match w {
            Width::W8 => self.byte(value as u8),
            Width::W16 => self.code.extend_from_slice(&(value as u16).to_le_bytes()),
            Width::W32 | Width::W64 => self.dword(value),
        }
    }

    /// `a = a op b`.
    pub fn alu(&mut self, op: Alu, w: Width, a: Reg, b: impl Into<Rm>) {
        self.sized(w, (op as u8) << 3 | 2, a.0, b.into(), true);
    }

    /// `[a] = [a] op b`, or a comparison.
    pub fn alu_mem(&mut self, op: Alu, w: Width, a: Mem, b: Reg) {
        self.sized(w, (op as u8) << 3, b.0, a.into(), true);
    }

    /// `a = a op value`, sign-extended.
    pub fn alu_imm(&mut self, op: Alu, w: Width, a: impl Into<Rm>, value: i32) {
        let (a, small) = (a.into(), i8::try_from(value).is_ok());
        if w == Width::W8 {
            self.sized(w, 0x80, op as u8, a, false);
            return self.byte(value as u8);
        }
        if let (false, Width::W32 | Width::W64, Rm::Reg(Reg::RAX)) = (small, w, a) {
            if w == Width::W64 {
                self.byte(0x48);
            }
            self.byte((op as u8) << 3 | 5);
            return self.dword(value);
        }
        // 0x83 has bit 0 set as it is.
        self.sized(w, if small { 0x82 } else { 0x80 }, op as u8, a, false);
        if small { self.byte(value as u8) } else { self.immediate(w, value) }
    }

    /// Flags of `a & b`.
    pub fn test(&mut self, w: Width, a: Reg, b: Reg) {
        self.sized(w, 0x84, b.0, a.into(), true);
    }

    /// Flags of `a & value`, sign-extended.
    pub fn test_imm(&mut self, w: Width, a: Reg, value: i32) {
        self.sized(w, 0xf6, 0, a.into(), false);
        self.immediate(w, value);
    }

    /// `a = a shifted by value`.
    pub fn shift_imm(&mut self, op: Shift, w: Width, a: Reg, value: u8) {
        self.sized(w, 0xc0, op as u8, a.into(), false);
        self.byte(value);
    }

    /// `a = a shifted by CL`.
    pub fn shift_cl(&mut self, op: Shift, w: Width, a: Reg) {
        self.sized(w, 0xd2, op as u8, a.into(), false);
    }

    /// An instruction of group 3.
    pub fn group3(&mut self, op: Group3, w: Width, a: impl Into<Rm>) {
        self.sized(w, 0xf6, op as u8, a.into(), false);
    }

    /// `a = a * b`, 32 or 64 bits.
    pub fn imul(&mut self, w: Width, a: Reg, b: impl Into<Rm>) {
        self.encode(None, w == Width::W64, &[0x0f, 0xaf], a.0, b.into(), false, false);
    }

    /// `a = b * value`, 32 or 64 bits.
    pub fn imul_imm(&mut self, w: Width, a: Reg, b: impl Into<Rm>, value: i32) {
        self.encode(None, w == Width::W64, &[0x69], a.0, b.into(), false, false);
        self.dword(value);
    }

    /// Extends the sign of EAX or RAX into EDX or RDX.
    pub fn cwd(&mut self, w: Width) {
        if w == Width::W64 {
            self.byte(0x48);
        }
        self.byte(0x99);
    }

    /// `to = base + index + disp`, 32 or 64 bits.
    pub fn lea(&mut self, w: Width, to: Reg, from: Mem) {
        self.encode(None, w == Width::W64, &[0x8d], to.0, from.into(), false, false);
    }

    /// The low `w` bits of `from`, zero-extended.
    pub fn zext(&mut self, w: Width, to: Reg, from: impl Into<Rm>) {
        match (w, from.into()) {
            (Width::W8, from) => self.encode(None, false, &[0x0f, 0xb6], to.0, from, false, true),
            (Width::W16, from) => self.encode(None, false, &[0x0f, 0xb7], to.0, from, false, false),
            (Width::W32, from) => self.encode(None, false, &[0x8b], to.0, from, false, false),
            (Width::W64, Rm::Reg(from)) => self.mov(to, from),
            (Width::W64, from) => self.encode(None, true, &[0x8b], to.0, from, false, false),
        }
    }

    /// The low `w` bits of `from`, sign-extended to 64.
    pub fn sext(&mut self, w: Width, to: Reg, from: impl Into<Rm>) {
        match (w, from.into()) {
            (Width::W8, from) => self.encode(None, true, &[0x0f, 0xbe], to.0, from, false, true),
            (Width::W16, from) => self.encode(None, true, &[0x0f, 0xbf], to.0, from, false, false),
            (Width::W32, from) => self.encode(None, true, &[0x63], to.0, from, false, false),
            (Width::W64, from) => self.zext(w, to, from),
        }
    }

    /// 1 in the low byte if the condition holds, else 0.
    pub fn setcc(&mut self, cc: Cc, to: Reg) {
        self.encode(None, false, &[0x0f, 0x90 | cc.0], 0, to.into(), false, true);
    }

    /// `to = from` if the condition holds, 64 bits.
    pub fn cmov(&mut self, cc: Cc, to: Reg, from: impl Into<Rm>) {
        self.encode(None, true, &[0x0f, 0x40 | cc.0], to.0, from.into(), false, false);
    }

    /// Bytes in reverse order, 32 or 64 bits.
    pub fn bswap(&mut self, w: Width, to: Reg) {
        let rex = u8::from(w == Width::W64) << 3 | to.0 >> 3;
        if rex != 0 {
            self.byte(0x40 | rex);
        }
        self.byte(0x0f);
        self.byte(0xc8 | to.0 & 7);
    }

    /// LZCNT, 32 or 64 bits.
    pub fn lzcnt(&mut self, w: Width, to: Reg, from: Reg) {
        self.encode(Some(0xf3), w == Width::W64, &[0x0f, 0xbd], to.0, from.into(), false, false);
    }

    /// TZCNT, 32 or 64 bits.
    pub fn tzcnt(&mut self, w: Width, to: Reg, from: Reg) {
        self.encode(Some(0xf3), w == Width::W64, &[0x0f, 0xbc], to.0, from.into(), false, false);
    }

    /// POPCNT, 32 or 64 bits.
    pub fn popcnt(&mut self, w: Width, to: Reg, from: Reg) {
        self.encode(Some(0xf3), w == Width::W64, &[0x0f, 0xb8], to.0, from.into(), false, false);
    }

    /// CRC32: adds `w` of a register to a checksum. Needs SSE4.2.
    pub fn crc32(&mut self, w: Width, sum: Reg, from: Reg) {
        if w == Width::W16 {
            self.byte(0x66);
        }
        let (wide, byte) = (w == Width::W64, w == Width::W8);
        self.encode(Some(0xf2), wide, &[0x0f, 0x38, 0xf1 - u8::from(byte)], sum.0, from.into(), false, byte);
    }

    /// Jumps to a label.
    pub fn jmp(&mut self, to: Label) {
        self.byte(0xe9);
        self.fixup(to, false);
    }

    /// The same by a jump that can be patched; gives where its four-byte displacement is.
    pub fn jmp_patched(&mut self, to: Label) -> usize {
        self.byte(0xe9);
        self.fixup(to, true);
        self.code.len() - 4
    }

    /// Jumps to a label if the condition holds.
    pub fn jcc(&mut self, cc: Cc, to: Label) {
        self.byte(0x0f);
        self.byte(0x80 | cc.0);
        self.fixup(to, false);
    }

    fn fixup(&mut self, label: Label, is_patched: bool) {
        self.fixups.push(Fixup { place: self.code.len() as u32, label, is_patched, is_short: false });
        self.dword(0);
    }

    /// Jumps to where a register or memory says.
    pub fn jmp_indirect(&mut self, to: impl Into<Rm>) {
        self.encode(None, false, &[0xff], 4, to.into(), false, false);
    }

    /// Jumps to code at a fixed place.
    pub fn jmp_fixed(&mut self, to: Fixed) {
        self.byte(0xe9);
        self.displacement(to);
    }

    /// Calls code at a fixed place.
    pub fn call_fixed(&mut self, to: Fixed) {
        self.byte(0xe8);
        self.displacement(to);
    }

    fn displacement(&mut self, Fixed(to): Fixed) {
        let at = self.code.len() as u32;
        self.fixed.push(at);
        self.dword(to.wrapping_sub(at + 4) as i32);
    }

    /// Calls what memory says.
    pub fn call_indirect(&mut self, to: Mem) {
        self.encode(None, false, &[0xff], 2, to.into(), false, false);
    }

    /// Returns.
    pub fn ret(&mut self) {
        self.byte(0xc3);
    }

    /// Pushes a register.
    pub fn push(&mut self, reg: Reg) {
        self.encode(None, false, &[0xff], 6, reg.into(), false, false);
    }

    /// Pops a register.
    pub fn pop(&mut self, reg: Reg) {
        self.encode(None, false, &[0x8f], 0, reg.into(), false, false);
    }

    /// An instruction that does nothing but hold a number, for who reads code behind a call: `TEST EAX, value`.
    pub fn note(&mut self, value: u32) {
        self.byte(0xa9);
        self.notes.push(self.code.len() as u32);
        self.dword(value as i32);
    }

    /// An SSE instruction: prefix, opcode, destination, source.
    pub fn sse(&mut self, prefix: Option<u8>, opcode: &[u8], to: Xmm, from: impl Into<XmmRm>) {
        self.encode(prefix, false, opcode, to.0, from.into().0, false, false);
    }

    /// The same with 64-bit general operands.
    pub fn sse_wide(&mut self, prefix: Option<u8>, opcode: &[u8], to: Xmm, from: impl Into<XmmRm>) {
        self.encode(prefix, true, opcode, to.0, from.into().0, false, false);
    }

    /// A fused multiply-add: the destination, which is also an operand, and two factors. `wide` says that they are doubles.
    pub fn fused(&mut self, wide: bool, opcode: u8, to: Xmm, a: Xmm, b: impl Into<XmmRm>) {
        let XmmRm(rm) = b.into();
        let (x, b) = match rm {
            Rm::Reg(reg) => (0, reg.0 >> 3),
            Rm::Mem(mem) => (mem.index.map_or(0, |index| index.0 >> 3), mem.base.0 >> 3),
        };
        // VEX, opcodes behind 0F 38, prefix 66; what extends registers is inverted.
        self.byte(0xc4);
        self.byte((!(to.0 >> 3 << 2 | x << 1 | b) & 7) << 5 | 2);
        self.byte(u8::from(wide) << 7 | (!a.0 & 15) << 3 | 1);
        self.byte(opcode);
        self.modrm(to.0 & 7, rm);
    }

    /// `to = from` rotated to the right, 32 bits; leaves the flags alone. Needs BMI2.
    pub fn rorx32(&mut self, to: Reg, from: Reg, by: u8) {
        // VEX, opcodes behind 0F 3A, prefix F2; what extends registers is inverted.
        self.byte(0xc4);
        self.byte((!(to.0 >> 3 << 2 | from.0 >> 3) & 7) << 5 | 3);
        self.byte(0x7b);
        self.byte(0xf0);
        self.modrm(to.0 & 7, from.into());
        self.byte(by);
    }

    /// EAX = the flags that are arithmetic flags in x86 and a few others, in their places in the low byte.
    pub fn flags_byte(&mut self) {
        // LAHF, then AH zero-extended.
        self.byte(0x9f);
        self.encode(None, false, &[0x0f, 0xb6], 0, Reg(4).into(), false, false);
    }

    /// MXCSR = what memory says.
    pub fn load_mxcsr(&mut self, from: Mem) {
        self.encode(None, false, &[0x0f, 0xae], 2, from.into(), false, false);
    }

    /// Writes MXCSR to memory.
    pub fn store_mxcsr(&mut self, to: Mem) {
        self.encode(None, false, &[0x0f, 0xae], 3, to.into(), false, false);
    }

    /// One byte behind an instruction.
    pub fn trailing(&mut self, byte: u8) {
        self.byte(byte);
    }
}

/// The second operand of an SSE instruction.
pub struct XmmRm(Rm);

impl From<Xmm> for XmmRm {
    fn from(xmm: Xmm) -> Self {
        XmmRm(Rm::Reg(Reg(xmm.0)))
    }
}

impl From<Reg> for XmmRm {
    fn from(reg: Reg) -> Self {
        XmmRm(Rm::Reg(reg))
    }
}

impl From<Mem> for XmmRm {
    fn from(mem: Mem) -> Self {
        XmmRm(Rm::Mem(mem))
    }
}

//! The language of the instruction table in [`super::insns`]: what one line of it says, and its parser.
//!
//! A line is `name operand... hi..lo=value... [end]`: the operands in assembly order, the fixed bits of the
//! encoding, and `end` if the instruction ends a block. It is parsed while the crate is compiled.

/// An operand: which bits it is in and how assembly writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Integer register written, bits 11..7.
    Rd,
    /// Integer register read, bits 19..15.
    Rs1,
    /// Integer register read, bits 24..20.
    Rs2,
    /// Floating-point register written, bits 11..7.
    Fd,
    /// Floating-point register read, bits 19..15.
    Fs1,
    /// Floating-point register read, bits 24..20.
    Fs2,
    /// Floating-point register read, bits 31..27.
    Fs3,
    /// Rounding mode, bits 14..12.
    Rm,
    /// Signed immediate of the I format.
    Imm12,
    /// Upper immediate of the U format; assembly writes it shifted right by 12.
    Imm20,
    /// Displacement of the B format.
    Bimm12,
    /// Displacement of the J format.
    Jimm20,
    /// Address: register of bits 19..15 plus immediate of the I format.
    MemLoad,
    /// Address: register of bits 19..15 plus immediate of the S format.
    MemStore,
    /// Address: register of bits 19..15.
    MemAtomic,
    /// Ordering of an atomic access, bits 26 and 25; a suffix of the name in assembly.
    AqRl,
    /// Shift amount of a 64-bit operation, bits 25..20.
    Shamt6,
    /// Shift amount of a 32-bit operation, bits 24..20.
    Shamt5,
    /// Number of a control and status register, bits 31..20.
    Csr,
    /// Unsigned immediate in bits 19..15.
    Zimm5,
    /// Predecessor and successor set of a fence, bits 27..24 and 23..20.
    Fence,
    /// Index of a floating-point constant, bits 19..15.
    Constant,
}

/// How the table spells each operand.
const SPELLING: &[(&str, Operand)] = &[
    ("rd", Operand::Rd),
    ("rs1", Operand::Rs1),
    ("rs2", Operand::Rs2),
    ("fd", Operand::Fd),
    ("fs1", Operand::Fs1),
    ("fs2", Operand::Fs2),
    ("fs3", Operand::Fs3),
    ("rm", Operand::Rm),
    ("imm12", Operand::Imm12),
    ("imm20", Operand::Imm20),
    ("bimm12", Operand::Bimm12),
    ("jimm20", Operand::Jimm20),
    ("imm12(rs1)", Operand::MemLoad),
    ("simm12(rs1)", Operand::MemStore),
    ("(rs1)", Operand::MemAtomic),
    ("aqrl", Operand::AqRl),
    ("shamt6", Operand::Shamt6),
    ("shamt5", Operand::Shamt5),
    ("csr", Operand::Csr),
    ("zimm5", Operand::Zimm5),
    ("fence", Operand::Fence),
    ("constant", Operand::Constant),
];

/// Most operands a line has.
const OPERANDS: usize = 5;

/// One line of the table, parsed.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in assembly.
    pub name: &'static str,
    /// Bits that are fixed.
    pub mask: u32,
    /// Values of the fixed bits.
    pub bits: u32,
    /// It ends a block.
    pub ends_block: bool,
    operands: [Operand; OPERANDS],
    operand_count: u8,
}

impl Row {
    /// The operands in assembly order.
    #[inline]
    pub fn operands(&self) -> &[Operand] {
        &self.operands[..self.operand_count as usize]
    }

    /// Major opcode: bits 6..2 of the encoding (Unpriv. table "RISC-V base opcode map").
    pub const fn major(&self) -> u32 {
        self.bits >> 2 & 31
    }

    /// Parses a line of the table.
    ///
    /// # Panics
    /// If the line is malformed; as it is parsed at compile time, that is a compile error.
    pub const fn parse(line: &'static str) -> Row {
        let (name, mut rest) = word(line);
        let mut row = Row {
            name,
            mask: 0,
            bits: 0,
            ends_block: false,
            operands: [Operand::Rd; OPERANDS],
            operand_count: 0,
        };
        while !rest.is_empty() {
            let (token, after) = word(rest);
            rest = after;
            if token.as_bytes()[0].is_ascii_digit() {
                let (mask, bits) = fixed_bits(token.as_bytes());
                assert!(row.mask & mask == 0, "bits are fixed twice");
                row.mask |= mask;
                row.bits |= bits;
            } else if equal(token, "end") {
                row.ends_block = true;
            } else {
                row.operands[row.operand_count as usize] = operand(token);
                row.operand_count += 1;
            }
        }
        row
    }
}

/// Splits off the first word of `text`, which does not start with a space.
const fn word(text: &'static str) -> (&'static str, &'static str) {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() && bytes[end] != b' ' {
        end += 1;
    }
    let mut next = end;
    while next < bytes.len() && bytes[next] == b' ' {
        next += 1;
    }
    (text.split_at(end).0, text.split_at(next).1)
}

/// Mask and value of `hi..lo=value` or `bit=value`.
const fn fixed_bits(token: &[u8]) -> (u32, u32) {
    let (high, mut at) = number(token, 0);
    let mut low = high;
    if token[at] == b'.' {
        (low, at) = number(token, at + 2);
    }
    assert!(token[at] == b'=' && high >= low && high < 32, "malformed bit range");
    let (value, end) = number(token, at + 1);
    assert!(end == token.len(), "trailing characters after a bit value");
    let ones = ((1u64 << (high - low + 1)) - 1) as u32;
    assert!(value & !ones == 0, "a value does not fit its bits");
    (ones << low, value << low)
}

/// The decimal or `0x` hexadecimal number at `at`, and where it ends.
const fn number(text: &[u8], mut at: usize) -> (u32, usize) {
    let mut base = 10;
    if at + 1 < text.len() && text[at] == b'0' && text[at + 1] == b'x' {
        base = 16;
        at += 2;
    }
    let start = at;
    let mut value = 0;
    while at < text.len() {
        let digit = match text[at] {
            c @ b'0'..=b'9' => c - b'0',
            c @ b'a'..=b'f' if base == 16 => c - b'a' + 10,
            _ => break,
        };
        value = value * base + digit as u32;
        at += 1;
    }
    assert!(at > start, "a number is missing");
    (value, at)
}

const fn operand(token: &str) -> Operand {
    let mut i = 0;
    while i < SPELLING.len() {
        if equal(token, SPELLING[i].0) {
            return SPELLING[i].1;
        }
        i += 1;
    }
    panic!("unknown operand");
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

//! Bytes to [`Insn`]: the lookup in the table and the extraction of operands.

use super::compressed;
use super::float_env::FIRST_OTHER_MODE;
use super::insns::{Op, ROWS, TABLE};
use super::regs::{self, FpState, Privilege};
use super::table::Operand;
use c2w_engine::emit::Slot;
use c2w_engine::guest::{Decoded, Mode};

/// Rounding mode field: use `frm` (Unpriv. 20.2).
pub const DYNAMIC_ROUNDING: u8 = 7;

/// Bit of [`Insn::imm`] behind the rounding mode: [`Insn::rounds_as_usual`].
const AS_USUAL: i32 = 1 << 3;

/// A decoded instruction. Registers are given as vCPU slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// What it does.
    pub op: Op,
    /// Slot written; [`regs::SINK`] for x0.
    pub rd: Slot,
    /// First slot read; slot 0 for x0.
    pub rs1: Slot,
    /// Second slot read.
    pub rs2: Slot,
    /// Third slot read.
    pub rs3: Slot,
    /// Rounding mode, or the ordering bits of an atomic (bit 1 acquire, bit 0 release).
    pub aux: u8,
    /// It is the first floating-point instruction since `mstatus.FS` was set to clean, and makes it dirty.
    pub dirties_fp: bool,
    /// Immediate as the meaning uses it; for floating-point instructions that round, how ([`Insn::rounding`]); number of the register for CSR instructions (bits 11..0, with the 5-bit
    /// immediate above them in bits 16..12).
    pub imm: i32,
    /// The bits of the encoding; 16 for a compressed one.
    pub raw: u32,
}

impl Insn {
    /// An instruction without operands.
    pub const fn new(op: Op, raw: u32) -> Self {
        Self {
            op,
            rd: regs::SINK,
            rs1: Slot(0),
            rs2: Slot(0),
            rs3: Slot(0),
            aux: 0,
            dirties_fp: false,
            imm: 0,
            raw,
        }
    }

    /// The mode that a floating-point instruction rounds in.
    #[inline(always)]
    pub const fn rounding(&self) -> u64 {
        self.imm as u64 & 7
    }

    /// Whether that is the dynamic mode, and one that the engine computes in.
    #[inline(always)]
    pub const fn rounds_as_usual(&self) -> bool {
        self.imm & AS_USUAL != 0
    }

    /// Length of the encoding in bytes, 2 or 4.
    #[inline(always)]
    pub const fn len_bytes(&self) -> u8 {
        if self.raw & 3 == 3 { 4 } else { 2 }
    }
}

/// Slot that a write to integer register `number` goes to.
#[inline]
pub(super) const fn x_written(number: u32) -> Slot {
    if number == 0 { regs::SINK } else { regs::x(number as u8) }
}

/// Number of the integer register that lives in, or is discarded by, `slot`.
pub const fn x_number(slot: Slot) -> u8 {
    slot.0 & 31
}

/// The lookup: for each major opcode and funct3, a range of [`CANDIDATES`].
struct Bucket {
    start: u16,
    len: u8,
}

const BUCKETS: usize = 256;
const CANDIDATE_COUNT: usize = count_candidates();
static INDEX: ([Bucket; BUCKETS], [u16; CANDIDATE_COUNT]) = build_index();

/// Whether line `row` can match an instruction of this bucket: its major opcode and funct3.
const fn fits(row: usize, bucket: usize) -> bool {
    let row = &TABLE[row];
    let bits = (bucket as u32 & 31) << 2 | (bucket as u32 >> 5) << 12;
    (bits ^ row.bits) & row.mask & 0x707c == 0
}

const fn count_candidates() -> usize {
    let (mut count, mut bucket) = (0, 0);
    while bucket < BUCKETS {
        let mut row = 0;
        while row < TABLE.len() {
            count += fits(row, bucket) as usize;
            row += 1;
        }
        bucket += 1;
    }
    count
}

const fn build_index() -> ([Bucket; BUCKETS], [u16; CANDIDATE_COUNT]) {
    let mut buckets = [const { Bucket { start: 0, len: 0 } }; BUCKETS];
    let mut candidates = [0; CANDIDATE_COUNT];
    let (mut next, mut bucket) = (0, 0);
    while bucket < BUCKETS {
        let start = next;
        let mut row = 0;
        while row < TABLE.len() {
            if fits(row, bucket) {
                candidates[next] = row as u16;
                next += 1;
            }
            row += 1;
        }
        buckets[bucket] = Bucket { start: start as u16, len: (next - start) as u8 };
        bucket += 1;
    }
    (buckets, candidates)
}

/// The instruction of a 32-bit encoding.
fn lookup(raw: u32) -> Op {
    let bucket = &INDEX.0[(raw >> 2 & 31 | (raw >> 12 & 7) << 5) as usize];
    let range = bucket.start as usize..bucket.start as usize + bucket.len as usize;
    let found = INDEX.1[range].iter().find(|&&row| {
        let row = &ROWS[row as usize];
        raw & row.mask == row.bits
    });
    found.map_or(Op::Illegal, |&row| Op::ALL[row as usize])
}

/// Decodes the instruction at the start of `bytes`. Undefined encodings decode to [`Op::Illegal`]; `None` means that
/// the instruction continues past the end of `bytes`.
pub fn decode(bytes: &[u8], mode: Mode) -> Option<Decoded<Insn>> {
    let insn = match *bytes {
        [a, b, ..] if a & 3 != 3 => compressed::decode(u16::from_le_bytes([a, b])),
        [a, b, c, d, ..] => decode_word(u32::from_le_bytes([a, b, c, d])),
        _ => return None,
    };
    let insn = in_mode(insn, mode);
    let ends_block = insn.op == Op::Illegal || ROWS[insn.op as usize].ends_block || insn.dirties_fp;
    Some(Decoded { insn, len_bytes: insn.len_bytes(), ends_block })
}

/// Decodes a 32-bit encoding, in a mode where everything is allowed.
pub(super) fn decode_word(raw: u32) -> Insn {
    let op = lookup(raw);
    if op == Op::Illegal {
        return Insn::new(op, raw);
    }
    let mut insn = Insn::new(op, raw);
    for &operand in ROWS[op as usize].operands() {
        extract(&mut insn, operand);
    }
    // Modes 5 and 6 are reserved (Unpriv. 20.2).
    let reserved_rounding = matches!(insn.aux, 5 | 6) && rounds(op);
    if reserved_rounding { Insn::new(Op::Illegal, raw) } else { insn }
}

/// What an instruction is under a mode.
fn in_mode(mut insn: Insn, mode: Mode) -> Insn {
    if insn.op == Op::Ecall {
        // The cause is 8 plus the privilege (Priv. 3.1.15).
        insn.imm = 8 + regs::mode_privilege(mode) as i32;
    }
    if insn.op == Op::Mret && regs::mode_privilege(mode) != Privilege::Machine {
        return Insn::new(Op::Illegal, insn.raw);
    }
    if insn.op != Op::Illegal && is_floating_point(insn.op) {
        match regs::mode_fp(mode) {
            FpState::Off => return Insn::new(Op::Illegal, insn.raw),
            FpState::Clean => insn.dirties_fp = ROWS[insn.op as usize].major() != STORE_FP,
            FpState::Dirty => {}
        }
        if rounds(insn.op) {
            let dynamic = regs::mode_rounding(mode);
            let rounding = if insn.aux == DYNAMIC_ROUNDING { dynamic } else { insn.aux };
            if rounding > FIRST_OTHER_MODE {
                // A dynamic mode that is reserved (Unpriv. 20.2).
                return Insn::new(Op::Illegal, insn.raw);
            }
            let as_usual = rounding == dynamic && rounding < FIRST_OTHER_MODE;
            insn.imm = i32::from(rounding) | if as_usual { AS_USUAL } else { 0 };
        }
    }
    insn
}

const STORE_FP: u32 = 0x09;

/// Whether the instruction needs the floating-point unit: LOAD-FP, STORE-FP, the fused ones and OP-FP.
fn is_floating_point(op: Op) -> bool {
    matches!(ROWS[op as usize].major(), 0x01 | STORE_FP | 0x10..=0x14)
}

/// Whether the instruction has a rounding mode.
fn rounds(op: Op) -> bool {
    ROWS[op as usize].operands().contains(&Operand::Rm)
}

/// Bits `low..low + len` of `raw`.
#[inline]
pub(super) const fn field(raw: u32, low: u32, len: u32) -> u32 {
    raw >> low & ((1 << len) - 1)
}

/// The low `len` bits of `value`, sign-extended.
#[inline]
pub(super) const fn signed(value: u32, len: u32) -> i32 {
    ((value << (32 - len)) as i32) >> (32 - len)
}

fn extract(insn: &mut Insn, operand: Operand) {
    let raw = insn.raw;
    let x = |low| regs::x(field(raw, low, 5) as u8);
    let f = |low| regs::f(field(raw, low, 5) as u8);
    let imm_i = raw as i32 >> 20;
    match operand {
        Operand::Rd => insn.rd = x_written(field(raw, 7, 5)),
        Operand::Rs1 | Operand::MemAtomic => insn.rs1 = x(15),
        Operand::Rs2 => insn.rs2 = x(20),
        Operand::Fd => insn.rd = f(7),
        Operand::Fs1 => insn.rs1 = f(15),
        Operand::Fs2 => insn.rs2 = f(20),
        Operand::Fs3 => insn.rs3 = f(27),
        Operand::Rm => insn.aux = field(raw, 12, 3) as u8,
        Operand::AqRl => insn.aux = field(raw, 25, 2) as u8,
        Operand::Imm12 => insn.imm = imm_i,
        Operand::Imm20 => insn.imm = (raw & 0xffff_f000) as i32,
        Operand::MemLoad => (insn.rs1, insn.imm) = (x(15), imm_i),
        Operand::MemStore => {
            (insn.rs1, insn.imm) = (x(15), signed(field(raw, 25, 7) << 5 | field(raw, 7, 5), 12));
        }
        Operand::Bimm12 => {
            let high = field(raw, 31, 1) << 12 | field(raw, 7, 1) << 11;
            insn.imm = signed(high | field(raw, 25, 6) << 5 | field(raw, 8, 4) << 1, 13);
        }
        Operand::Jimm20 => {
            let high = field(raw, 31, 1) << 20 | field(raw, 12, 8) << 12 | field(raw, 20, 1) << 11;
            insn.imm = signed(high | field(raw, 21, 10) << 1, 21);
        }
        Operand::Shamt6 => insn.imm = field(raw, 20, 6) as i32,
        Operand::Shamt5 => insn.imm = field(raw, 20, 5) as i32,
        Operand::Csr => insn.imm |= field(raw, 20, 12) as i32,
        Operand::Zimm5 => insn.imm |= (field(raw, 15, 5) << 12) as i32,
        Operand::Fence => insn.imm = field(raw, 20, 8) as i32,
        Operand::Constant => insn.imm = field(raw, 15, 5) as i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_in(raw: u32, privilege: Privilege, fp: FpState) -> Decoded<Insn> {
        decode(&raw.to_le_bytes(), regs::mode(privilege, fp, 0)).unwrap()
    }

    #[test]
    fn every_encoding_decodes_to_something_printable() {
        for half in 0..=u16::MAX {
            let decoded = decode_in(u32::from(half), Privilege::Machine, FpState::Dirty);
            assert_eq!(decoded.len_bytes, if half & 3 == 3 { 4 } else { 2 });
            assert!(!decoded.insn.to_string().is_empty());
        }
        // Every major opcode and funct3 under every funct7 and a few registers.
        for upper in 0..1 << 15 {
            let raw = (upper & 0xff) << 2 | 3 | (upper >> 8 & 127) << 25 | (upper & 0xf00) << 12;
            let decoded = decode_in(raw, Privilege::User, FpState::Dirty);
            assert!(!decoded.insn.to_string().is_empty());
        }
    }

    #[test]
    fn incomplete_instructions_are_told_apart() {
        let mode = regs::mode(Privilege::User, FpState::Off, 0);
        for bytes in [&[][..], &[0x01], &[0x13], &[0x13, 0], &[0x13, 0, 0]] {
            assert!(decode(bytes, mode).is_none(), "{bytes:?}");
        }
        assert!(decode(&[0x01, 0], mode).is_some());
    }

    #[test]
    fn the_mode_decides() {
        let fadd = 0x02c5_f553;
        let fsd = 0x00a5_3027;
        assert_eq!(decode_in(fadd, Privilege::User, FpState::Off).insn.op, Op::Illegal);
        let clean = decode_in(fadd, Privilege::User, FpState::Clean);
        assert!(clean.insn.dirties_fp && clean.ends_block);
        assert!(!decode_in(fsd, Privilege::User, FpState::Clean).insn.dirties_fp);
        assert!(!decode_in(fadd, Privilege::User, FpState::Dirty).ends_block);
        assert_eq!(decode_in(0x73, Privilege::Supervisor, FpState::Off).insn.imm, 9);
        assert_eq!(decode_in(0x3020_0073, Privilege::Supervisor, FpState::Off).insn.op, Op::Illegal);
        assert_eq!(core::mem::size_of::<Insn>(), 16);
        // FADD.D with each rounding mode under each `frm`.
        for (field, frm) in (0..8).flat_map(|field| (0..8).map(move |frm| (field, frm))) {
            let raw = fadd & !0x7000 | u32::from(field) << 12;
            let mode = regs::mode(Privilege::User, FpState::Dirty, frm);
            let insn = decode(&raw.to_le_bytes(), mode).unwrap().insn;
            let rounding = if field == DYNAMIC_ROUNDING { frm } else { field };
            if rounding > 4 {
                assert_eq!(insn.op, Op::Illegal, "{field} under {frm}");
            } else {
                assert_eq!(insn.rounding(), u64::from(rounding), "{field} under {frm}");
                assert_eq!(insn.rounds_as_usual(), rounding == frm && frm < 4, "{field} under {frm}");
            }
        }
    }
}

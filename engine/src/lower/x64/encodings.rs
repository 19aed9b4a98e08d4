//! How the processor says the operations on vectors: the legacy SSE encoding of each (SDM 2, opcode tables), and what it has
//! to have for that.

use super::Features;
use crate::ir::vector::{VectorExtract, VectorInsert, VectorOp};

/// What operands an instruction has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The destination, which is the first operand, and a register or memory.
    Two,
    /// The destination, which is the first operand, and a register.
    TwoRegisters,
    /// The destination and a register or memory, which is the only operand.
    One,
    /// The destination, which is the only operand besides the immediate; this is part of the opcode.
    Shift(u8),
    /// As `Two`, and a third operand in XMM0.
    Implicit,
}

/// What a processor may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Sse2,
    Sse3,
    Ssse3,
    Sse41,
    Sse42,
    Aes,
    Pclmul,
    Sha,
}

/// The encoding of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    pub prefix: Option<u8>,
    pub opcode: &'static [u8],
    pub form: Form,
    /// What of the immediate is part of the encoding, if it has one.
    pub imm: Option<u8>,
    pub needs: Needs,
}

impl Features {
    /// Whether this machine has what an encoding needs.
    pub(super) fn have(&self, needs: Needs) -> bool {
        match needs {
            Needs::Sse2 => true,
            Needs::Sse3 => self.sse3,
            Needs::Ssse3 => self.ssse3,
            Needs::Sse41 => self.sse41,
            Needs::Sse42 => self.sse42,
            Needs::Aes => self.aes,
            Needs::Pclmul => self.pclmul,
            Needs::Sha => self.sha,
        }
    }
}

const OPERAND_SIZE: Option<u8> = Some(0x66);
const REPE: Option<u8> = Some(0xf3);
const REPNE: Option<u8> = Some(0xf2);

/// One byte of opcode behind 0F, another prefix, or two.
macro_rules! encoding {
    ($prefix:expr, $($byte:literal)+, $form:expr, $imm:expr, $needs:ident) => {
        Encoding {
            prefix: $prefix,
            opcode: &[0x0f, $($byte),+],
            form: $form,
            imm: $imm,
            needs: Needs::$needs,
        }
    };
}

/// The encoding of an operation.
pub(super) fn encoding(op: VectorOp) -> Encoding {
    use Form::{Implicit, One, Shift, Two, TwoRegisters};
    use VectorOp as Op;
    // Integer operations of SSE2.
    macro_rules! integer {
        ($byte:literal) => {
            encoding!(OPERAND_SIZE, $byte, Two, None, Sse2)
        };
    }
    // Operations behind 0F 38.
    macro_rules! of_38 {
        ($byte:literal, $form:expr, $needs:ident) => {
            encoding!(OPERAND_SIZE, 0x38 $byte, $form, None, $needs)
        };
    }
    // Operations behind 0F 3A.
    macro_rules! of_3a {
        ($byte:literal, $form:expr, $imm:literal, $needs:ident) => {
            encoding!(OPERAND_SIZE, 0x3a $byte, $form, Some($imm), $needs)
        };
    }
    macro_rules! shift {
        ($byte:literal, $number:literal) => {
            encoding!(OPERAND_SIZE, $byte, Shift($number), Some(0xff), Sse2)
        };
    }
    // Operations on numbers.
    macro_rules! float {
        ($prefix:expr, $byte:literal, $form:expr) => {
            encoding!($prefix, $byte, $form, None, Sse2)
        };
    }
    macro_rules! sha {
        ($byte:literal, $form:expr) => {
            encoding!(None, 0x38 $byte, $form, None, Sha)
        };
    }
    match op {
        Op::Copy => encoding!(None, 0x28, One, None, Sse2),
        Op::Movq => encoding!(REPE, 0x7e, One, None, Sse2),
        Op::Movss => encoding!(REPE, 0x10, TwoRegisters, None, Sse2),
        Op::Movsd => encoding!(REPNE, 0x10, TwoRegisters, None, Sse2),
        Op::Movhlps => encoding!(None, 0x12, TwoRegisters, None, Sse2),
        Op::Movddup => encoding!(REPNE, 0x12, One, None, Sse3),
        Op::Movshdup => encoding!(REPE, 0x16, One, None, Sse3),
        Op::Movsldup => encoding!(REPE, 0x12, One, None, Sse3),
        Op::And => integer!(0xdb),
        Op::Andn => integer!(0xdf),
        Op::Or => integer!(0xeb),
        Op::Xor => integer!(0xef),
        Op::Paddb => integer!(0xfc),
        Op::Paddw => integer!(0xfd),
        Op::Paddd => integer!(0xfe),
        Op::Paddq => integer!(0xd4),
        Op::Psubb => integer!(0xf8),
        Op::Psubw => integer!(0xf9),
        Op::Psubd => integer!(0xfa),
        Op::Psubq => integer!(0xfb),
        Op::Pcmpeqb => integer!(0x74),
        Op::Pcmpeqw => integer!(0x75),
        Op::Pcmpeqd => integer!(0x76),
        Op::Pcmpeqq => of_38!(0x29, Two, Sse41),
        Op::Paddsb => integer!(0xec),
        Op::Paddsw => integer!(0xed),
        Op::Paddusb => integer!(0xdc),
        Op::Paddusw => integer!(0xdd),
        Op::Psubsb => integer!(0xe8),
        Op::Psubsw => integer!(0xe9),
        Op::Psubusb => integer!(0xd8),
        Op::Psubusw => integer!(0xd9),
        Op::Pmullw => integer!(0xd5),
        Op::Pmulhw => integer!(0xe5),
        Op::Pmulhuw => integer!(0xe4),
        Op::Pmulhrsw => of_38!(0x0b, Two, Ssse3),
        Op::Pmaddwd => integer!(0xf5),
        Op::Pmaddubsw => of_38!(0x04, Two, Ssse3),
        Op::Pmuludq => integer!(0xf4),
        Op::Pmuldq => of_38!(0x28, Two, Sse41),
        Op::Pmulld => of_38!(0x40, Two, Sse41),
        Op::Pcmpgtb => integer!(0x64),
        Op::Pcmpgtw => integer!(0x65),
        Op::Pcmpgtd => integer!(0x66),
        Op::Pcmpgtq => of_38!(0x37, Two, Sse42),
        Op::Pminsb => of_38!(0x38, Two, Sse41),
        Op::Pminsw => integer!(0xea),
        Op::Pminsd => of_38!(0x39, Two, Sse41),
        Op::Pminub => integer!(0xda),
        Op::Pminuw => of_38!(0x3a, Two, Sse41),
        Op::Pminud => of_38!(0x3b, Two, Sse41),
        Op::Pmaxsb => of_38!(0x3c, Two, Sse41),
        Op::Pmaxsw => integer!(0xee),
        Op::Pmaxsd => of_38!(0x3d, Two, Sse41),
        Op::Pmaxub => integer!(0xde),
        Op::Pmaxuw => of_38!(0x3e, Two, Sse41),
        Op::Pmaxud => of_38!(0x3f, Two, Sse41),
        Op::Pavgb => integer!(0xe0),
        Op::Pavgw => integer!(0xe3),
        Op::Psadbw => integer!(0xf6),
        Op::Pabsb => of_38!(0x1c, One, Ssse3),
        Op::Pabsw => of_38!(0x1d, One, Ssse3),
        Op::Pabsd => of_38!(0x1e, One, Ssse3),
        Op::Psignb => of_38!(0x08, Two, Ssse3),
        Op::Psignw => of_38!(0x09, Two, Ssse3),
        Op::Psignd => of_38!(0x0a, Two, Ssse3),
        Op::Packsswb => integer!(0x63),
        Op::Packuswb => integer!(0x67),
        Op::Packssdw => integer!(0x6b),
        Op::Packusdw => of_38!(0x2b, Two, Sse41),
        Op::Phaddw => of_38!(0x01, Two, Ssse3),
        Op::Phaddd => of_38!(0x02, Two, Ssse3),
        Op::Phaddsw => of_38!(0x03, Two, Ssse3),
        Op::Phsubw => of_38!(0x05, Two, Ssse3),
        Op::Phsubd => of_38!(0x06, Two, Ssse3),
        Op::Phsubsw => of_38!(0x07, Two, Ssse3),
        Op::Psllw => integer!(0xf1),
        Op::Pslld => integer!(0xf2),
        Op::Psllq => integer!(0xf3),
        Op::Psrlw => integer!(0xd1),
        Op::Psrld => integer!(0xd2),
        Op::Psrlq => integer!(0xd3),
        Op::Psraw => integer!(0xe1),
        Op::Psrad => integer!(0xe2),
        Op::PsllwBy => shift!(0x71, 6),
        Op::PslldBy => shift!(0x72, 6),
        Op::PsllqBy => shift!(0x73, 6),
        Op::PsrlwBy => shift!(0x71, 2),
        Op::PsrldBy => shift!(0x72, 2),
        Op::PsrlqBy => shift!(0x73, 2),
        Op::PsrawBy => shift!(0x71, 4),
        Op::PsradBy => shift!(0x72, 4),
        Op::Pslldq => shift!(0x73, 7),
        Op::Psrldq => shift!(0x73, 3),
        Op::Pshufb => of_38!(0x00, Two, Ssse3),
        Op::Pshufd => encoding!(OPERAND_SIZE, 0x70, One, Some(0xff), Sse2),
        Op::Pshuflw => encoding!(REPNE, 0x70, One, Some(0xff), Sse2),
        Op::Pshufhw => encoding!(REPE, 0x70, One, Some(0xff), Sse2),
        Op::Shufps => encoding!(None, 0xc6, Two, Some(0xff), Sse2),
        Op::Shufpd => encoding!(OPERAND_SIZE, 0xc6, Two, Some(0x03), Sse2),
        Op::Palignr => of_3a!(0x0f, Two, 0xff, Ssse3),
        Op::Punpcklbw => integer!(0x60),
        Op::Punpcklwd => integer!(0x61),
        Op::Punpckldq => integer!(0x62),
        Op::Punpcklqdq => integer!(0x6c),
        Op::Punpckhbw => integer!(0x68),
        Op::Punpckhwd => integer!(0x69),
        Op::Punpckhdq => integer!(0x6a),
        Op::Punpckhqdq => integer!(0x6d),
        Op::Blendps => of_3a!(0x0c, Two, 0x0f, Sse41),
        Op::Blendpd => of_3a!(0x0d, Two, 0x03, Sse41),
        Op::Pblendw => of_3a!(0x0e, Two, 0xff, Sse41),
        Op::Pblendvb => of_38!(0x10, Implicit, Sse41),
        Op::Blendvps => of_38!(0x14, Implicit, Sse41),
        Op::Blendvpd => of_38!(0x15, Implicit, Sse41),
        Op::Insertps => encoding!(OPERAND_SIZE, 0x3a 0x21, TwoRegisters, Some(0xff), Sse41),
        Op::Pmovsxbw => of_38!(0x20, One, Sse41),
        Op::Pmovsxbd => of_38!(0x21, One, Sse41),
        Op::Pmovsxbq => of_38!(0x22, One, Sse41),
        Op::Pmovsxwd => of_38!(0x23, One, Sse41),
        Op::Pmovsxwq => of_38!(0x24, One, Sse41),
        Op::Pmovsxdq => of_38!(0x25, One, Sse41),
        Op::Pmovzxbw => of_38!(0x30, One, Sse41),
        Op::Pmovzxbd => of_38!(0x31, One, Sse41),
        Op::Pmovzxbq => of_38!(0x32, One, Sse41),
        Op::Pmovzxwd => of_38!(0x33, One, Sse41),
        Op::Pmovzxwq => of_38!(0x34, One, Sse41),
        Op::Pmovzxdq => of_38!(0x35, One, Sse41),
        Op::Phminposuw => of_38!(0x41, One, Sse41),
        Op::Mpsadbw => of_3a!(0x42, Two, 0x07, Sse41),
        Op::Pclmulqdq => of_3a!(0x44, Two, 0x11, Pclmul),
        Op::Aesenc => of_38!(0xdc, Two, Aes),
        Op::Aesenclast => of_38!(0xdd, Two, Aes),
        Op::Aesdec => of_38!(0xde, Two, Aes),
        Op::Aesdeclast => of_38!(0xdf, Two, Aes),
        Op::Aesimc => of_38!(0xdb, One, Aes),
        Op::Aeskeygenassist => of_3a!(0xdf, One, 0xff, Aes),
        Op::Sha1rnds4 => encoding!(None, 0x3a 0xcc, Two, Some(0x03), Sha),
        Op::Sha1nexte => sha!(0xc8, Two),
        Op::Sha1msg1 => sha!(0xc9, Two),
        Op::Sha1msg2 => sha!(0xca, Two),
        Op::Sha256rnds2 => sha!(0xcb, Implicit),
        Op::Sha256msg1 => sha!(0xcc, Two),
        Op::Sha256msg2 => sha!(0xcd, Two),
        Op::Addps => float!(None, 0x58, Two),
        Op::Addpd => float!(OPERAND_SIZE, 0x58, Two),
        Op::Addss | Op::FaddS => float!(REPE, 0x58, Two),
        Op::Addsd | Op::FaddD => float!(REPNE, 0x58, Two),
        Op::Subps => float!(None, 0x5c, Two),
        Op::Subpd => float!(OPERAND_SIZE, 0x5c, Two),
        Op::Subss | Op::FsubS => float!(REPE, 0x5c, Two),
        Op::Subsd | Op::FsubD => float!(REPNE, 0x5c, Two),
        Op::Mulps => float!(None, 0x59, Two),
        Op::Mulpd => float!(OPERAND_SIZE, 0x59, Two),
        Op::Mulss | Op::FmulS => float!(REPE, 0x59, Two),
        Op::Mulsd | Op::FmulD => float!(REPNE, 0x59, Two),
        Op::Divps => float!(None, 0x5e, Two),
        Op::Divpd => float!(OPERAND_SIZE, 0x5e, Two),
        Op::Divss | Op::FdivS => float!(REPE, 0x5e, Two),
        Op::Divsd | Op::FdivD => float!(REPNE, 0x5e, Two),
        Op::Sqrtps => float!(None, 0x51, One),
        Op::Sqrtpd => float!(OPERAND_SIZE, 0x51, One),
        Op::Sqrtss | Op::FsqrtS => float!(REPE, 0x51, Two),
        Op::Sqrtsd | Op::FsqrtD => float!(REPNE, 0x51, Two),
        Op::Minps => float!(None, 0x5d, Two),
        Op::Minpd => float!(OPERAND_SIZE, 0x5d, Two),
        Op::Minss | Op::FminS => float!(REPE, 0x5d, Two),
        Op::Minsd | Op::FminD => float!(REPNE, 0x5d, Two),
        Op::Maxps => float!(None, 0x5f, Two),
        Op::Maxpd => float!(OPERAND_SIZE, 0x5f, Two),
        Op::Maxss | Op::FmaxS => float!(REPE, 0x5f, Two),
        Op::Maxsd | Op::FmaxD => float!(REPNE, 0x5f, Two),
        Op::Addsubps => encoding!(REPNE, 0xd0, Two, None, Sse3),
        Op::Addsubpd => encoding!(OPERAND_SIZE, 0xd0, Two, None, Sse3),
        Op::Haddps => encoding!(REPNE, 0x7c, Two, None, Sse3),
        Op::Haddpd => encoding!(OPERAND_SIZE, 0x7c, Two, None, Sse3),
        Op::Hsubps => encoding!(REPNE, 0x7d, Two, None, Sse3),
        Op::Hsubpd => encoding!(OPERAND_SIZE, 0x7d, Two, None, Sse3),
        Op::Roundps => of_3a!(0x08, One, 0x0f, Sse41),
        Op::Roundpd => of_3a!(0x09, One, 0x0f, Sse41),
        Op::Roundss => of_3a!(0x0a, Two, 0x0f, Sse41),
        Op::Roundsd => of_3a!(0x0b, Two, 0x0f, Sse41),
        Op::Cmpps => encoding!(None, 0xc2, Two, Some(7), Sse2),
        Op::Cmppd => encoding!(OPERAND_SIZE, 0xc2, Two, Some(7), Sse2),
        Op::Cmpss => encoding!(REPE, 0xc2, Two, Some(7), Sse2),
        Op::Cmpsd => encoding!(REPNE, 0xc2, Two, Some(7), Sse2),
        Op::Cvtdq2ps => float!(None, 0x5b, One),
        Op::Cvtdq2pd => float!(REPE, 0xe6, One),
        Op::Cvtps2dq => float!(OPERAND_SIZE, 0x5b, One),
        Op::Cvttps2dq => float!(REPE, 0x5b, One),
        Op::Cvtpd2dq => float!(REPNE, 0xe6, One),
        Op::Cvttpd2dq => float!(OPERAND_SIZE, 0xe6, One),
        Op::Cvtps2pd => float!(None, 0x5a, One),
        Op::Cvtpd2ps => float!(OPERAND_SIZE, 0x5a, One),
        Op::Cvtss2sd | Op::FcvtDS => float!(REPE, 0x5a, Two),
        Op::Cvtsd2ss | Op::FcvtSD => float!(REPNE, 0x5a, Two),
        op => unreachable!("{} is no single instruction", op.name()),
    }
}

/// The encoding of an operation that puts a number into a vector, and whether the number has 64 bits. In `Form::One` the
/// destination's old content does not count.
pub(super) fn insert_encoding(op: VectorInsert) -> (Encoding, bool) {
    use Form::{One, Two};
    use VectorInsert as Op;
    match op {
        Op::Movd => (encoding!(OPERAND_SIZE, 0x6e, One, None, Sse2), false),
        Op::Movq => (encoding!(OPERAND_SIZE, 0x6e, One, None, Sse2), true),
        Op::Pinsrb => (encoding!(OPERAND_SIZE, 0x3a 0x20, Two, Some(15), Sse41), false),
        Op::Pinsrw => (encoding!(OPERAND_SIZE, 0xc4, Two, Some(7), Sse2), false),
        Op::Pinsrd => (encoding!(OPERAND_SIZE, 0x3a 0x22, Two, Some(3), Sse41), false),
        Op::Pinsrq => (encoding!(OPERAND_SIZE, 0x3a 0x22, Two, Some(1), Sse41), true),
        Op::Cvtsi2ss => (encoding!(REPE, 0x2a, Two, None, Sse2), false),
        Op::Cvtsi2ssWide => (encoding!(REPE, 0x2a, Two, None, Sse2), true),
        Op::Cvtsi2sd => (encoding!(REPNE, 0x2a, Two, None, Sse2), false),
        Op::Cvtsi2sdWide => (encoding!(REPNE, 0x2a, Two, None, Sse2), true),
        op => unreachable!("{} is no single instruction", op.name()),
    }
}

/// How the result of an operation that is a number comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The instruction writes a general register, of 64 bits or not, from a register or memory.
    Number { wide: bool },
    /// The same, but from a register.
    OfRegister,
    /// It compares `a` with a register or memory and sets flags.
    Flags,
}

/// The encoding of an operation whose result is a number.
pub(super) fn extract_encoding(op: VectorExtract) -> (Encoding, Outcome) {
    use Form::Two;
    use VectorExtract as Op;
    const NARROW: Outcome = Outcome::Number { wide: false };
    const WIDE: Outcome = Outcome::Number { wide: true };
    match op {
        Op::Pmovmskb => (encoding!(OPERAND_SIZE, 0xd7, Two, None, Sse2), Outcome::OfRegister),
        Op::Movmskps => (encoding!(None, 0x50, Two, None, Sse2), Outcome::OfRegister),
        Op::Movmskpd => (encoding!(OPERAND_SIZE, 0x50, Two, None, Sse2), Outcome::OfRegister),
        Op::Ptest => (encoding!(OPERAND_SIZE, 0x38 0x17, Two, None, Sse41), Outcome::Flags),
        Op::Comiss => (encoding!(None, 0x2f, Two, None, Sse2), Outcome::Flags),
        Op::Comisd => (encoding!(OPERAND_SIZE, 0x2f, Two, None, Sse2), Outcome::Flags),
        Op::Ucomiss => (encoding!(None, 0x2e, Two, None, Sse2), Outcome::Flags),
        Op::Ucomisd => (encoding!(OPERAND_SIZE, 0x2e, Two, None, Sse2), Outcome::Flags),
        Op::Cvtss2si => (encoding!(REPE, 0x2d, Two, None, Sse2), NARROW),
        Op::Cvttss2si => (encoding!(REPE, 0x2c, Two, None, Sse2), NARROW),
        Op::Cvtsd2si => (encoding!(REPNE, 0x2d, Two, None, Sse2), NARROW),
        Op::Cvttsd2si => (encoding!(REPNE, 0x2c, Two, None, Sse2), NARROW),
        Op::Cvtss2siWide => (encoding!(REPE, 0x2d, Two, None, Sse2), WIDE),
        Op::Cvttss2siWide => (encoding!(REPE, 0x2c, Two, None, Sse2), WIDE),
        Op::Cvtsd2siWide => (encoding!(REPNE, 0x2d, Two, None, Sse2), WIDE),
        Op::Cvttsd2siWide => (encoding!(REPNE, 0x2c, Two, None, Sse2), WIDE),
        op => unreachable!("{} is no single instruction", op.name()),
    }
}

//! The instructions on MMX and vector registers by kind, each named like its mnemonic; several mnemonics may mean the
//! same.

use c2w_engine::emit::{VectorExtract, VectorOp as Compute};
use iced_x86::Mnemonic;

macro_rules! named_ops {
    ($(#[$doc:meta])* $name:ident { $($(#[$op_doc:meta])* $op:ident $(: $($mnemonic:ident)|*)?,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are those of the manual")]
        pub enum $name { $($(#[$op_doc])* $op,)* }

        impl $name {
            /// The operation of a mnemonic, if it is one of these.
            pub fn of(mnemonic: Mnemonic) -> Option<Self> {
                Some(match mnemonic {
                    $(named_ops!(@pattern $op $($($mnemonic)|*)?) => Self::$op,)*
                    _ => return None,
                })
            }
        }
    };
    (@pattern $op:ident) => { Mnemonic::$op };
    (@pattern $op:ident $($mnemonic:ident)|*) => { $(Mnemonic::$mnemonic)|* };
}

named_ops! {
    /// Moves.
    MoveOp {
        /// All of a vector; memory is aligned.
        Aligned: Movaps | Movapd | Movdqa | Movntps | Movntpd | Movntdq | Movntdqa,
        /// All of a vector.
        Unaligned: Movups | Movupd | Movdqu | Lddqu,
        /// 32 or 64 bits, zero-extended in registers; MOVNTQ.
        Low: Movd | Movq | Movntq,
        Movss,
        Movsd,
        /// The low half of a vector and memory.
        Movlps: Movlps | Movlpd,
        /// The high half of a vector and memory.
        Movhps: Movhps | Movhpd,
        Movhlps,
        Movlhps,
        Movq2dq,
        Movdq2q,
        /// Bytes that a mask selects.
        Maskmov: Maskmovq | Maskmovdqu,
    }
}

named_ops! {
    /// One lane from or to a general register or memory.
    ElementOp {
        Pinsrb,
        Pinsrw,
        Pinsrd,
        Pinsrq,
        Pextrb,
        Pextrw,
        Pextrd: Pextrd | Extractps,
        Pextrq,
    }
}

named_ops! {
    /// Comparisons of strings.
    StringOp {
        Pcmpestri: Pcmpestri | Pcmpestri64,
        Pcmpestrm: Pcmpestrm | Pcmpestrm64,
        Pcmpistri,
        Pcmpistrm,
    }
}

macro_rules! of_mnemonic {
    ($(#[$doc:meta])* $name:ident: $ops:ident { $($op:ident $(: $($mnemonic:ident)|*)?,)* }) => {
        $(#[$doc])*
        pub fn $name(mnemonic: Mnemonic) -> Option<$ops> {
            Some(match mnemonic {
                $(named_ops!(@pattern $op $($($mnemonic)|*)?) => $ops::$op,)*
                _ => return None,
            })
        }
    };
}

of_mnemonic! {
    /// The operation on two vectors, or on a vector and an immediate, that an instruction is; shifts by an immediate are
    /// others ([`by_immediate`]).
    compute: Compute {
        And: Pand | Andps | Andpd,
        Andn: Pandn | Andnps | Andnpd,
        Or: Por | Orps | Orpd,
        Xor: Pxor | Xorps | Xorpd,
        Paddb, Paddw, Paddd, Paddq, Psubb, Psubw, Psubd, Psubq,
        Pcmpeqb, Pcmpeqw, Pcmpeqd, Pcmpeqq,
        Paddsb, Paddsw, Paddusb, Paddusw, Psubsb, Psubsw, Psubusb, Psubusw,
        Pmullw, Pmulhw, Pmulhuw, Pmulhrsw, Pmaddwd, Pmaddubsw, Pmuludq, Pmuldq, Pmulld,
        Pcmpgtb, Pcmpgtw, Pcmpgtd, Pcmpgtq,
        Pminsb, Pminsw, Pminsd, Pminub, Pminuw, Pminud, Pmaxsb, Pmaxsw, Pmaxsd, Pmaxub, Pmaxuw, Pmaxud,
        Pavgb, Pavgw, Psadbw, Pabsb, Pabsw, Pabsd, Psignb, Psignw, Psignd,
        Packsswb, Packuswb, Packssdw, Packusdw,
        Phaddw, Phaddd, Phaddsw, Phsubw, Phsubd, Phsubsw,
        Psllw, Pslld, Psllq, Psrlw, Psrld, Psrlq, Psraw, Psrad, Pslldq, Psrldq,
        Pshufb, Pshufd,
        // Of MMX registers there is only the low half.
        Pshuflw: Pshuflw | Pshufw,
        Pshufhw, Shufps, Shufpd, Movddup, Movshdup, Movsldup, Palignr,
        Punpcklbw, Punpcklwd,
        Punpckldq: Punpckldq | Unpcklps,
        Punpcklqdq: Punpcklqdq | Unpcklpd,
        Punpckhbw, Punpckhwd,
        Punpckhdq: Punpckhdq | Unpckhps,
        Punpckhqdq: Punpckhqdq | Unpckhpd,
        Blendps, Blendpd, Pblendw, Pblendvb, Blendvps, Blendvpd, Insertps,
        Pmovsxbw, Pmovsxbd, Pmovsxbq, Pmovsxwd, Pmovsxwq, Pmovsxdq,
        Pmovzxbw, Pmovzxbd, Pmovzxbq, Pmovzxwd, Pmovzxwq, Pmovzxdq,
        Phminposuw, Mpsadbw, Pclmulqdq,
        Aesenc, Aesenclast, Aesdec, Aesdeclast, Aesimc, Aeskeygenassist,
        Sha1rnds4, Sha1nexte, Sha1msg1, Sha1msg2, Sha256rnds2, Sha256msg1, Sha256msg2,
    }
}

of_mnemonic! {
    /// The operation of an instruction whose result is in general registers or flags.
    test: VectorExtract { Pmovmskb, Movmskps, Movmskpd, Ptest, }
}

/// The operation by an immediate count that an operation by a count in a vector is otherwise.
pub fn by_immediate(op: Compute) -> Compute {
    match op {
        Compute::Psllw => Compute::PsllwBy,
        Compute::Pslld => Compute::PslldBy,
        Compute::Psllq => Compute::PsllqBy,
        Compute::Psrlw => Compute::PsrlwBy,
        Compute::Psrld => Compute::PsrldBy,
        Compute::Psrlq => Compute::PsrlqBy,
        Compute::Psraw => Compute::PsrawBy,
        Compute::Psrad => Compute::PsradBy,
        op => op,
    }
}

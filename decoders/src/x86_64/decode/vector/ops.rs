//! The instructions on MMX and vector registers by kind, each named like its mnemonic; several mnemonics may mean the
//! same.

use crate::x86_64::helpers::vector::pure_ops;
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
    /// Bitwise operations and the commonest ones by lane.
    SimpleOp {
        And: Pand | Andps | Andpd,
        Andn: Pandn | Andnps | Andnpd,
        Or: Por | Orps | Orpd,
        Xor: Pxor | Xorps | Xorpd,
        Paddb,
        Paddw,
        Paddd,
        Paddq,
        Psubb,
        Psubw,
        Psubd,
        Psubq,
        Pcmpeqb,
        Pcmpeqw,
        Pcmpeqd,
        Pcmpeqq,
    }
}

macro_rules! pure {
    (lanes { $($lane:ident $_t1:literal $_f1:path;)* } gathers { $($gather:ident $_t2:literal $_f2:path;)* }) => {
        named_ops! {
            /// Operations on lanes, 64 bits by 64 bits.
            LaneOp { $($lane,)* }
        }
        named_ops! {
            /// Operations that make lanes from neighbouring lanes.
            GatherOp { $($gather,)* }
        }
    };
}
pure_ops!(pure);

named_ops! {
    /// Shifts by one count.
    ShiftOp {
        Psllw,
        Pslld,
        Psllq,
        Psrlw,
        Psrld,
        Psrlq,
        Psraw,
        Psrad,
    }
}

named_ops! {
    /// Lanes to other places.
    ShuffleOp {
        Pshufb,
        Pshufd,
        Pshufw,
        Pshuflw,
        Pshufhw,
        Shufps,
        Shufpd,
        Movddup,
        Movshdup,
        Movsldup,
        Palignr,
        Pslldq,
        Psrldq,
        Punpcklbw,
        Punpcklwd,
        Punpckldq: Punpckldq | Unpcklps,
        Punpcklqdq: Punpcklqdq | Unpcklpd,
        Punpckhbw,
        Punpckhwd,
        Punpckhdq: Punpckhdq | Unpckhps,
        Punpckhqdq: Punpckhqdq | Unpckhpd,
        Blendps,
        Blendpd,
        Pblendw,
        Pblendvb,
        Blendvps,
        Blendvpd,
        Insertps,
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
    /// Lanes to wider lanes.
    ExtendOp {
        Pmovsxbw,
        Pmovsxbd,
        Pmovsxbq,
        Pmovsxwd,
        Pmovsxwq,
        Pmovsxdq,
        Pmovzxbw,
        Pmovzxbd,
        Pmovzxbq,
        Pmovzxwd,
        Pmovzxwq,
        Pmovzxdq,
    }
}

named_ops! {
    /// Results in general registers and flags.
    TestOp {
        Pmovmskb,
        Movmskps,
        Movmskpd,
        Ptest,
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

named_ops! {
    /// Cryptography, and what resembles nothing else.
    SpecialOp {
        Phminposuw,
        Mpsadbw,
        Pclmulqdq,
        Aesenc,
        Aesenclast,
        Aesdec,
        Aesdeclast,
        Aesimc,
        Aeskeygenassist,
        Sha1rnds4,
        Sha1nexte,
        Sha1msg1,
        Sha1msg2,
        Sha256rnds2,
        Sha256msg1,
        Sha256msg2,
    }
}
